#include "launch/preemption.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "runtime/core/error.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace {

class Preemption : public ::testing::Test {
 protected:
  ~Preemption() override {
    runtime::clear_stop_request();
    for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGHUP}) {
      ::signal(number, SIG_DFL);
    }
  }
  static JobEnvironment limited_to(std::chrono::seconds time) {
    JobEnvironment environment;
    environment.job_id = "17";
    environment.end_time = std::chrono::system_clock::now() + time;
    return environment;
  }
};

TEST_F(Preemption, TheConfiguredSignalTerminationAndInterruptAskToStop) {
  const std::vector<std::pair<std::string, int>> names = {
      {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"HUP", SIGHUP}, {"TERM", SIGTERM}, {"INT", SIGINT}};
  for (const auto& [name, configured] : names) {
    for (const int number : {configured, SIGTERM, SIGINT}) {
      install_stop_signals({.signal = name});
      runtime::clear_stop_request();
      EXPECT_FALSE(runtime::stop_is_due());
      ::raise(number);
      EXPECT_TRUE(runtime::stop_is_due()) << name << " " << number;
    }
  }
  EXPECT_THROW(install_stop_signals({.signal = "KILL"}), runtime::ConfigError);
}

using PreemptionDeathTest = Preemption;

TEST_F(PreemptionDeathTest, ASecondInterruptEndsTheProcessAndASecondTerminationDoesNot) {
  install_stop_signals({});
  ::raise(SIGTERM);
  ::raise(SIGTERM);
  EXPECT_EQ(runtime::stop_reason(), "signal SIGTERM");
  EXPECT_EXIT(
      {
        ::raise(SIGINT);
        ::raise(SIGINT);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST_F(Preemption, TheDeadlineIsTheMarginBeforeTheLimit) {
  watch_time_limit(limited_to(std::chrono::seconds(1000)), std::chrono::seconds(100));
  EXPECT_FALSE(runtime::stop_is_due());
  EXPECT_FALSE(runtime::stop_is_due(800)) << "a step of 800 s ends before";
  EXPECT_TRUE(runtime::stop_is_due(901));
  EXPECT_EQ(runtime::stop_reason(), "the time limit");
}

TEST_F(Preemption, ALimitNearerThanTheMarginIsUsedToItsHalf) {
  watch_time_limit(limited_to(std::chrono::seconds(1000)), std::chrono::seconds(5000));
  EXPECT_FALSE(runtime::stop_is_due(400));
  EXPECT_TRUE(runtime::stop_is_due(501));
}

TEST_F(Preemption, WithoutALimitThereIsNoDeadline) {
  watch_time_limit({}, std::chrono::seconds(100));
  EXPECT_FALSE(runtime::stop_is_due(1e9));
}

// Lines of Slurm 22.05's scontrol, shortened. In all three rank 0 has had SIGTERM, USR1 or a
// deadline.
TEST_F(Preemption, AJobThatIsCancelledIsToldFromOneThatHitItsLimit) {
  const std::string line =
      "JobId=1 JobName=desta-train JobState={} Reason=None Requeue=1 Restarts=0 "
      "RunTime={} TimeLimit={} TimeMin=N/A";
  const auto ended = [&](const std::string& state, const std::string& run,
                         const std::string& limit) {
    return is_ended_by_slurm(fmt::format(fmt::runtime(line), state, run, limit));
  };
  EXPECT_TRUE(ended("COMPLETING", "00:00:03", "00:05:00")) << "scancel";
  EXPECT_TRUE(ended("COMPLETING", "3-00:00:03", "4-00:00:00"));
  EXPECT_TRUE(ended("COMPLETING", "00:00:03", "UNLIMITED"));
  EXPECT_FALSE(ended("COMPLETING", "00:05:11", "00:05:00")) << "the time limit";
  EXPECT_FALSE(ended("COMPLETING", "4-00:00:12", "4-00:00:00"));
  EXPECT_FALSE(ended("RUNNING", "00:00:03", "00:05:00")) << "asked by a signal";
  EXPECT_FALSE(is_ended_by_slurm(""));
  EXPECT_FALSE(is_ended_by_slurm("slurm_load_jobs error: Invalid job id specified"));
}

}  // namespace
}  // namespace desta::launch
