#include "launch/sweep_state.h"

#include <unistd.h>

#include "launch/sweep_fixture.h"
#include "launch/sweep_process.h"
#include "launch/sweep_slurm.h"
#include "launch/sweep_status.h"

namespace desta::tests {
namespace {

using runtime::FileLock;
using launch::TrialFolder;
using launch::TrialState;
using launch::TrialStatus;

TEST_F(SweepTest, AStateComesBackFromItsFile) {
  const TrialFolder trial(folder_ / "t");
  EXPECT_EQ(trial.read().status, TrialStatus::kPending);
  TrialState state;
  state.status = TrialStatus::kFailed;
  state.attempts = 3;
  state.exit_code = 2;
  state.message = "no \"such\" \xff file";  // what a program prints need not be UTF-8
  state.host = "n1";
  trial.write(state);
  const TrialState back = trial.read();
  EXPECT_EQ(back.status, TrialStatus::kFailed);
  EXPECT_EQ(back.attempts, 3);
  EXPECT_EQ(back.exit_code, 2);
  EXPECT_EQ(back.host, "n1");
  expect_holds(back.message, "no \"such\"");
}

TEST_F(SweepTest, ADamagedStateCountsAsPendingAndIsNamed) {
  for (const char* text : {"", "{\"status\": \"done\"", "{\"status\": \"odd\"}", "[]"}) {
    const fs::path path = write("t/state.json", text);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(TrialFolder(folder_ / "t").read().status, TrialStatus::kPending) << text;
    const std::string said = ::testing::internal::GetCapturedStderr();
    expect_holds(said, path.string() + ": damaged");
    EXPECT_EQ(count_of(said, "\n"), 1) << said;
  }
}

TEST_F(SweepTest, WhatRunsUnderNobodysLockIsPending) {
  const TrialFolder trial(folder_ / "t");
  TrialState state;
  state.status = TrialStatus::kRunning;
  trial.write(state);
  EXPECT_EQ(trial.current().status, TrialStatus::kPending);
  const auto lock = FileLock::try_take(trial.lock());
  ASSERT_TRUE(lock);
  EXPECT_EQ(trial.current().status, TrialStatus::kRunning);
}

TEST_F(SweepTest, AChildKeepsTheLockOfAParentThatLetGo) {
  const fs::path path = folder_ / "lock";
  auto lock = FileLock::try_take(path, FileLock::Inherit::kByChildren);
  {
    launch::ChildProcess child({"sh", "-c", "echo up; exec sleep 60"}, folder_ / "log.txt");
    while (read_text(folder_ / "log.txt").empty()) {  // it has become another program by then
      ::usleep(1000);
    }
    lock.reset();
    EXPECT_TRUE(FileLock::is_held(path));
  }
  EXPECT_FALSE(FileLock::is_held(path));
}

TEST_F(SweepTest, AFailedProgramIsKnownByItsLastError) {
  const fs::path log = folder_ / "log.txt";
  const auto shell = [&](const std::string& script) {
    return launch::run_to_end({"sh", "-c", script}, log);
  };
  EXPECT_EQ(shell("echo '1 error: of an earlier try'; exit 1").message, "of an earlier try");
  auto ending =
      shell("printf '10%%\\r20%%\\n12:00 [0] error: x: no such file\\n' >&2; echo bye; exit 2");
  EXPECT_EQ(ending.code, 2);
  EXPECT_EQ(ending.message, "x: no such file");
  EXPECT_EQ(shell("echo odd; exit 3").message, "odd");
  EXPECT_EQ(shell("exit 3").message, "sh ended with 3");
  ending = shell("kill -KILL $$");
  EXPECT_EQ(ending.code, 137);
  expect_holds(ending.message, "sh was ended by SIGKILL");
  ending = shell("exit 75");
  EXPECT_TRUE(ending.stopped);
  EXPECT_FALSE(shell("true").stopped);
  ending = launch::run_to_end({"/absent/program"}, log);
  EXPECT_EQ(ending.code, 127);
  expect_holds(ending.message, "cannot start /absent/program");
}

TEST_F(SweepTest, ArraysOfTasksAreWrittenAsRanges) {
  EXPECT_EQ(launch::array_text({0}), "0");
  EXPECT_EQ(launch::array_text({0, 1, 2}), "0-2");
  EXPECT_EQ(launch::array_text({1, 4, 5, 9}), "1,4-5,9");
}

// A program that stands for sbatch: it writes down its arguments and gives numbers to jobs.
class FakeSlurm : public SweepTest {
 protected:
  FakeSlurm() {
    write("bin/sbatch", "#!/bin/sh\necho \"$@\" >> " + calls().string() + "\necho \"4$(wc -l < " +
                            calls().string() + ");cluster\"\n");
    fs::permissions(folder_ / "bin/sbatch", fs::perms::owner_all);
    old_path_ = ::getenv("PATH");
    ::setenv("PATH", ((folder_ / "bin").string() + ":" + old_path_).c_str(), 1);
  }
  ~FakeSlurm() override { ::setenv("PATH", old_path_.c_str(), 1); }
  [[nodiscard]] fs::path calls() const { return folder_ / "calls.txt"; }

