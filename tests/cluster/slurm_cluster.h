// A Slurm of its own: two nodes, n1 and n2, of four CPUs each, all on this machine, with its own
// munge key, ports and folders. Nothing of it outlives the object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "multiprocess/command.h"

namespace desta::tests {

class SlurmCluster {
 public:
  // Why it cannot be had here (not root, programs missing, another Slurm runs); empty: it can.
  [[nodiscard]] static std::string obstacle();

  // Starts it under `folder` and sets the environment of this process, and so of what it starts, to
  // find it. Throws std::runtime_error with the daemons' last words when the nodes do not come up.
  explicit SlurmCluster(std::filesystem::path folder);
  ~SlurmCluster();
  SlurmCluster(const SlurmCluster&) = delete;
  SlurmCluster& operator=(const SlurmCluster&) = delete;

  // Submits by `sbatch` with these arguments and returns the job's number; empty when refused.
  [[nodiscard]] std::string submit(const std::string& arguments) const;
  // "PENDING", "RUNNING", "COMPLETED", ...; of an array's task "17_3" too.
  [[nodiscard]] std::string state(const std::string& job) const;
  // Whether the job, and every task of an array, has ended in any way.
  [[nodiscard]] bool is_over(const std::string& job) const;
  // Waits, at most so long, until `due` holds. False when it never did.
  [[nodiscard]] static bool wait_until(const std::function<bool()>& due,
                                       std::chrono::seconds patience = std::chrono::seconds(90));
  // Waits for the job to end in any way, and returns its last state.
  [[nodiscard]] std::string wait_for(const std::string& job) const;
  // What the daemons have written: for messages of failed tests.
  [[nodiscard]] std::string logs() const;

 private:
  void write_configuration() const;
  void start(const std::string& command);
  void stop() noexcept;

  std::filesystem::path folder_;
  std::vector<pid_t> daemons_;  // in the order of their start
};

}  // namespace desta::tests
