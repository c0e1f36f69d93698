// What launchers say of themselves. The variables are captures: Open MPI 4.1.4 and Slurm 22.05.8 on
// two nodes, what plays no part left out.
#include "launch/job_environment.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "launch/job_layout.h"
#include "launch/short_command.h"
#include "runtime/core/error.h"
#include "support/tiny_job.h"

namespace desta::launch {
namespace {

using Variables = std::map<std::string, std::string>;

JobEnvironment read(const Variables& variables) {
  return read_job_environment([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  });
}

// Rank 1 of `mpirun -n 2` on a machine alone.
const Variables kMpirun = {{"OMPI_COMM_WORLD_RANK", "1"},       {"OMPI_COMM_WORLD_SIZE", "2"},
                           {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                           {"OMPI_COMM_WORLD_NODE_RANK", "1"},  {"OMPI_MCA_orte_num_nodes", "1"},
                           {"OMPI_UNIVERSE_SIZE", "2"},         {"PMIX_HOSTNAME", "vm"},
                           {"PMIX_NAMESPACE", "1783169025"},    {"PMIX_RANK", "1"}};

// Task 3 of `srun --mpi=pmix -N2 -n4`, which Slurm had spread as 3 and 1.
const Variables kSrun = {{"PMIX_NAMESPACE", "slurm.pmix.1.0"},
                         {"PMIX_RANK", "3"},
                         {"SLURMD_NODENAME", "n2"},
                         {"SLURM_CPUS_ON_NODE", "1"},
                         {"SLURM_JOB_ID", "1"},
                         {"SLURM_JOB_NODELIST", "n[1-2]"},
                         {"SLURM_JOB_NUM_NODES", "2"},
                         {"SLURM_LOCALID", "0"},
                         {"SLURM_MPI_TYPE", "pmix"},
                         {"SLURM_NNODES", "2"},
                         {"SLURM_NODEID", "1"},
                         {"SLURM_NTASKS", "4"},
                         {"SLURM_PROCID", "3"},
                         {"SLURM_STEP_ID", "0"},
                         {"SLURM_STEP_NUM_NODES", "2"},
                         {"SLURM_STEP_NUM_TASKS", "4"},
                         {"SLURM_STEP_TASKS_PER_NODE", "3,1"},
                         {"SLURM_TASKS_PER_NODE", "3,1"}};

// A batch script on the first of two nodes: task 3 of array 2, which alone has the number 2 too.
const Variables kBatchScript = {
    {"SLURMD_NODENAME", "n1"},      {"SLURM_ARRAY_JOB_ID", "2"}, {"SLURM_ARRAY_TASK_COUNT", "1"},
    {"SLURM_ARRAY_TASK_ID", "3"},   {"SLURM_JOB_ID", "2"},       {"SLURM_JOB_NUM_NODES", "2"},
    {"SLURM_LOCALID", "0"},         {"SLURM_NODEID", "0"},       {"SLURM_NTASKS", "4"},
    {"SLURM_NTASKS_PER_NODE", "2"}, {"SLURM_PROCID", "0"},       {"SLURM_TASKS_PER_NODE", "2(x2)"}};

// Rank 3 of `mpirun -n 4` in it, on the second node: its daemon there is a step of srun.
const Variables kMpirunInSlurm = {{"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                  {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                  {"OMPI_COMM_WORLD_RANK", "3"},
                                  {"OMPI_COMM_WORLD_SIZE", "4"},
                                  {"OMPI_MCA_orte_num_nodes", "2"},
                                  {"PMIX_RANK", "3"},
                                  {"SLURMD_NODENAME", "n2"},
                                  {"SLURM_ARRAY_JOB_ID", "2"},
                                  {"SLURM_ARRAY_TASK_ID", "3"},
                                  {"SLURM_JOB_ID", "2"},
                                  {"SLURM_LOCALID", "0"},
                                  {"SLURM_NODEID", "1"},
                                  {"SLURM_NTASKS", "2"},
                                  {"SLURM_PROCID", "1"},
                                  {"SLURM_STEP_ID", "0"},
                                  {"SLURM_STEP_NUM_NODES", "2"},
                                  {"SLURM_STEP_NUM_TASKS", "2"},
                                  {"SLURM_STEP_TASKS_PER_NODE", "1(x2)"}};

Variables with(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more) {
    variables[name] = value;
  }
  return variables;
}

void expect_ranks(const JobEnvironment& environment, int rank, int tasks, int local_rank,
                  int local_tasks, int nodes) {
  EXPECT_EQ(environment.rank, rank);
  EXPECT_EQ(environment.tasks, tasks);
  EXPECT_EQ(environment.local_rank, local_rank);
  EXPECT_EQ(environment.local_tasks, local_tasks);
  EXPECT_EQ(environment.nodes, nodes);
}

TEST(JobEnvironment, AProcessAloneIsAJobOfOne) {
  const auto alone = read({});
  EXPECT_EQ(alone.launcher, Launcher::kNone);
  expect_ranks(alone, 0, 1, 0, 1, 1);
  EXPECT_EQ(alone.job_id, "");
  EXPECT_EQ(alone.scontrol_target(), "");
  EXPECT_EQ(alone.gpus, "");
  EXPECT_FALSE(alone.end_time);
  EXPECT_FALSE(find_end_time(alone)) << "nobody is asked outside of Slurm";
  EXPECT_EQ(alone.describe(), "no launcher");
  EXPECT_FALSE(alone.node_name.empty()) << "the host's";
}

TEST(JobEnvironment, OpenMpisMpirun) {
  const auto rank = read(kMpirun);
  EXPECT_EQ(rank.launcher, Launcher::kOpenMpi);
  expect_ranks(rank, 1, 2, 1, 2, 1);
  EXPECT_EQ(rank.describe(), "mpirun (Open MPI)");
  EXPECT_EQ(rank.ranks_option(), "mpirun -n ");
}

TEST(JobEnvironment, SlurmsSrunWithPmix) {
  const auto task = read(kSrun);
  EXPECT_EQ(task.launcher, Launcher::kSrun);
  expect_ranks(task, 3, 4, 0, 1, 2);
  EXPECT_EQ(task.job_id, "1");
  EXPECT_EQ(task.node_name, "n2");
  EXPECT_EQ(task.scontrol_target(), "1");
  EXPECT_EQ(task.describe(), "srun (PMIx), Slurm job 1, restart 0");
  EXPECT_EQ(task.ranks_option(), "srun --ntasks=");
  const auto first = read(with(kSrun, {{"SLURM_NODEID", "0"}}));
  EXPECT_EQ(first.local_tasks, 3);
  const auto third =
      read(with(kSrun, {{"SLURM_NODEID", "2"}, {"SLURM_STEP_TASKS_PER_NODE", "8(x2),5"}}));
  EXPECT_EQ(third.local_tasks, 5);
}

TEST(JobEnvironment, ABatchScriptsOwnProcessHasAJobButNoLauncher) {
  const auto script = read(kBatchScript);
  EXPECT_EQ(script.launcher, Launcher::kNone);
  expect_ranks(script, 0, 1, 0, 1, 1);
  EXPECT_EQ(script.job_id, "2");
  EXPECT_EQ(script.scontrol_target(), "2_3") << "an array's task";
  EXPECT_EQ(script.node_name, "n1");
}

TEST(JobEnvironment, MpirunWithinSlurmIsTheLauncherAndSlurmGivesTheJob) {
  const auto rank = read(with(kMpirunInSlurm, {{"SLURM_RESTART_COUNT", "4"}}));
  EXPECT_EQ(rank.launcher, Launcher::kOpenMpi);
  expect_ranks(rank, 3, 4, 1, 2, 2);
  EXPECT_EQ(rank.node_name, "n2");
  EXPECT_EQ(rank.describe(), "mpirun (Open MPI), Slurm job 2_3, restart 4");
}

TEST(JobEnvironment, AnotherPmixLauncher) {
  const auto rank = read({{"PMIX_RANK", "5"}, {"PMIX_NAMESPACE", "prterun-vm-1@1"}});
  EXPECT_EQ(rank.launcher, Launcher::kPmix);
  EXPECT_EQ(rank.rank, 5);
  EXPECT_EQ(rank.describe(), "a PMIx launcher");
}

TEST(JobEnvironment, TheEndOfTheTimeLimitIsReadAsUnixTime) {
  const auto limited = read(with(kSrun, {{"SLURM_JOB_END_TIME", "1795384508"}}));
  ASSERT_TRUE(limited.end_time);
  EXPECT_EQ(std::chrono::system_clock::to_time_t(*limited.end_time), 1795384508);
  EXPECT_EQ(find_end_time(limited), limited.end_time);
  for (const char* none : {"0", "-1", "soon", "17953845080 ", ""}) {
    EXPECT_FALSE(read(with(kSrun, {{"SLURM_JOB_END_TIME", none}})).end_time) << none;
  }
}

TEST(JobEnvironment, GpusAreThoseOfTheRankWhereTheyAreKnown) {
  EXPECT_EQ(read(with(kSrun, {{"SLURM_GPUS_ON_NODE", "4"}})).gpus, "4 of the node");
  EXPECT_EQ(read(with(kSrun, {{"SLURM_GPUS_ON_NODE", "4"}, {"SLURM_STEP_GPUS", "0,1"}})).gpus,
            "0,1");
  EXPECT_EQ(read(with(kSrun, {{"CUDA_VISIBLE_DEVICES", "2"}, {"SLURM_STEP_GPUS", "0,1"}})).gpus,
            "2");
}

TEST(JobEnvironment, VariablesThatAreNoNumbersAreAsIfNotSet) {
  const auto rank =
      read(with(kMpirun, {{"OMPI_COMM_WORLD_RANK", "one"}, {"SLURM_RESTART_COUNT", "x"}}));
  EXPECT_EQ(rank.rank, 0);
  EXPECT_EQ(rank.restart_count, 0);
}

TEST(JobEnvironment, TasksThatMpiDoesNotSeeAreAnErrorThatNamesTheFlag) {
  auto strangers = kSrun;
  strangers.erase("PMIX_RANK");
  try {
    check_all_ranks_are_here(read(strangers), 1);
    FAIL() << "four jobs would write one run folder";
  } catch (const runtime::ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("4 tasks"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("srun --mpi=pmix"), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(check_all_ranks_are_here(read(kSrun), 4));
  EXPECT_NO_THROW(check_all_ranks_are_here(read(kMpirunInSlurm), 4));
  EXPECT_NO_THROW(check_all_ranks_are_here(read(kBatchScript), 1)) << "no step: a job of one";
}

// squeue of Slurm 22.05 asked with SLURM_TIME_FORMAT=%s wrote "1795384508" and many spaces.
TEST(JobEnvironment, WhereNoVariableTellsTheLimitSqueueIsAsked) {
  const auto folder = tests::fresh_folder("squeue");
  const std::string path = ::getenv("PATH");
  const auto answer = [&](const std::string& script) {
    std::ofstream(folder / "squeue") << "#!/bin/sh\n" << script << "\n";
    std::filesystem::permissions(folder / "squeue", std::filesystem::perms::owner_all);
    ::setenv("PATH", (folder.string() + ":" + path).c_str(), 1);
    const auto end = find_end_time(read(kSrun));
    ::setenv("PATH", path.c_str(), 1);
    return end ? std::chrono::system_clock::to_time_t(*end) : 0;
  };
  EXPECT_EQ(answer("[ \"$SLURM_TIME_FORMAT $*\" = '%s --noheader --jobs 1 --Format EndTime' ] && "
                   "echo '1795384508          '"),
            1795384508);
  EXPECT_EQ(answer("echo 'N/A                 '"), 0) << "no limit";
  EXPECT_EQ(answer("echo 1795384508; exit 1"), 0) << "an answer that failed";
  ::setenv("PATH", folder.c_str(), 1);
  std::filesystem::remove(folder / "squeue");
  EXPECT_FALSE(find_end_time(read(kSrun))) << "no such program";
  ::setenv("PATH", path.c_str(), 1);
  std::filesystem::remove_all(folder);
}

TEST(ShortCommand, ReturnsWhatTheProgramSaidAndHowItEnded) {
  const auto said =
      run_briefly({"sh", "-c", "echo out; echo err >&2; exit 3"}, std::chrono::seconds(20));
  EXPECT_TRUE(said.found);
  EXPECT_EQ(said.code, 3);
  EXPECT_EQ(said.output, "out\nerr");
  EXPECT_EQ(run_briefly({"sh", "-c", "kill -TERM $$"}, std::chrono::seconds(20)).code, 128 + 15);
  EXPECT_FALSE(run_briefly({"no-such-program-here"}, std::chrono::seconds(20)).found);
  EXPECT_EQ(run_briefly({"sh", "-c", "echo $WORD"}, std::chrono::seconds(20), {"WORD=hear"}).output,
            "hear");
}

TEST(ShortCommand, DoesNotWaitForOneThatHangs) {
  const auto silent = run_briefly({"sleep", "1000"}, std::chrono::milliseconds(50));
  EXPECT_EQ(silent.code, 124);
  const auto closed =
      run_briefly({"sh", "-c", "exec >/dev/null 2>&1; sleep 1000"}, std::chrono::milliseconds(50));
  EXPECT_EQ(closed.code, 124) << "closes its output and stays";
}

Seat seat(const std::string& node, int rank, int local_rank, std::vector<int> cores) {
  Seat made;
  made.node = node;
  made.rank = rank;
  made.local_rank = local_rank;
  made.cores = std::move(cores);
  return made;
}

TEST(JobLayout, RanksThatFillTheirCoresGetAShareEach) {
  const std::vector<Seat> seats = {seat("a", 0, 0, {0, 1, 4, 5}), seat("a", 1, 1, {0, 1, 4, 5}),
                                   seat("b", 2, 0, {2, 3}), seat("b", 3, 1, {2, 3})};
  EXPECT_EQ(cores_to_pin(seats[0], seats, 2), (std::vector<int>{0, 1}));
  EXPECT_EQ(cores_to_pin(seats[1], seats, 2), (std::vector<int>{4, 5}));
  EXPECT_EQ(cores_to_pin(seats[3], seats, 1), (std::vector<int>{3})) << "of its own node";
}

TEST(JobLayout, RanksThatAreBoundOrMayHaveNeighboursAreLeftAlone) {
  const std::vector<Seat> alone = {seat("a", 0, 0, {0, 1})};
  EXPECT_TRUE(cores_to_pin(alone[0], alone, 1).empty())
      << "another job may be given the same two cores, and pin itself to the same one";
  const std::vector<Seat> bound = {seat("a", 0, 0, {0, 1}), seat("a", 1, 1, {2, 3})};
  EXPECT_TRUE(cores_to_pin(bound[1], bound, 1).empty()) << "by the launcher, to different cores";
  const std::vector<Seat> crowded = {seat("a", 0, 0, {0, 1}), seat("a", 1, 1, {0, 1})};
  EXPECT_TRUE(cores_to_pin(crowded[1], crowded, 2).empty()) << "more threads than cores";
  const std::vector<Seat> twins = {seat("a", 0, 0, {0, 1}), seat("a", 1, 0, {0, 1}),
                                   seat("a", 2, 2, {0, 1})};
  EXPECT_TRUE(cores_to_pin(twins[2], {twins[2], twins[0]}, 1).empty())
      << "two hosts of one name: a local rank outside of the count";
}

TEST(JobLayout, TheTableHasALineANode) {
  std::vector<Seat> seats = {seat("n1", 0, 0, {0}), seat("n1", 1, 1, {1}),
                             seat("n2", 2, 0, {0, 1, 2, 5}), seat("n2", 3, 1, {0, 1, 2, 5})};
  seats[0].pinned = seats[1].pinned = true;
  seats[0].gpus = "0";
  seats[1].gpus = "1";
  EXPECT_EQ(
      describe_layout(read(kMpirunInSlurm), seats),
      (std::vector<std::string>{"mpirun (Open MPI), Slurm job 2_3, restart 0; 4 ranks on 2 nodes",
                                "  node n1: ranks 0-1; cores 0 | 1 (pinned); GPUs 0 | 1",
                                "  node n2: ranks 2-3; cores 0-2,5 (shared)"}));
  EXPECT_EQ(describe_layout(read({}), {seat("vm", 0, 0, {0, 1})}),
            (std::vector<std::string>{"no launcher; node vm: rank 0; cores 0-1"}));
}

}  // namespace
}  // namespace desta::launch
