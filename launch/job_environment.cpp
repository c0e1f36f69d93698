#include "launch/job_environment.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "launch/short_command.h"
#include "runtime/core/error.h"
#include "runtime/core/host_name.h"

namespace desta::launch {
namespace {

using Clock = std::chrono::system_clock;

constexpr auto kPatience = std::chrono::seconds(5);

// A whole number and nothing else, as all of these variables are when they are there.
template <typename Number>
std::optional<Number> number(const std::string& text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return !text.empty() && result.ec == std::errc() && result.ptr == end ? std::optional(value)
                                                                        : std::nullopt;
}

std::optional<Clock::time_point> unix_time(const std::string& text) {
  const auto seconds = number<std::int64_t>(text);
  return seconds && *seconds > 0 ? std::optional(Clock::time_point(std::chrono::seconds(*seconds)))
                                 : std::nullopt;
}

// The first of these that is set.
std::string first_of(const JobEnvironment::Lookup& lookup,
                     std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (auto value = lookup(name); !value.empty()) {
      return value;
    }
  }
  return "";
}

Launcher find_launcher(const JobEnvironment::Lookup& lookup) {
  // Within an allocation mpirun's own daemons are a step of srun, so its variables come first.
  if (!lookup("OMPI_COMM_WORLD_SIZE").empty()) {
    return Launcher::kOpenMpi;
  }
  // A batch script has the job's variables, but no step.
  if (!lookup("SLURM_STEP_ID").empty()) {
    return Launcher::kSrun;
  }
  return first_of(lookup, {"PMIX_RANK", "PMI_RANK"}).empty() ? Launcher::kNone : Launcher::kPmix;
}

// "4(x2),3": how many tasks run on each node; the count of the node with this index.
int tasks_of_node(const std::string& text, int node) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const auto bracket = part.find("(x");
    const int tasks = number<int>(part.substr(0, bracket)).value_or(1);
    const int times =
        bracket == std::string::npos
            ? 1
            : number<int>(part.substr(bracket + 2, part.size() - bracket - 3)).value_or(1);
    if (node < times) {
      return tasks;
    }
    node -= times;
    at = end + 1;
  }
  return 1;
}

std::string visible_gpus(const JobEnvironment::Lookup& lookup) {
  auto listed = first_of(lookup, {"CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS"});
  if (!listed.empty()) {
    return listed;
  }
  const auto on_node = lookup("SLURM_GPUS_ON_NODE");
  return on_node.empty() ? "" : on_node + " of the node";
}

}  // namespace

JobEnvironment read_job_environment() {
  return read_job_environment([](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  });
}

JobEnvironment read_job_environment(const JobEnvironment::Lookup& lookup) {
  const auto count = [&](std::initializer_list<const char*> names, int otherwise) {
    return number<int>(first_of(lookup, names)).value_or(otherwise);
  };
  JobEnvironment environment;
  environment.launcher = find_launcher(lookup);
  environment.job_id = lookup("SLURM_JOB_ID");
  environment.array_job_id = lookup("SLURM_ARRAY_JOB_ID");
  environment.array_task_id = lookup("SLURM_ARRAY_TASK_ID");
  environment.restart_count = count({"SLURM_RESTART_COUNT"}, 0);
  environment.end_time = unix_time(lookup("SLURM_JOB_END_TIME"));
  environment.gpus = visible_gpus(lookup);
  environment.node_name = lookup("SLURMD_NODENAME");
  if (environment.node_name.empty()) {
    environment.node_name = runtime::host_name();
  }
  environment.has_pmi = !first_of(lookup, {"PMIX_RANK", "PMI_RANK"}).empty();
  switch (environment.launcher) {
    case Launcher::kOpenMpi:
      environment.rank = count({"OMPI_COMM_WORLD_RANK"}, 0);
      environment.tasks = count({"OMPI_COMM_WORLD_SIZE"}, 1);
      environment.local_rank = count({"OMPI_COMM_WORLD_LOCAL_RANK"}, 0);
      environment.local_tasks = count({"OMPI_COMM_WORLD_LOCAL_SIZE"}, 1);
      environment.nodes = count({"OMPI_MCA_orte_num_nodes"}, 1);
      break;
    case Launcher::kSrun:
      environment.rank = count({"SLURM_PROCID"}, 0);
      environment.tasks = count({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, 1);
      environment.local_rank = count({"SLURM_LOCALID"}, 0);
      environment.local_tasks =
          tasks_of_node(lookup("SLURM_STEP_TASKS_PER_NODE"), count({"SLURM_NODEID"}, 0));
      environment.nodes = count({"SLURM_STEP_NUM_NODES"}, 1);
      break;
    case Launcher::kPmix:
      environment.rank = count({"PMIX_RANK", "PMI_RANK"}, 0);
      environment.tasks = count({"PMI_SIZE"}, 1);
      environment.local_rank = count({"MPI_LOCALRANKID"}, 0);
      environment.local_tasks = count({"MPI_LOCALNRANKS"}, 1);
      break;
    case Launcher::kNone:
      break;
  }
  return environment;
}

std::string JobEnvironment::scontrol_target() const {
  return array_job_id.empty() || array_task_id.empty() ? job_id
                                                       : array_job_id + "_" + array_task_id;
}

std::string JobEnvironment::describe() const {
  std::string text;
  switch (launcher) {
    case Launcher::kOpenMpi:
      text = "mpirun (Open MPI)";
      break;
    case Launcher::kSrun:
      text = has_pmi ? "srun (PMIx)" : "srun";
      break;
    case Launcher::kPmix:
      text = "a PMIx launcher";
      break;
    case Launcher::kNone:
      text = "no launcher";
      break;
  }
  if (!job_id.empty()) {
    text += fmt::format(", Slurm job {}, restart {}", scontrol_target(), restart_count);
  }
  return text;
}

std::string JobEnvironment::ranks_option() const {
  return launcher == Launcher::kSrun ? "srun --ntasks=" : "mpirun -n ";
}

std::optional<Clock::time_point> find_end_time(const JobEnvironment& environment) {
  if (environment.end_time || environment.job_id.empty()) {
    return environment.end_time;
  }
  // A job without a limit has the answer "NONE" or "N/A".
  const auto answer =
      run_briefly({"squeue", "--noheader", "--jobs", environment.job_id, "--Format", "EndTime"},
                  kPatience, {"SLURM_TIME_FORMAT=%s"});
  return answer.found && answer.code == 0 ? unix_time(answer.output) : std::nullopt;
}

void check_all_ranks_are_here(const JobEnvironment& environment, int mpi_size) {
  if (environment.launcher == Launcher::kSrun && environment.tasks > 1 && mpi_size == 1) {
    throw runtime::ConfigError(
        "srun has started {} tasks, but MPI sees each of them alone; start them with `srun "
        "--mpi=pmix`, or with mpirun where `srun --mpi=list` has no pmix",
        environment.tasks);
  }
}

}  // namespace desta::launch
