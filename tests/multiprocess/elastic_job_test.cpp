// Workers that join desta-datagen while it runs, with the real programs.
#include <csignal>

#include "datagen/dataset.h"
#include "multiprocess/job_fixture.h"

namespace desta::tests {
namespace {

class ElasticJob : public JobTest {
 protected:
  // A job that takes long enough for workers to come and go.
  static std::string datagen(const fs::path& data, const std::string& more = "") {
    std::vector<std::string> prompts;
    for (int i = 0; i < 30; ++i) {
      prompts.push_back(fmt::format("'What can you hear in part {}?'", i));
    }
    return mpirun(1, fmt::format("{} {} --set data.folder={} --set generation.batch_size=1 --set "
                                 "run.folder={} --set \"prompts=[{}]\" {}",
                                 bin("desta-datagen"), config_.string(), data.string(),
                                 (data / "run").string(), fmt::join(prompts, ", "), more));
  }
  static std::string worker(const fs::path& data, const std::string& address,
                            const fs::path& token) {
    return fmt::format("{} {} --set data.folder={} --join {} --token-file {}",
                       bin("desta-datagen"), config_.string(), data.string(), address,
                       token.string());
  }
  static std::map<std::string, std::string> responses_of(const fs::path& data) {
    const auto dataset = datagen::Dataset::open(data / "dataset/train");
    std::map<std::string, std::string> responses;
    for (std::size_t i = 0; i < dataset.size(); ++i) {
      const auto row = dataset.row(i);
      const std::string key = fs::path(row.audio_filepath).filename().string() + row.prompt;
      EXPECT_TRUE(responses.emplace(key, row.response).second) << key;
    }
    return responses;
  }
};

TEST_F(ElasticJob, WorkersThatAreKilledOrLeaveLoseNoRowAndChangeNone) {
  const fs::path alone = folder_ / "alone";
  ASSERT_EQ(run_command(datagen(alone)).code, 0);
  const fs::path data = folder_ / "elastic";
  const fs::path socket = fs::temp_directory_path() / fmt::format("elastic-{}", ::getpid());
  const fs::path token = data / "run/join.token";
  Background job(datagen(data, fmt::format("--set runtime.join=unix:{}", socket.string())));
  ASSERT_TRUE(job.wait_until([&] { return fs::exists(token) && fs::exists(socket); }));
  // One worker is killed when it has surely joined, or the job has ended; another one is asked to go.
  {
    Background killed(worker(data, "unix:" + socket.string(), token));
    Background leaving(worker(data, "unix:" + socket.string(), token));
    const auto start = std::chrono::steady_clock::now();
    (void)job.wait_until(
        [&] { return std::chrono::steady_clock::now() - start > std::chrono::seconds(2); });
    killed.kill_all();
    ::kill(leaving.pid(), SIGTERM);
    EXPECT_TRUE(job.wait_until([&] { return leaving.ended(); }) || leaving.ended() || job.ended());
  }
  while (!job.ended()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(job.code(), 0) << job.output();
  EXPECT_EQ(responses_of(data), responses_of(alone));
}

TEST_F(ElasticJob, WorkerWithoutTheTokenIsToldWhatToDo) {
  const fs::path missing = folder_ / "no.token";
  expect_end(run_command(worker(folder_ / "none", "127.0.0.1:1", missing)), 2, missing.string());
}

}  // namespace
}  // namespace desta::tests
