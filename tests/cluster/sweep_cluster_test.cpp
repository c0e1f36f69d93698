// An array of trials under a real Slurm that does not go as planned.
#include "cluster/cluster_fixture.h"
#include "launch/sweep_plan.h"
#include "launch/sweep_state.h"

namespace desta::tests {
namespace {

using launch::TrialFolder;
using launch::TrialStatus;

// Six trials: one is pre-empted, one is killed with what runs it, one cannot succeed.
TEST_F(Cluster, ASweepsArrayEndsCompleteWhateverBefallsItsTrials) {
  const fs::path file = folder_ / "array.yaml";
  std::ofstream(file) << fmt::format(
      "name: array\nbase: tiny.yaml\nfolder: {0}/array\n"
      "set: {{data.seed: 3, data.folder: {0}/array-data, "
      "evaluation.retention_rows: 0, checkpoint.every: 0}}\n"
      "list:\n"
      "  preempted: {{training.steps: 300}}\n"
      "  killed: {{training.steps: 300, checkpoint.every: 10}}\n"
      "  short: {{training.steps: 3}}\n"
      "  shorter: {{training.steps: 2}}\n"
      "  bad: {{optimizer.learning_rate: 1.0e+25, optimizer.clip_norm: 0, training.steps: 12}}\n"
      "  shortest: {{training.steps: 1}}\n",
      folder_.string());
  const launch::Plan plan = launch::make_plan(launch::read_sweep_file(file), {});
  ASSERT_EQ(plan.trials.size(), 6u);
  const auto run_of = [&](std::size_t i) { return plan.run_folder(plan.trials[i], 1); };
  const auto state_of = [&](std::size_t i) {
    return TrialFolder(plan.trial_folder(plan.trials[i])).current();
  };
  const auto all_output = [&] {
    std::string text = slurm_->logs();
    for (const auto& entry : fs::directory_iterator(folder_ / "array/slurm")) {
      text += fmt::format("--- {}\n{}", entry.path().string(), read_text(entry.path()));
    }
    return text;
  };
  const std::string command = fmt::format("{} {{}} {} --slurm --at-once 3 --sbatch-option=--time=5",
                                          bin("desta-sweep"), file.string());
  // The number of the array that was submitted.
  const auto array_in = [](const std::string& output) {
    const auto line = output.find(": trials");
    const auto job = output.rfind("job ", line);
    return line == std::string::npos ? "" : output.substr(job + 4, line - job - 4);
  };

  const auto submitted = run_command(fmt::format(fmt::runtime(command), "run"));
  expect_end(submitted, 0, "trials 0-5");
  const std::string array = array_in(submitted.output);
  ASSERT_TRUE(reaches_step(run_of(1), 12)) << all_output();
  ASSERT_EQ(::kill(state_of(1).pid, SIGKILL), 0) << all_output();
  ASSERT_TRUE(reaches_step(run_of(0), 3)) << all_output();
  ASSERT_EQ(run_command(fmt::format("scancel --batch --signal=USR1 {}_0", array)).code, 0);
  ASSERT_TRUE(
      SlurmCluster::wait_until([&] { return slurm_->is_over(array); }, std::chrono::seconds(150)))
      << all_output();
  const std::vector<TrialStatus> first = {TrialStatus::kDone,   TrialStatus::kPending,
                                          TrialStatus::kDone,   TrialStatus::kDone,
                                          TrialStatus::kFailed, TrialStatus::kDone};
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(state_of(i).status, first[i]) << i << all_output();
  }
  EXPECT_NE(state_of(4).message.find("were not finite"), std::string::npos) << state_of(4).message;

  const auto resumed = run_command(fmt::format(fmt::runtime(command), "resume"));
  expect_end(resumed, 0, "trials 1,4;");
  ASSERT_TRUE(SlurmCluster::wait_until([&] { return slurm_->is_over(array_in(resumed.output)); },
                                       std::chrono::seconds(150)))
      << all_output();
  for (std::size_t i = 0; i < plan.trials.size(); ++i) {
    EXPECT_EQ(state_of(i).status, i == 4 ? TrialStatus::kFailed : TrialStatus::kDone) << i;
    EXPECT_EQ(fs::exists(run_of(i) / "evaluation.json"), i != 4) << i;
  }
  EXPECT_EQ(state_of(2).attempts, 1) << "what was done is left alone";
  // Neither left a trace in what was learned.
  for (const std::size_t i : {0, 1}) {
    const fs::path again = folder_ / fmt::format("again-{}", i);
    const auto plain = run_command(fmt::format(
        "{} {} --set run.folder={}", bin("desta-train"),
        TrialFolder(plan.trial_folder(plan.trials[i])).config().string(), again.string()));
    ASSERT_EQ(plain.code, 0) << plain.output;
    expect_same_checkpoint(newest(run_of(i)), newest(again));
  }
}

}  // namespace
}  // namespace desta::tests