  std::string old_path_;
};

TEST_F(FakeSlurm, AJobForTheDataAndAnArrayForWhatIsPending) {
  const auto p = plan("seeds: [1, 2, 3, 4, 5]\nset: {pipeline.stages: 2}\n");
  const auto file = launch::save_plan(p);
  TrialState state;
  state.status = TrialStatus::kDone;
  TrialFolder(p.trial_folder(p.trials[1])).write(state);
  state.status = TrialStatus::kFailed;
  TrialFolder(p.trial_folder(p.trials[3])).write(state);
  launch::SlurmOptions options;
  options.at_once = 2;
  options.sbatch_options = {"--partition=long"};
  EXPECT_EQ(launch::submit(p, file, options, false), 0);
  std::istringstream lines(read_text(calls()));
  std::string data;
  std::string array;
  std::getline(lines, data);
  std::getline(lines, array);
  expect_holds(data, "--parsable");
  expect_holds(data, "--partition=long");
  expect_holds(data, "--ntasks=2");
  expect_holds(data, "launch/slurm/sweep.sbatch");
  expect_holds(data, "desta-sweep prepare " + file.string());
  expect_lacks(data, "--array");
  expect_holds(array, "--array=0,2,4%2");
  expect_holds(array, "--dependency=afterany:41");
  expect_holds(array, "--partition=long");
  expect_holds(array, "desta-sweep trial " + file.string());

  // The data is there now; a failed trial is tried again when that is asked for.
  write("state/prepared/" + p.trials[0].data_key + ".json", "{}");
  EXPECT_EQ(launch::submit(p, file, {}, true), 0);
  const std::string all = read_text(calls());
  EXPECT_EQ(count_of(all, "\n"), 3) << all;
  expect_holds(all, "--array=0,2-4 ");
}

TEST_F(FakeSlurm, ARefusalOfSlurmIsPassedOn) {
  write("bin/sbatch", "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n");
  const auto p = plan("");
  try {
    (void)launch::submit(p, launch::save_plan(p), {}, false);
    FAIL();
  } catch (const runtime::ConfigError& error) {
    expect_holds(error.what(), "invalid partition");
  }
}

TEST_F(SweepTest, TheBatchScriptPassesTheSignalOnAndKeepsTheExitCode) {
  // It stands for desta-sweep: signals the shell that started it, and saves when it hears of that. (A
  // shell cannot trap what was ignored when it started, as a program can.)
  const fs::path program = write("bin/desta-sweep",
                                 "#!/usr/bin/env -S --default-signal=USR1 bash\n"
                                 "trap 'sleep 0.2; echo saved; exit 75' USR1\n"
                                 "echo \"$@\"\n"
                                 "kill -USR1 $PPID\n"
                                 "for i in {1..200}; do sleep 0.05; done\n");
  fs::permissions(program, fs::perms::owner_all);
  const std::string script = DESTA_SOURCE_DIR "/launch/slurm/sweep.sbatch";
  auto ended = run_command("env SLURM_ARRAY_TASK_ID=3 bash " + script + " " + program.string() +
                           " trial plan.json");
  EXPECT_EQ(ended.code, 75) << ended.output;
  EXPECT_EQ(ended.output, "trial plan.json --index 3 --job\nsaved\n");
  write("bin/desta-sweep", "#!/bin/bash\necho \"$@\"\nexit 2\n");
  ended = run_command("bash " + script + " " + program.string() + " prepare plan.json");
  EXPECT_EQ(ended.code, 2) << ended.output;
  EXPECT_EQ(ended.output, "prepare plan.json\n");
}

TEST_F(SweepTest, WithoutSlurmThatIsSaid) {
  const std::string old = ::getenv("PATH");
  ::setenv("PATH", folder_.c_str(), 1);
  const auto p = plan("");
  try {
    (void)launch::submit(p, launch::save_plan(p), {}, false);
    ADD_FAILURE();
  } catch (const runtime::ConfigError& error) {
    expect_holds(error.what(), "no sbatch here");
  }
  ::setenv("PATH", old.c_str(), 1);
}

TEST_F(SweepTest, TheStatusShowsEveryTrial) {
  const auto p = plan("seeds: [1, 2]\n");
  TrialState state;
  state.status = TrialStatus::kFailed;
  state.round = 1;
  state.message = "the disk is full";
  TrialFolder(p.trial_folder(p.trials[0])).write(state);
  write(fs::relative(p.run_folder(p.trials[0], 1), folder_) / "metrics.jsonl",
        "{\"step\": 3, \"loss\": 2.5}\n{\"step\": 4, \"validation_loss\": 9}\n{\"step\": 4, \"lo");
  fs::create_directories(p.folder / "trials/base-seed9-abcdef");
  const std::string text = launch::status_text(p);
  expect_holds(text, "2 trials, 0 done, 0 running, 1 pending, 1 failed");
  expect_holds(text, "3/10");
  expect_holds(text, "2.500");
  expect_holds(text, "the disk is full");
  expect_holds(text, "1 of other settings are not shown");
}

}  // namespace
}  // namespace desta::tests
