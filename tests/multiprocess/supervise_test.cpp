// launch/supervise.sh: what it starts again, what not, and when it gives up. Scripts play the job.
#include "multiprocess/job_fixture.h"

namespace desta::tests {
namespace {

class Supervise : public ::testing::Test {
 protected:
  Supervise() : folder_(fresh_folder("supervise")), run_(folder_ / "run") {
    fs::create_directories(run_ / "checkpoints");
  }
  ~Supervise() override { fs::remove_all(folder_); }

  // A job whose n-th start runs the n-th of these shell lines, and the last one from then on. It
  // names its run folder as desta-train does.
  std::string job(const std::vector<std::string>& starts, bool names_folder = true) {
    const fs::path path = folder_ / "job";
    std::ofstream out(path);
    out << fmt::format(
        "#!/bin/bash\ncd {}\necho start >>starts\nn=$(wc -l <starts)\n"
        "step() {{ echo \"{{\\\"step\\\":$1,\\\"loss\\\":1.5}}\" >>run/metrics.jsonl; }}\n",
        folder_.string());
    if (names_folder) {
      out << fmt::format("echo '12:00:00.000 [0] info: run folder {}' >&2\n", run_.string());
    }
    for (std::size_t i = 0; i < starts.size(); ++i) {
      out << (i + 1 < starts.size() ? fmt::format("[ $n -eq {} ] && {{ {}; }}\n", i + 1, starts[i])
                                    : starts[i] + "\n");
    }
    out.close();
    fs::permissions(path, fs::perms::owner_all);
    return path.string();
  }
  [[nodiscard]] static std::string supervise(const std::string& options,
                                             const std::string& command) {
    return fmt::format("{}/launch/supervise.sh {} {}", DESTA_SOURCE_DIR, options, command);
  }
  [[nodiscard]] int starts() const { return count_of(read_text(folder_ / "starts"), "start\n"); }

  fs::path folder_;
  fs::path run_;
};

TEST_F(Supervise, ADoneJobIsLeftAlone) {
  const auto finished = run_command(supervise("", job({"echo loss falls; exit 0"})));
  EXPECT_EQ(finished.code, 0);
  EXPECT_EQ(starts(), 1);
  EXPECT_NE(finished.output.find("loss falls\n"), std::string::npos) << "its output is passed on";
  EXPECT_EQ(finished.output.find("supervise:"), std::string::npos) << finished.output;
}

TEST_F(Supervise, BadInputIsNotTriedAgain) {
  const auto finished = run_command(supervise("--backoff 0", job({"exit 2"})));
  EXPECT_EQ(finished.code, 2);
  EXPECT_EQ(starts(), 1);
  EXPECT_NE(finished.output.find("supervise: ended with code 2"), std::string::npos)
      << finished.output;
  EXPECT_EQ(run_command(supervise("--backoff 0", "/absent/program")).code, 127);
}

TEST_F(Supervise, ADeadJobIsStartedAgainUntilItIsDone) {
  const auto finished = run_command(
      supervise("--backoff 0", job({"step 1; exit 1", "step 2; kill -KILL $$", "step 3; exit 0"})));
  EXPECT_EQ(finished.code, 0);
  EXPECT_EQ(starts(), 3);
  EXPECT_NE(finished.output.find("died with code 1 after step 1; restart 1 of 10 in 0 s"),
            std::string::npos)
      << finished.output;
  EXPECT_NE(finished.output.find("died with code 137 after step 2; restart 2 of 10"),
            std::string::npos)
      << finished.output;
}

TEST_F(Supervise, ThreeDeathsAtTheSameStepEndIt) {
  const auto finished = run_command(
      supervise("--backoff 0", job({"step 4; exit 1", "step 7; exit 1", "step 7; exit 9"})));
  EXPECT_EQ(finished.code, 9) << "the last one's code";
  EXPECT_EQ(starts(), 4) << "step 4, then three times step 7";
  EXPECT_NE(finished.output.find("three times running after step 7"), std::string::npos)
      << finished.output;
}

TEST_F(Supervise, AnotherStepInBetweenStartsTheCountAnew) {
  const auto finished = run_command(
      supervise("--backoff 0", job({"step 7; exit 1", "step 7; exit 1", "step 6; exit 1",
                                    "step 7; exit 1", "step 7; exit 1", "exit 0"})));
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(starts(), 6);
}

TEST_F(Supervise, WithoutMetricsTheNewestCheckpointTellsTheStep) {
  const auto finished =
      run_command(supervise(fmt::format("--backoff 0 --run {}", run_.string()),
                            job({"mkdir run/checkpoints/step-00000008; exit 1",
                                 "mkdir -p run/checkpoints/step-00000009; exit 1"},
                                false)));
  EXPECT_EQ(finished.code, 1);
  EXPECT_EQ(starts(), 4);
  EXPECT_NE(finished.output.find("three times running after step 9"), std::string::npos)
      << finished.output;
}

TEST_F(Supervise, TheBudgetIsCounted) {
  const auto finished =
      run_command(supervise("--backoff 0 --budget 4", job({"step $n; exit $((n + 10))"})));
  EXPECT_EQ(starts(), 5) << "the first one and four restarts";
  EXPECT_EQ(finished.code, 15);
  EXPECT_NE(finished.output.find("the budget of 4 restarts is used up"), std::string::npos)
      << finished.output;
}

TEST_F(Supervise, AJobOfUnknownStepHasTheBudgetAlone) {
  const auto finished = run_command(supervise("--backoff 0 --budget 5", job({"exit 1"}, false)));
  EXPECT_EQ(starts(), 6);
  EXPECT_EQ(finished.code, 1);
}

TEST_F(Supervise, ARequestToBeStartedAgainDoesNotCount) {
  const auto finished = run_command(supervise(
      "--backoff 0 --budget 1",
      job({"step 1; exit 75", "step 2; exit 75", "step 3; exit 75", "step 4; exit 1", "exit 0"})));
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(starts(), 5);
  EXPECT_EQ(count_of(finished.output, "asks to be started again"), 3);
}

// It would be started for ever.
TEST_F(Supervise, ThreeRequestsWithoutAStepEndIt) {
  const auto finished = run_command(supervise("--backoff 0", job({"exit 75"})));
  EXPECT_EQ(finished.code, 75);
  EXPECT_EQ(starts(), 3);
}

TEST_F(Supervise, TheWaitDoublesUpToItsCap) {
  const auto finished =
      run_command(supervise("--backoff 1 --backoff-cap 2 --budget 3", job({"step $n; exit 1"})));
  EXPECT_NE(finished.output.find("restart 1 of 3 in 1 s"), std::string::npos) << finished.output;
  EXPECT_NE(finished.output.find("restart 2 of 3 in 2 s"), std::string::npos) << finished.output;
  EXPECT_NE(finished.output.find("restart 3 of 3 in 2 s"), std::string::npos) << finished.output;
}

TEST_F(Supervise, SignalsReachTheJobAndNothingIsStartedAgain) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    fs::remove(folder_ / "starts");
    fs::remove(folder_ / "saved");
    const std::string command =
        supervise("--backoff 0", job({"trap 'sleep 0.2; touch saved; exit 75' USR1; touch ready; "
                                      "while :; do sleep 0.05; done"}));
    const fs::path log = folder_ / "output";
    fs::remove(folder_ / "ready");
    Background supervisor(fmt::format("{} >{} 2>&1", command, log.string()));
    ASSERT_TRUE(supervisor.wait_until([&] { return fs::exists(folder_ / "ready"); }));
    ::kill(supervisor.pid(), number);
    EXPECT_FALSE(supervisor.wait_until([] { return false; })) << "hangs";
    EXPECT_EQ(supervisor.code(), 75) << read_text(log);
    EXPECT_TRUE(fs::exists(folder_ / "saved")) << "the job had time to end";
    EXPECT_EQ(starts(), 1);
    EXPECT_NE(read_text(log).find(fmt::format("stopped by SIG{}", ::sigabbrev_np(number))),
              std::string::npos)
        << read_text(log);
  }
}

