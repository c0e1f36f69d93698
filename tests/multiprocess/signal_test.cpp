// A run that is asked to stop saves its step, asks for another go and ends with 75; started again
// it ends as one that was never disturbed.
#include "multiprocess/job_fixture.h"

namespace desta::tests {
namespace {

constexpr int kLongSteps = 150;

class Signals : public JobTest {
 protected:
  // A run that saves only where it stops, so that a checkpoint in the middle comes from the
  // request.
  [[nodiscard]] static std::string long_run(const fs::path& run, int stages,
                                            const std::string& more = "") {
    return train(
        run, stages, 1,
        fmt::format("--set training.steps={} --set checkpoint.every=0 {}", kLongSteps, more));
  }
  // The same without mpirun.
  [[nodiscard]] static std::string long_process(const fs::path& run, const std::string& more = "") {
    const std::string command = long_run(run, 1, more);
    return command.substr(command.find(bin("desta-train")));
  }
  // Starts `command` with its output in `log`, calls `ask` after its third step, and waits. The run stands still until
  // what was asked has reached it; with `at_full_speed` it goes on meanwhile.
  static Finished stopped_after_three_steps(const fs::path& run, const std::string& command,
                                            const std::function<void(const Background&)>& ask,
                                            bool at_full_speed = false) {
    const fs::path log = folder_ / "output";
    Background job(fmt::format("env {} >{} 2>&1", command, log.string()));
    if (!job.wait_until([&] { return losses_of(run).contains(3); })) {
      ADD_FAILURE() << "ended before step 3";
      return {job.code(), read_text(log)};
    }
    if (at_full_speed) {
      ask(job);
    } else {
      const Standstill still(processes_of("desta-train", "run.folder=" + run.string()));
      ask(job);
      still.wait_for_signal(std::chrono::seconds(10));
    }
    EXPECT_FALSE(job.wait_until([] { return false; })) << "hangs";
    EXPECT_TRUE(job.ended());
    return {job.code(), read_text(log)};
  }
  static void expect_last_step_is_saved(const fs::path& run) {
    const auto losses = losses_of(run);
    ASSERT_FALSE(losses.empty());
    EXPECT_LT(losses.rbegin()->first, kLongSteps) << "stopped too late to prove anything";
    EXPECT_EQ(trainer::list_checkpoints(run).size(), 1u);
    EXPECT_EQ(newest(run).filename(), fmt::format("step-{:08}", losses.rbegin()->first));
  }
  // What nothing has disturbed, on so many stages.
  static const fs::path& undisturbed(int stages) {
    static std::map<int, fs::path> runs;
    if (!runs.contains(stages)) {
      runs[stages] = folder_ / fmt::format("undisturbed-{}", stages);
      const auto finished = run_command(long_run(runs[stages], stages));
      EXPECT_EQ(finished.code, 0) << finished.output;
    }
    return runs[stages];
  }
  static void expect_resumes_to_the_same_end(const fs::path& run, int stages) {
    const auto finished = run_command(long_run(run, stages));
    ASSERT_EQ(finished.code, 0) << finished.output;
    EXPECT_NE(finished.output.find("resuming from"), std::string::npos) << finished.output;
    expect_same_checkpoint(newest(run), newest(undisturbed(stages)));
    EXPECT_EQ(losses_of(run), losses_of(undisturbed(stages)));
  }
  // mpirun started with its path puts its own folder in front of its ranks' PATH.
  [[nodiscard]] static std::string found_by_path(const std::string& command) {
    return command.substr(std::string(DESTA_MPIEXEC).rfind('/') + 1);
  }
  // A program `scontrol` that knows how to requeue, notes its arguments and the checkpoints that it
  // finds, and ends with `code`. Returns the folder to put in front of PATH.
  static fs::path fake_scontrol(const fs::path& run, int code = 0) {
    const fs::path programs = folder_ / (run.filename().string() + "-programs");
    fs::create_directories(programs);
    std::ofstream(programs / "scontrol") << fmt::format(
        "#!/bin/sh\n[ $1 = requeue ] || exit 1\n"
        "echo \"$@\" >>{0}/asked\nls {1}/checkpoints >>{0}/asked\n"
        "[ {2} = 0 ] || echo 'Job is on hold' >&2\nexit {2}\n",
        programs.string(), run.string(), code);
    fs::permissions(programs / "scontrol", fs::perms::owner_all);
    return programs;
  }
};

TEST_F(Signals, AUserSignalToMpirunStopsAllRanks) {
  const fs::path run = folder_ / "mpirun-usr1";
  const auto stopped = stopped_after_three_steps(
      run, long_run(run, 2), [](const Background& job) { ::kill(job.pid(), SIGUSR1); });
  expect_end(stopped, 75, "stopping: signal SIGUSR1");
  EXPECT_EQ(count_of(stopped.output, "stopping:"), 1) << "rank 0 alone says so, once";
  EXPECT_NE(stopped.output.find("no Slurm job to requeue"), std::string::npos) << stopped.output;
  expect_last_step_is_saved(run);
  expect_resumes_to_the_same_end(run, 2);
}

// Open MPI's mpirun ends with 1 then, whatever its ranks end with.
TEST_F(Signals, TerminatingMpirunSavesTheStepToo) {
  const fs::path run = folder_ / "mpirun-term";
  const auto stopped = stopped_after_three_steps(
      run,
      "OMPI_MCA_odls_base_sigkill_timeout=3 " + long_run(run, 2, "--set training.steps=100000"),
      [](const Background& job) { ::kill(job.pid(), SIGTERM); });
  EXPECT_NE(stopped.code, 0);
  EXPECT_NE(stopped.code, 2);
  const auto losses = losses_of(run);
  ASSERT_FALSE(losses.empty());
  EXPECT_EQ(newest(run).filename(), fmt::format("step-{:08}", losses.rbegin()->first))
      << stopped.output;
}

TEST_F(Signals, OneRankIsEnough) {
  for (const int number : {SIGUSR1, SIGTERM}) {
    for (const bool first : {true, false}) {
      const fs::path run = folder_ / fmt::format("rank-{}-{}", first ? "first" : "last", number);
      const auto stopped =
          stopped_after_three_steps(run, long_run(run, 2), [&](const Background& job) {
            const auto ranks = job.ranks();
            ASSERT_EQ(ranks.size(), 2u);
            ::kill(first ? ranks.front() : ranks.back(), number);
          });
      expect_end(stopped, 75, fmt::format("stopping: signal SIG{}", ::sigabbrev_np(number)));
      expect_last_step_is_saved(run);
    }
  }
  expect_resumes_to_the_same_end(folder_ / fmt::format("rank-last-{}", SIGTERM), 2);
}

TEST_F(Signals, AProcessAloneStopsForEachOfThem) {
  for (const int number : {SIGUSR1, SIGTERM, SIGINT}) {
    const fs::path run = folder_ / fmt::format("alone-{}", number);
    const auto stopped = stopped_after_three_steps(
        run, long_process(run), [&](const Background& job) { ::kill(job.pid(), number); });
    expect_end(stopped, 75, fmt::format("stopping: signal SIG{}", ::sigabbrev_np(number)));
    expect_last_step_is_saved(run);
  }
  expect_resumes_to_the_same_end(folder_ / fmt::format("alone-{}", SIGUSR1), 1);
}

TEST_F(Signals, TheConfiguredSignalStopsToo) {
  const fs::path run = folder_ / "usr2";
  const auto stopped =
      stopped_after_three_steps(run, long_run(run, 2, "--set preemption.signal=USR2"),
                                [](const Background& job) { ::kill(job.pid(), SIGUSR2); });
  expect_end(stopped, 75, "stopping: signal SIGUSR2");
  expect_last_step_is_saved(run);
}

// Whoever presses Ctrl-C twice does not want to wait.
TEST_F(Signals, ASecondInterruptEndsAtOnceAndASecondTerminationDoesNot) {
  Finished interrupted;
  // Where the job has stopped in good order before its second interrupt came, once more.
  for (int attempt = 0; attempt < 5 && interrupted.code != 128 + SIGINT; ++attempt) {
    const fs::path run = folder_ / fmt::format("twice-{}", attempt);
    const auto twice = [](const Background& job) {
      // One after the other: two that wait for delivery are one.
      for (int i = 0; i < 2; ++i) {
        ::kill(job.pid(), SIGINT);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    };
    interrupted = stopped_after_three_steps(run, long_process(run), twice, /*at_full_speed=*/true);
  }
  EXPECT_EQ(interrupted.code, 128 + SIGINT) << interrupted.output;
  const fs::path other = folder_ / "twice-term";
  const auto five_times = [](const Background& job) {
    for (int i = 0; i < 5; ++i) {
      ::kill(job.pid(), SIGTERM);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  const auto terminated = stopped_after_three_steps(other, long_process(other), five_times, /*at_full_speed=*/true);
  expect_end(terminated, 75, "stopping: signal SIGTERM");
  expect_last_step_is_saved(other);
}

// The kernel tells which signals a process catches: the earliest moment there is.
TEST_F(Signals, ASignalWhileModelsLoadIsHonouredBeforeTheFirstStep) {
  const fs::path run = folder_ / "loading";
  const fs::path log = folder_ / "loading-output";
  Background job(fmt::format("{} >{} 2>&1", long_process(run), log.string()));
  ASSERT_TRUE(job.wait_until([&] {
    const std::string status = read_text(fmt::format("/proc/{}/status", job.pid()));
    const auto at = status.find("SigCgt:");
    return at != std::string::npos &&
           (std::stoull(status.substr(at + 7), nullptr, 16) >> (SIGUSR1 - 1) & 1) != 0;
  })) << read_text(log);
  ::kill(job.pid(), SIGUSR1);
  EXPECT_FALSE(job.wait_until([] { return false; })) << "hangs";
  ASSERT_TRUE(job.ended());
  EXPECT_EQ(job.code(), 75) << read_text(log);
  EXPECT_TRUE(losses_of(run).empty());
  EXPECT_TRUE(newest(run).empty());
}

TEST_F(Signals, TheTimeLimitStopsInTime) {
  const fs::path run = folder_ / "limit";
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  // The limit is far, the margin nearly as large: there are 15 seconds to start in and to do some steps.
  const auto stopped = run_command(fmt::format(
      "env SLURM_JOB_ID=17 SLURM_JOB_END_TIME={} PATH={}:$PATH {}", now + 1000,
      fake_scontrol(run).string(),
      found_by_path(
          long_run(run, 2, "--set training.steps=1000000 --set preemption.margin_seconds=985"))));
  expect_end(stopped, 75, "stopping: the time limit");
  EXPECT_NE(stopped.output.find("Slurm job 17, restart 0"), std::string::npos) << stopped.output;
  const auto losses = losses_of(run);
  ASSERT_FALSE(losses.empty());
  EXPECT_EQ(newest(run).filename(), fmt::format("step-{:08}", losses.rbegin()->first));
}

// A limit nearer than the margin must not keep a job from ever doing a step.
TEST_F(Signals, AShortTimeLimitIsUsedToItsHalf) {
  const fs::path run = folder_ / "short-limit";
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  const auto stopped = run_command(fmt::format(
      "env SLURM_JOB_ID=17 SLURM_JOB_END_TIME={} {}", now + 15,
      long_process(run, "--set training.steps=1000000 --set preemption.requeue=false")));
  expect_end(stopped, 75, "nearer than preemption.margin_seconds 120");
  EXPECT_FALSE(losses_of(run).empty());
}

TEST_F(Signals, SlurmIsAskedToRequeueWhenAllIsSaved) {
  struct Case {
    std::string name;
    std::string variables;
    std::string asked;
  };
  for (const Case& wanted :
       {Case{"job", "SLURM_JOB_ID=17 SLURM_RESTART_COUNT=2", "requeue 17"},
        Case{"array", "SLURM_JOB_ID=18 SLURM_ARRAY_JOB_ID=16 SLURM_ARRAY_TASK_ID=3",
             "requeue 16_3"}}) {
    const fs::path run = folder_ / wanted.name;
    const fs::path programs = fake_scontrol(run);
    const auto stopped =
        stopped_after_three_steps(run,
                                  fmt::format("{} PATH={}:$PATH {}", wanted.variables,
                                              programs.string(), found_by_path(long_run(run, 2))),
                                  [](const Background& job) { ::kill(job.pid(), SIGUSR1); });
    const std::string target = wanted.asked.substr(wanted.asked.find(' ') + 1);
    expect_end(stopped, 75, "requeued Slurm job " + target);
    EXPECT_NE(stopped.output.find(
                  fmt::format("Slurm job {}, restart {}", target, wanted.name == "job" ? 2 : 0)),
              std::string::npos)
        << stopped.output;
    EXPECT_EQ(read_text(programs / "asked"),
              fmt::format("{}\n{}\n", wanted.asked, newest(run).filename().string()))
        << "once, with the checkpoint in its place";
  }
}

TEST_F(Signals, WithoutARequeueTheLineSaysWhatToDo) {
  const auto ask = [](const Background& job) { ::kill(job.pid(), SIGTERM); };
  const fs::path off = folder_ / "off";
  const fs::path programs = fake_scontrol(off);
  const auto not_asked =
      stopped_after_three_steps(off,
                                fmt::format("SLURM_JOB_ID=17 PATH={}:$PATH {}", programs.string(),
                                            long_process(off, "--set preemption.requeue=false")),
                                ask);
  expect_end(not_asked, 75, "start the same command again");
  EXPECT_FALSE(fs::exists(programs / "asked"));
  const fs::path none = folder_ / "none";
  expect_end(
      stopped_after_three_steps(
          none,
          // A process alone starts MPI's daemon, which insists on a remote shell.
          "SLURM_JOB_ID=17 PATH=/absent OMPI_MCA_plm_rsh_agent=/bin/false " + long_process(none),
          ask),
      75, "no scontrol here: Slurm job 17 is not requeued; start the same command again");
  const fs::path refused = folder_ / "refused";
  expect_end(stopped_after_three_steps(
                 refused,
                 fmt::format("SLURM_JOB_ID=17 PATH={}:$PATH {}", fake_scontrol(refused, 1).string(),
                             long_process(refused)),
                 ask),
             75, "`scontrol requeue 17` failed with code 1: Job is on hold");
}

TEST_F(Signals, RanksThatDoNotFindEachOtherAreAnErrorThatNamesTheFlag) {
  const auto alone =
      run_command(fmt::format("env SLURM_JOB_ID=17 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 {}",
                              long_process(folder_ / "run")));
  expect_end(alone, 2, "srun --mpi=pmix");
  const auto wrong = run_command(
      fmt::format("{}", train(folder_ / "run", 2, 1, "--set data_parallel.replicas=2")));
  expect_end(wrong, 2, "this job has 2 ranks, but");
  EXPECT_NE(wrong.output.find("`mpirun -n 4`"), std::string::npos) << wrong.output;
}

}  // namespace
}  // namespace desta::tests
