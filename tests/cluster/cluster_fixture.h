// The tiny job, and a Slurm of two nodes for the time of the tests.
#pragma once

#include <map>
#include <memory>

#include "cluster/slurm_cluster.h"
#include "multiprocess/job_fixture.h"

namespace desta::tests {

class Cluster : public JobTest {
 protected:
  static void SetUpTestSuite() {
    obstacle_ = SlurmCluster::obstacle();
    if (!obstacle_.empty()) {
      return;
    }
    // Between "nodes" of one machine only TCP may be used; variables reach the jobs through sbatch.
    for (const auto& [name, value] :
         std::map<std::string, std::string>{{"OMPI_MCA_btl", "tcp,self"},
                                            {"OMPI_MCA_btl_tcp_if_include", "lo"},
                                            {"OMPI_MCA_oob_tcp_if_include", "lo"},
                                            {"DESTA_BIN", DESTA_BIN}}) {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
    JobTest::SetUpTestSuite();
    slurm_ = std::make_unique<SlurmCluster>(folder_ / "slurm");
    const fs::path run = folder_ / "hit";
    limited_job_ = submit(run, 1, 1000000, kNoWarning);
    if (reaches_step(run, 1)) {
      (void)run_command("scontrol update TimeLimit=1 JobId=" + limited_job_);
    }
  }
  static void TearDownTestSuite() {
    slurm_.reset();
    if (obstacle_.empty()) {
      JobTest::TearDownTestSuite();
    }
  }
  void SetUp() override {
    if (!obstacle_.empty()) {
      GTEST_SKIP() << "no Slurm to test with: " << obstacle_;
    }
  }

  [[nodiscard]] static fs::path log_of(const fs::path& run) { return run.string() + ".log"; }
  [[nodiscard]] static std::string log(const fs::path& run) { return read_text(log_of(run)); }
  // Submits launch/slurm/train.sbatch for two stages on two nodes, two replicas if asked for.
  static std::string submit(const fs::path& run, int replicas, int steps,
                            const std::string& sbatch_options = "", const std::string& sets = "") {
    return slurm_->submit(fmt::format(
        "--chdir={} --nodes=2 --ntasks-per-node={} --cpus-per-task=1 --time=5 --output={} {} "
        "{}/launch/slurm/train.sbatch {} --set run.folder={} --set pipeline.stages=2 --set "
        "data_parallel.replicas={} --set training.steps={} --set checkpoint.every=0 {}",
        DESTA_SOURCE_DIR, replicas, log_of(run).string(), sbatch_options, DESTA_SOURCE_DIR,
        config_.string(), run.string(), replicas, steps, sets));
  }
  static bool reaches_step(const fs::path& run, int step) {
    return SlurmCluster::wait_until([&] { return losses_of(run).contains(step); });
  }
  // Asks Slurm to send the run's ranks a signal, which takes up to three seconds to come: they stand still until it is
  // there, so that it finds them in the middle.
  static void signal_in_the_middle(const fs::path& run, const std::string& scancel) {
    const Standstill still(processes_of("desta-train", "run.folder=" + run.string()));
    EXPECT_EQ(run_command(scancel).code, 0);
    still.wait_for_signal(std::chrono::seconds(30));
  }
  static void expect_in_log(const fs::path& run, const std::string& text) {
    EXPECT_NE(log(run).find(text), std::string::npos) << "wanted: " << text << "\n" << log(run);
  }
  // What nothing has disturbed, without Slurm: two stages x two replicas.
  static fs::path undisturbed(int replicas) {
    const fs::path run = folder_ / fmt::format("undisturbed-{}", replicas);
    if (!fs::exists(run)) {
      const auto finished = run_command(
          train(run, 2, replicas,
                fmt::format("--set training.steps={} --set checkpoint.every=0", kLongSteps)));
      EXPECT_EQ(finished.code, 0) << finished.output;
    }
    return run;
  }

  static constexpr int kLongSteps = 60;
  // In place of the script's USR1 before the time limit: a signal that changes nothing.
  static inline const std::string kNoWarning = "--signal=B:CONT@1";
  static inline std::string obstacle_;
  static inline std::unique_ptr<SlurmCluster> slurm_;
  static inline std::string limited_job_;
};

}  // namespace desta::tests
