// A sweep of the tiny job with the real programs: trials that fail, sweepers that are killed or
// asked to stop, and what `resume` does then.
#include <algorithm>

#include "launch/sweep_plan.h"
#include "launch/sweep_state.h"
#include "multiprocess/job_fixture.h"

namespace desta::tests {
namespace {

using launch::Plan;
using launch::TrialFolder;
using launch::TrialStatus;

class Sweep : public JobTest {
 protected:
  // A sweep in a folder of its own. `text` stands behind its name, base and folder.
  static fs::path write_sweep(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / (name + ".yaml");
    std::ofstream(path) << fmt::format("name: {}\nbase: tiny.yaml\nfolder: {}\n{}", name,
                                       (folder_ / name).string(), text);
    return path;
  }
  static std::string sweep(const std::string& command, const fs::path& file,
                           const std::string& more = "") {
    return fmt::format("{} {} {} {}", bin("desta-sweep"), command, file.string(), more);
  }
  static Plan plan_of(const fs::path& file) {
    return launch::make_plan(launch::read_sweep_file(file), {});
  }
  static TrialStatus status_of(const Plan& plan, std::size_t trial) {
    return TrialFolder(plan.trial_folder(plan.trials[trial])).current().status;
  }
  static std::int64_t count(const Plan& plan, TrialStatus status) {
    std::int64_t found = 0;
    for (std::size_t i = 0; i < plan.trials.size(); ++i) {
      found += status_of(plan, i) == status ? 1 : 0;
    }
    return found;
  }
  static std::int64_t steps(const Plan& plan, std::size_t trial) {
    const auto losses = losses_of(plan.run_folder(plan.trials[trial], 1));
    return losses.empty() ? 0 : losses.rbegin()->first;
  }
  // When each file of the done trials was last written.
  static std::map<fs::path, fs::file_time_type> times_of_done(const Plan& plan) {
    std::map<fs::path, fs::file_time_type> times;
    for (std::size_t i = 0; i < plan.trials.size(); ++i) {
      if (status_of(plan, i) == TrialStatus::kDone) {
        for (const auto& entry :
             fs::recursive_directory_iterator(plan.trial_folder(plan.trials[i]))) {
          times[entry.path()] = fs::last_write_time(entry.path());
        }
      }
    }
    return times;
  }
  static constexpr const char* kThreeTrials =
      "set: {training.steps: 12, data.seed: 3, evaluation.retention_rows: 0}\n"
      "seeds: [1, 2, 3]\n";
};

TEST_F(Sweep, TrialsFailAloneAndTheOthersGoOn) {
  // A step of this size makes the loss infinite, which shows only at run time.
  const fs::path file = write_sweep(
      "failing",
      "set: {training.steps: 2, data.seed: 3, evaluation.retention_rows: 0}\n"
      "list:\n"
      "  bad: {optimizer.learning_rate: 1.0e+25, optimizer.clip_norm: 0, training.steps: 12}\n"
      "  silent: {data.train_manifest: /absent/m.jsonl}\n"
      "  good: {}\n");
  expect_end(run_command(sweep("run", file, "--dry-run")), 0, "3 conditions, 3 trials");
  EXPECT_FALSE(fs::exists(folder_ / "failing"));
  expect_end(run_command(sweep("run", file, "--ranks 2"), 120), 1,
             "1 of 3 trials are done, 2 failed");
  const Plan plan = plan_of(file);
  const auto state_of = [&](std::size_t i) {
    return TrialFolder(plan.trial_folder(plan.trials[i])).read();
  };
  EXPECT_EQ(state_of(0).status, TrialStatus::kFailed);
  EXPECT_EQ(state_of(0).exit_code, 1);
  EXPECT_NE(state_of(0).message.find("were not finite"), std::string::npos) << state_of(0).message;
  EXPECT_EQ(state_of(1).status, TrialStatus::kFailed) << "its data could not be made";
  EXPECT_NE(state_of(1).message.find("/absent/m.jsonl"), std::string::npos) << state_of(1).message;
  EXPECT_EQ(state_of(2).status, TrialStatus::kDone);
  expect_end(run_command(sweep("status", file)), 0, "were not finite");

  // Only `resume` tries what has failed again.
  expect_end(run_command(sweep("run", file)), 1, "2 failed before");
  EXPECT_EQ(state_of(0).attempts, 1);
  expect_end(run_command(sweep("trial", file, "--index 2")), 0, "done already");
  expect_end(run_command(sweep("trial", file, "--index 3")), 2, "trials 0 to 2");

  expect_end(run_command(sweep("report", file)), 0, "report.html");
  const auto evaluation = nlohmann::ordered_json::parse(
      read_text(plan.run_folder(plan.trials[2], 1) / "evaluation.json"));
  const std::string set = evaluation.at("sets").begin().key();
  const double words = evaluation["sets"][set]["tasks"]["words"]["accuracy"];
  const std::string line =
      fmt::format("{},good,3,1,{},words,{},24,", plan.trials[2].id, set, words);
  const std::string csv = read_text(plan.folder / "report/results.csv");
  EXPECT_NE(csv.find(line), std::string::npos) << line << "\n" << csv;
}

// Three in one job, of which one fails, and a fourth that needs another job: all end as one after the other.
TEST_F(Sweep, TrialsOfOneJobEndAsTheyDoOneByOne) {
  const std::string text =
      "set: {training.steps: 4, data.seed: 3, evaluation.retention_rows: 0}\n"
      "list:\n"
      "  plain: {}\n"
      "  bad: {optimizer.learning_rate: 1.0e+25, optimizer.clip_norm: 0, training.steps: 12}\n"
      "  queries: {adapter.queries: 6}\n"
      "  taps: {adapter.taps: [0]}\n";
  const fs::path each = write_sweep("each", text);
  const fs::path together = write_sweep("together", text + "together: 3\n");
  expect_end(run_command(sweep("run", each, "--ranks 2"), 200), 1, "3 of 4 trials are done, 1 failed");
  const auto finished = run_command(sweep("run", together, "--ranks 2"), 200);
  expect_end(finished, 1, "3 of 4 trials are done, 1 failed");
  const Plan one = plan_of(each);
  const Plan other = plan_of(together);
  EXPECT_NE(read_text(TrialFolder(other.trial_folder(other.trials[0])).log())
                .find("3 trials on one copy of the models"),
            std::string::npos);
  EXPECT_EQ(status_of(other, 1), TrialStatus::kFailed);
  EXPECT_NE(TrialFolder(other.trial_folder(other.trials[1])).read().message.find("were not finite"),
            std::string::npos);
  for (const std::size_t i : {0, 2, 3}) {
    EXPECT_EQ(other.trials[i].id, one.trials[i].id) << "results do not depend on who else is there";
    const fs::path mine = other.run_folder(other.trials[i], 1);
    expect_same_checkpoint(newest(mine), newest(one.run_folder(one.trials[i], 1)));
    EXPECT_TRUE(fs::exists(mine / "evaluation.json"));
  }
  expect_end(run_command(sweep("trial", together, "--index 0 --index 3")), 2, "not trained in one job");
}

TEST_F(Sweep, AKilledSweeperLosesNothingAndResumeDoesOnlyTheRest) {
  const fs::path file = write_sweep("killed", kThreeTrials);
  const Plan plan = plan_of(file);
  {
    Background sweeper(sweep("run", file, "--ranks 1"));
    ASSERT_TRUE(sweeper.wait_until([&] {
      return count(plan, TrialStatus::kDone) >= 1 && (steps(plan, 1) >= 3 || steps(plan, 2) >= 3);
    }));
    ::kill(sweeper.pid(), SIGKILL);  // alone: what it had started must hear of it
    EXPECT_FALSE(sweeper.wait_until([] { return false; }));
  }
  const auto before = times_of_done(plan);
  EXPECT_FALSE(before.empty());
  EXPECT_LT(count(plan, TrialStatus::kDone), 3);
  const auto resumed = run_command(sweep("resume", file, "--ranks 2"), 120);
  expect_end(resumed, 0, "3 of 3 trials are done");
  EXPECT_EQ(resumed.output.find("started " + plan.trials[0].id), std::string::npos)
      << resumed.output;
  EXPECT_NE(resumed.output.find("started " + plan.trials[2].id), std::string::npos)
      << resumed.output;
  for (const auto& [path, time] : before) {
    EXPECT_EQ(fs::last_write_time(path), time) << path;
  }
  for (std::size_t i = 0; i < plan.trials.size(); ++i) {
    const fs::path run = plan.run_folder(plan.trials[i], 1);
    EXPECT_EQ(losses_of(run).size(), 12u) << run;
    EXPECT_TRUE(fs::exists(run / "evaluation.json")) << run;
  }
}

TEST_F(Sweep, AskedToStopItSavesAndLaterGoesOn) {
  const fs::path file = write_sweep("stopped", kThreeTrials);
  const Plan plan = plan_of(file);
  {
    Background sweeper(sweep("run", file, "--ranks 2 --set training.steps=100000"));
    const Plan longer = launch::make_plan(launch::read_sweep_file(file), {"training.steps=100000"});
    ASSERT_TRUE(sweeper.wait_until([&] { return steps(longer, 0) >= 2 && steps(longer, 1) >= 2; }));
    ::kill(sweeper.pid(), SIGUSR1);
    EXPECT_FALSE(sweeper.wait_until([] { return false; }));
    EXPECT_EQ(sweeper.code(), 75);
    EXPECT_EQ(count(longer, TrialStatus::kPending), 3);
    for (const std::size_t trial : {0, 1}) {
      const fs::path run = longer.run_folder(longer.trials[trial], 1);
      EXPECT_FALSE(newest(run).empty()) << run;
      EXPECT_LT(steps(longer, trial), 100000);
      EXPECT_FALSE(TrialFolder(longer.trial_folder(longer.trials[trial])).is_locked());
    }
  }
  expect_end(run_command(sweep("resume", file, "--ranks 2"), 120), 0, "3 of 3 trials are done");
  EXPECT_EQ(count(plan, TrialStatus::kDone), 3);
}

TEST_F(Sweep, ATrialHeldBySomebodyElseIsLeftToThem) {
  const fs::path file = write_sweep("shared", "set: {data.train_manifest: ''}\n");
  const Plan plan = plan_of(file);
  const auto lock = runtime::FileLock::try_take(plan.trial_folder(plan.trials[0]) / "lock");
  ASSERT_TRUE(lock);
  expect_end(run_command(sweep("run", file)), 75, "1 being run by another process");
  expect_end(run_command(sweep("trial", file, "--index 0")), 75, "is being run by");
  EXPECT_FALSE(fs::exists(plan.run_folder(plan.trials[0], 1)));
}

TEST_F(Sweep, BadInputEndsWithCodeTwo) {
  expect_end(run_command(sweep("plan", "/absent/sweep.yaml")), 2, "/absent/sweep.yaml");
  expect_end(run_command(bin("desta-sweep")), 2, "subcommand is required");
  expect_end(run_command(bin("desta-sweep") + " --help"), 0, "resume");
  const fs::path file = write_sweep("bad", "seeds: [1, 2]\nbaselin: x\n");
  expect_end(run_command(sweep("run", file)), 2, "bad.yaml:5: unknown key 'baselin'");
  std::ofstream(folder_ / "nowhere.yaml") << "name: n\nbase: tiny.yaml\nfolder: /proc/no/sweep\n";
  expect_end(run_command(sweep("run", folder_ / "nowhere.yaml")), 1, "/proc/no");
}

}  // namespace
}  // namespace desta::tests
