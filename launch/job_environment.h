// What the launcher and the scheduler tell a process by environment variables: who started it, as
// which of how many tasks, in which Slurm job, on what. Read it before MPI starts: MPI_Init sets
// variables of its own.
//
// Sources: Open MPI 4.1's mpirun(1) and PMIx 4 (OMPI_*, PMIX_*); Slurm's srun(1) and sbatch(1),
// "output environment variables".
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace desta::launch {

enum class Launcher {
  kNone,     // started alone
  kOpenMpi,  // mpirun, within a Slurm allocation or not
  kSrun,     // Slurm's srun, as it should be with --mpi=pmix
  kPmix,     // another launcher that speaks PMIx or PMI (prterun, Hydra)
};

struct JobEnvironment {
  // The value of an environment variable; empty when it is not set.
  using Lookup = std::function<std::string(const char*)>;

  Launcher launcher = Launcher::kNone;
  std::string job_id;        // Slurm's; empty outside of Slurm
  std::string array_job_id;  // of an array's task, else empty
  std::string array_task_id;
  int restart_count = 0;  // how often Slurm has requeued the job
  int nodes = 1;
  std::string node_name;  // Slurm's name of this node; else the host's
  int rank = 0;           // as the launcher counts; 0 and 1 where it has not said
  int tasks = 1;          // that it has started
  int local_rank = 0;     // among the tasks of this node
  int local_tasks = 1;
  bool has_pmi = false;  // the launcher offers what MPI needs to find the other tasks
  std::string gpus;      // visible to this task: "0,1", "4 of the node"; empty: none stated
  std::optional<std::chrono::system_clock::time_point> end_time;  // of the time limit, if stated

  // What `scontrol` calls this job: 17, or 17_3 for an array's task; empty outside of Slurm.
  [[nodiscard]] std::string scontrol_target() const;
  // "srun (PMIx), Slurm job 17_3, restart 1"
  [[nodiscard]] std::string describe() const;
  // The launcher's option that sets the number of ranks, up to the number: "srun --ntasks=".
  [[nodiscard]] std::string ranks_option() const;
};

// From the variables of this process, or of a test.
[[nodiscard]] JobEnvironment read_job_environment();
[[nodiscard]] JobEnvironment read_job_environment(const JobEnvironment::Lookup& lookup);

// The end of the job's time limit: stated by the environment, or asked from `squeue`, where there
// is one, for some seconds. Nothing outside of Slurm, without a limit, or where nobody answers. One
// rank of a job should ask.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> find_end_time(
    const JobEnvironment& environment);

// How many tasks the launcher has started, when that is not what MPI sees: srun without --mpi=pmix
// starts strangers who each think themselves alone. Throws ConfigError that names the flag.
void check_all_ranks_are_here(const JobEnvironment& environment, int mpi_size);

}  // namespace desta::launch