TEST_F(Supervise, ASignalDuringTheWaitEndsIt) {
  const fs::path log = folder_ / "output";
  Background supervisor(
      fmt::format("{} >{} 2>&1", supervise("--backoff 100", job({"exit 3"})), log.string()));
  ASSERT_TRUE(supervisor.wait_until(
      [&] { return read_text(log).find("restart 1 of 10") != std::string::npos; }));
  ::kill(supervisor.pid(), SIGTERM);
  EXPECT_FALSE(supervisor.wait_until([] { return false; })) << "hangs";
  EXPECT_EQ(supervisor.code(), 3);
  EXPECT_EQ(starts(), 1);
}

TEST_F(Supervise, AWrongOptionIsNamed) {
  for (const std::string wrong : {"--budget", "--budget x true", "--wrong true", ""}) {
    const auto finished = run_command(supervise("", wrong));
    EXPECT_EQ(finished.code, 2) << wrong;
    EXPECT_NE(finished.output.find("supervise: "), std::string::npos) << wrong << finished.output;
  }
  EXPECT_EQ(run_command(supervise("", "--help")).code, 0);
}

// The real thing: a rank is lost in the middle, nobody is there, and the run still ends.
TEST_F(Supervise, ARunThatLosesARankEndsAsIfItHadNot) {
  const fs::path config = write_tiny_config(folder_);
  const auto train = [&](const fs::path& run) {
    return mpirun(2,
                  fmt::format("{}/desta-train {} --set run.folder={} --set pipeline.stages=2 --set "
                              "training.steps=60 --set checkpoint.every=7",
                              DESTA_BIN, config.string(), run.string()));
  };
  const fs::path whole = folder_ / "whole";
  ASSERT_EQ(run_command(train(whole)).code, 0);
  const fs::path lost = folder_ / "lost";
  const fs::path log = folder_ / "output";
  Background supervisor(
      fmt::format("{} >{} 2>&1", supervise("--backoff 0", train(lost)), log.string()));
  ASSERT_TRUE(supervisor.wait_until([&] { return losses_of(lost).contains(10); }))
      << read_text(log);
  std::vector<pid_t> ranks;
  for (const pid_t child : children_of(supervisor.pid())) {
    for (const pid_t grandchild : children_of(child)) {
      if (read_text(fmt::format("/proc/{}/comm", grandchild)) == "desta-train\n") {
        ranks.push_back(grandchild);
      }
    }
  }
  ASSERT_EQ(ranks.size(), 2u);
  ::kill(ranks.back(), SIGKILL);
  EXPECT_FALSE(supervisor.wait_until([] { return false; })) << "hangs";
  EXPECT_EQ(supervisor.code(), 0) << read_text(log);
  EXPECT_NE(read_text(log).find("supervise: died with code 137 after step"), std::string::npos)
      << read_text(log);
  expect_same_checkpoint(newest(lost), newest(whole));
}

}  // namespace
}  // namespace desta::tests
