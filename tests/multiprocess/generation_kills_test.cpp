// Kills at random moments over one generation: whoever is killed, and however often, the dataset ends up
// with the rows that an undisturbed run has, each once.
//
// DESTA_KILLS and DESTA_KILL_ROWS set how many (bench/kills.sh has 200 over 10,000 rows); DESTA_KILL_SEED,
// which.
#include "multiprocess/job_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "datagen/dataset.h"
#include "datagen/rejected_rows.h"
#include "runtime/core/random.h"

namespace desta::tests {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRecordings = 24;  // of the tiny job
constexpr int kRowsPerShard = 10;
constexpr int kPatience = 3000;  // s, for a run of all rows

int setting(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// Until `due` holds; false when the job ended, or nothing happened for very long, before.
bool wait_for(Background& job, const std::function<bool()>& due) {
  const auto limit = Clock::now() + std::chrono::seconds(kPatience);
  while (!job.ended() && Clock::now() < limit) {
    if (job.wait_until(due)) {
      return true;
    }
  }
  return false;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class GenerationKills : public JobTest {
 protected:
  // A recipe of as many prompts as make `rows` of the recordings; words of a random model are few or many, and
  // those that are few are rejected.
  static std::string arguments(const fs::path& data, int rows) {
    const fs::path recipe = folder_ / "recipe.yaml";
    std::ofstream out(recipe);
    out << "groups:\n  parts:\n    prompts:\n";
    for (int i = 0; i < (rows + kRecordings - 1) / kRecordings; ++i) {
      out << "      - What can you hear in part " << i << "?\n";
    }
    return fmt::format(
        "{} {} --set data.folder={} --set run.folder={} --set data.recipe={} --set data.rows_per_shard={} "
        "--set generation.batch_size=4 --set generation.max_new_tokens=40 --set filters.min_words=3 "
        "--set filters.duplicates=true",
        bin("desta-datagen"), config_.string(), data.string(), (data / "run").string(), recipe.string(),
        kRowsPerShard);
  }

  // What became of each row, by its id: its text, or the filter that took it out.
  static std::map<std::string, std::string> state_of(const fs::path& data) {
    std::map<std::string, std::string> state;
    const auto dataset = datagen::Dataset::open(data / "dataset/train");
    dataset.for_each([&](std::size_t, const datagen::Row& row) {
      EXPECT_TRUE(state.emplace(row.id, row.response).second) << "twice: " << row.id;
    });
    for (const auto& rejected : datagen::read_rejected(data / "dataset/train").rows) {
      EXPECT_TRUE(state.emplace(rejected.row.id, "filter " + rejected.rejection.filter).second)
          << "both kept and rejected: " << rejected.row.id;
    }
    return state;
  }
};

TEST_F(GenerationKills, WhoeverIsKilledTheRowsAreThoseOfAnUndisturbedRun) {
  const int kills = setting("DESTA_KILLS", 10);
  const int rows = setting("DESTA_KILL_ROWS", 1000);
  const fs::path undisturbed = folder_ / "undisturbed";
  auto start = Clock::now();
  const auto first = run_command(mpirun(2, arguments(undisturbed, rows)), kPatience);
  ASSERT_EQ(first.code, 0) << first.output;
  const double undisturbed_seconds = seconds_since(start);
  const auto expected = state_of(undisturbed);
  ASSERT_GE(expected.size(), static_cast<std::size_t>(rows));

  const fs::path data = folder_ / "killed";
  const fs::path shards = data / "dataset/train";
  const fs::path socket = fs::temp_directory_path() / fmt::format("kills-{}", ::getpid());
  const fs::path token = data / "run/join.token";
  const std::string job_line =
      mpirun(2, arguments(data, rows) + fmt::format(" --set runtime.join=unix:{}", socket.string()));
  const std::string worker_line = arguments(data, rows) + fmt::format(" --join unix:{} --token-file {}",
                                                                      socket.string(), token.string());
  const auto shard_count = [&] { return static_cast<int>(datagen::list_shards(shards).size()); };
  const int all_shards = static_cast<int>(datagen::list_shards(undisturbed / "dataset/train").size());
  runtime::Random random(static_cast<std::uint64_t>(setting("DESTA_KILL_SEED", 2409)));
  std::map<std::string, int> killed;
  std::optional<Background> job;
  int starts = 0;
  int late = 0;  // the job was done before it could be killed
  start = Clock::now();
  for (int i = 0; i < kills; ++i) {
    if (!job || job->ended()) {
      job.emplace(job_line);
      ++starts;
    }
    // What is left is shared out over the kills that are left. A fifth of them, and all once little is left,
    // hit a job that starts.
    const int before = shard_count();
    const int left = all_shards - before;
    const double share = static_cast<double>(left) / (kills - i);
    const bool little = left <= all_shards / 20;
    const bool early = little || i % 5 == 0;
    // Never all that is left: the job would be over.
    const int wanted = early ? 0 : static_cast<int>(random.uniform(0, std::min(1.5 * share, 0.5 * left)));
    const auto moment = std::chrono::microseconds(random.below(little ? 300000 : early ? 1500000 : 30000));
    if (!wait_for(*job, [&] { return shard_count() - before >= wanted; })) {
      ASSERT_TRUE(job->ended() && job->code() == 0 && ++late < kills)
          << "it ended after " << i << " kills with " << shard_count() << " shards: " << job->output();
      continue;
    }
    std::this_thread::sleep_for(moment);
    const auto ranks = job->ranks();
    switch (random.below(6)) {
      case 0:  // a worker that has joined, or is about to
        if (!little && wait_for(*job, [&] { return fs::exists(socket) && fs::exists(token); })) {
          Background worker(worker_line);
          const auto limit = Clock::now() + std::chrono::milliseconds(random.below(2500));
          const int behind = shard_count() + static_cast<int>(4 * share);
          (void)wait_for(*job, [&] { return Clock::now() > limit || shard_count() > behind; });
          worker.kill_all();
          ++killed["a joined worker"];
          break;
        }
        [[fallthrough]];
      case 1:
      case 2:  // the one with the dataset actor, or the one with a generator alone
        if (!ranks.empty()) {
          ::kill(ranks[random.below(ranks.size())], SIGKILL);
          (void)wait_for(*job, [] { return false; });
          ASSERT_TRUE(job->ended()) << "hangs when a rank is gone";
          ++killed["one rank"];
          break;
        }
        [[fallthrough]];
      case 3:
        job->kill_parent();
        job.reset();
        ++killed["mpirun"];
        break;
      case 4:
        job->kill_all();
        job.reset();
        ++killed["all at once"];
        break;
      default:  // as a scheduler wants the machine back
        for (const pid_t rank : ranks) {
          ::kill(rank, SIGTERM);
        }
        if (ranks.empty()) {
          job->kill_all();
        }
        (void)wait_for(*job, [] { return false; });
        ASSERT_TRUE(job->ended()) << "does not stop when asked to";
        ++killed["asked to stop"];
    }
  }
  if (job && !job->ended()) {
    job->kill_all();
  }
  job.reset();
  const auto finished = run_command(job_line, kPatience);
  ASSERT_EQ(finished.code, 0) << finished.output;
  const double seconds = seconds_since(start);
  const auto found = state_of(data);
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_TRUE(found == expected) << "other rows or texts";
  for (const auto& entry : fs::directory_iterator(shards)) {
    EXPECT_FALSE(entry.path().filename().string().ends_with(".tmp")) << "left behind: " << entry.path();
  }
  const auto filtered = std::count_if(expected.begin(), expected.end(), [](const auto& row) {
    return row.second.starts_with("filter ");
  });
  std::string kinds;
  for (const auto& [kind, count] : killed) {
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count, kind);
  }
  fmt::print("{} kills ({}) over {} rows, {} of them rejected: {} starts, {:.1f} s; undisturbed {:.1f} s\n", kills,
             kinds, expected.size(), filtered, starts + 1, seconds, undisturbed_seconds);
}

}  // namespace
}  // namespace desta::tests
