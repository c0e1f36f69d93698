// A job's actor system: over the ranks of the job, with its status page and its door for workers; and
// the life of such a worker.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/program.h"
#include "runtime/actor/actor_system.h"

namespace desta::launch {

// Runs `on_node_0` on the first rank of an actor system over all ranks, with the other ranks serving
// actors. `provide` hands each process's resources to the system first. An error on node 0, or of any
// actor it waits for, ends the whole job. Serves the status page (runtime.status), lets workers join
// (runtime.join) and says who is to blame when nothing moves (runtime.hang_after_seconds).
void run_actors(Job& job, const std::function<void(runtime::ActorSystem&)>& provide,
                const std::function<void(runtime::ActorSystem&)>& on_node_0);

// What a worker is told.
struct WorkerOptions {
  std::string address;     // of the job
  std::string token_file;  // empty: where the configuration puts it
  std::string config_path;
  std::vector<std::string> overrides;
};

// Joins a running job that has registered the same actor types, and serves actors until the job ends (0), this process is asked to stop (0, the
// job goes on without it) or the job is lost (1). Errors of the configuration, the token or the
// address are one line and 2 or 1.
[[nodiscard]] int run_worker(const WorkerOptions& options, const Program::Provide& provide);

}  // namespace desta::launch
