// MPI for the length of main(): initialised with MPI_THREAD_MULTIPLE, finalised at scope's end.
// Without a launcher the process is a job of one.
//
// When the scope ends because an error unwinds and there are other ranks, MPI_Finalize would wait
// for them for ever. It is then left out: the process ends with its own exit code and the launcher
// ends the job. Everything that holds an MPI communicator must die before the environment.
#pragma once

#include <string>
#include <vector>

namespace desta::runtime {

class MpiEnvironment {
 public:
  // Throws TransportError when MPI cannot start or lacks MPI_THREAD_MULTIPLE. Once per process.
  explicit MpiEnvironment(int* argc = nullptr, char*** argv = nullptr);
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  // Among the ranks of this host.
  [[nodiscard]] int local_rank() const { return local_rank_; }
  [[nodiscard]] int local_size() const { return local_size_; }

  // What every rank has given, by rank. Collective over all ranks; for small things at start and
  // end. Throws TransportError.
  [[nodiscard]] std::vector<std::string> all_gather(const std::string& mine) const;

  // Ends every process of the job at once with this exit code. For a failure that the other ranks
  // cannot learn of; nothing is cleaned up.
  [[noreturn]] static void abort_job(int exit_code);

 private:
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  int exceptions_at_start_ = 0;
};

}  // namespace desta::runtime
