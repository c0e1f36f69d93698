// Jobs under a real Slurm, by the scripts that are shipped: two nodes, signals, requeues, time
// limits.
#include "cluster/cluster_fixture.h"

namespace desta::tests {
namespace {

TEST_F(Cluster, SrunTrainsOverTwoNodes) {
  const fs::path run = folder_ / "srun";
  const std::string job = submit(run, 2, kLongSteps);
  ASSERT_EQ(slurm_->wait_for(job), "COMPLETED") << log(run) << slurm_->logs();
  expect_in_log(
      run, fmt::format("srun (PMIx), Slurm job {}, restart 0; 4 ranks on 2 nodes; until ", job));
  expect_in_log(run, "node n1: ranks 0-1;");
  expect_in_log(run, "node n2: ranks 2-3;");
  expect_same_checkpoint(newest(run), newest(undisturbed(2)));
}

TEST_F(Cluster, ASignalledJobIsRequeuedAndEndsWithTheSameBytes) {
  const fs::path run = folder_ / "signalled";
  const std::string job = submit(run, 2, kLongSteps);
  ASSERT_TRUE(reaches_step(run, 3)) << log(run) << slurm_->logs();
  signal_in_the_middle(run, "scancel --signal=USR1 " + job);
  ASSERT_EQ(slurm_->wait_for(job), "COMPLETED") << log(run) << slurm_->logs();
  expect_in_log(run, "stopping: signal SIGUSR1");
  expect_in_log(run, "requeued Slurm job " + job);
  expect_in_log(run, fmt::format("Slurm job {}, restart 1;", job));
  expect_in_log(run, "resuming from");
  expect_same_checkpoint(newest(run), newest(undisturbed(2)));
  EXPECT_EQ(losses_of(run), losses_of(undisturbed(2)));
}

// As sbatch's --signal=B: does it: to the batch shell alone, which passes it on to srun.
TEST_F(Cluster, ASignalToTheBatchShellReachesSrunsTasks) {
  const fs::path run = folder_ / "batch-signalled";
  const std::string job = submit(run, 1, kLongSteps);
  ASSERT_TRUE(reaches_step(run, 3)) << log(run) << slurm_->logs();
  signal_in_the_middle(run, "scancel --batch --signal=USR1 " + job);
  ASSERT_EQ(slurm_->wait_for(job), "COMPLETED") << log(run) << slurm_->logs();
  expect_in_log(run, "stopping: signal SIGUSR1");
  expect_in_log(run, fmt::format("Slurm job {}, restart 1;", job));
  expect_same_checkpoint(newest(run), newest(undisturbed(1)));
}

// By mpirun, and by that same signal.
TEST_F(Cluster, SoIsOneThatMpirunStarted) {
  const fs::path run = folder_ / "mpirun";
  const std::string job = submit(run, 1, kLongSteps, "--export=ALL,DESTA_LAUNCHER=mpirun");
  ASSERT_TRUE(reaches_step(run, 3)) << log(run) << slurm_->logs();
  signal_in_the_middle(run, "scancel --batch --signal=USR1 " + job);
  ASSERT_EQ(slurm_->wait_for(job), "COMPLETED") << log(run) << slurm_->logs();
  expect_in_log(run,
                fmt::format("mpirun (Open MPI), Slurm job {}, restart 0; 2 ranks on 2 nodes", job));
  expect_in_log(run, "node n2: rank 1;");
  expect_in_log(run, fmt::format("Slurm job {}, restart 1;", job));
  expect_same_checkpoint(newest(run), newest(undisturbed(1)));
}

// This Slurm does not state the limit by a variable, so squeue is asked. Limits are whole minutes.
TEST_F(Cluster, AJobLeavesBeforeItsTimeLimitAndGoesOn) {
  const fs::path run = folder_ / "limit";
  const std::string job =
      submit(run, 1, 1000000, "--time=1 " + kNoWarning, "--set preemption.margin_seconds=40");
  ASSERT_TRUE(SlurmCluster::wait_until([&] {
    return log(run).find("restart 1;") != std::string::npos &&
           log(run).find("resuming from") != std::string::npos;
  })) << log(run)
      << slurm_->logs();
  expect_in_log(run, "stopping: the time limit");
  EXPECT_EQ(run_command("scancel " + job).code, 0);
  const std::string text = log(run);
  const auto at = text.find("stopped after step ");
  ASSERT_NE(at, std::string::npos) << text;
  const int step = std::stoi(text.substr(at + 19));
  EXPECT_GT(step, 0);
  expect_in_log(run, fmt::format("step-{:08} at step {} of 1000000", step, step));
}

TEST_F(Cluster, ACancelledJobIsSavedAndStaysAway) {
  const fs::path run = folder_ / "cancelled";
  const std::string job = submit(run, 1, 1000000);
  ASSERT_TRUE(reaches_step(run, 3)) << log(run) << slurm_->logs();
  ASSERT_EQ(run_command("scancel " + job).code, 0);
  EXPECT_EQ(slurm_->wait_for(job), "CANCELLED") << log(run);
  expect_in_log(run, "stopping: signal SIGTERM");
  expect_in_log(run, fmt::format("Slurm is ending job {} by itself", job));
  EXPECT_EQ(newest(run).filename(), fmt::format("step-{:08}", losses_of(run).rbegin()->first));
}

// Killed without warning; an operator puts it back.
TEST_F(Cluster, AKilledJobGoesOnFromItsLastCheckpoint) {
  const fs::path run = folder_ / "killed";
  const std::string job = submit(run, 1, kLongSteps, "", "--set checkpoint.every=5");
  ASSERT_TRUE(reaches_step(run, 12)) << log(run) << slurm_->logs();
  signal_in_the_middle(run, "scancel --signal=KILL " + job + ".0");
  ASSERT_EQ(slurm_->wait_for(job), "FAILED") << log(run);
  ASSERT_EQ(run_command("scontrol requeue " + job).code, 0);
  ASSERT_EQ(slurm_->wait_for(job), "COMPLETED") << log(run) << slurm_->logs();
  expect_in_log(run, fmt::format("Slurm job {}, restart 1;", job));
  expect_in_log(run, "resuming from");
  expect_same_checkpoint(newest(run), newest(undisturbed(1)));
}

TEST_F(Cluster, AWrongNumberOfTasksIsNamedWithSrunsOption) {
  const fs::path run = folder_ / "wrong";
  const std::string job = submit(run, 1, kLongSteps, "", "--set data_parallel.replicas=2");
  EXPECT_EQ(slurm_->wait_for(job), "FAILED");
  expect_in_log(run, "this job has 2 ranks, but");
  expect_in_log(run, "start it with `srun --ntasks=4`");
  EXPECT_NE(run_command("scontrol -o show job " + job).output.find("ExitCode=2:0"),
            std::string::npos);
}

// The limit was shortened after the start, so that only Slurm's SIGTERM tells of it. Submitted
// before the other tests, for limits are whole minutes.
TEST_F(Cluster, AJobThatHitsItsTimeLimitIsRequeued) {
  ASSERT_FALSE(limited_job_.empty());
  const fs::path run = folder_ / "hit";
  ASSERT_TRUE(
      SlurmCluster::wait_until([&] { return log(run).find("resuming from") != std::string::npos; },
                               std::chrono::seconds(150)))
      << log(run) << slurm_->logs();
  expect_in_log(run, "DUE TO TIME LIMIT");
  expect_in_log(run, "stopping: signal SIGTERM");
  expect_in_log(run, fmt::format("requeued Slurm job {}", limited_job_));
  EXPECT_EQ(run_command("scancel " + limited_job_).code, 0);
}

TEST_F(Cluster, DatagenMakesItsRowsOnTwoTasks) {
  const fs::path run = folder_ / "datagen";
  const std::string job = slurm_->submit(
      fmt::format("--chdir={0} --ntasks-per-node=2 --cpus-per-task=1 --time=5 --output={1} "
                  "{0}/launch/slurm/datagen.sbatch {2} --set data.folder={3}",
                  DESTA_SOURCE_DIR, log_of(run).string(), config_.string(), run.string()));
  ASSERT_EQ(slurm_->wait_for(job), "COMPLETED") << log(run) << slurm_->logs();
  expect_in_log(run, "; 2 ranks on 1 node; until ");
  expect_in_log(run, fmt::format("train: 24 rows in {}", (run / "dataset/train").string()));
}

}  // namespace
}  // namespace desta::tests
