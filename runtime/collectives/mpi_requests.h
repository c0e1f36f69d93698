// MPI requests under way together, and the one way to wait for them: poll, and sleep more the
// longer it takes, up to a deadline. A rank that waits leaves its core to one that computes.
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace desta::runtime {

class MpiRequests {
 public:
  MpiRequests() = default;
  // Cancels what has not finished, so that MPI never writes to a buffer that is gone.
  ~MpiRequests();
  MpiRequests(const MpiRequests&) = delete;
  MpiRequests& operator=(const MpiRequests&) = delete;

  // Starts a transfer; `bytes` is at most kMaxTransfer. Throws TransportError.
  void send(const void* data, std::size_t bytes, int peer, int tag, MPI_Comm communicator);
  // The message must have exactly `bytes` bytes: wait() says so when it has not.
  void receive(void* data, std::size_t bytes, int peer, int tag, MPI_Comm communicator);

  // True when all have finished. Throws TransportError when one failed. Never blocks.
  [[nodiscard]] bool done(const std::string& operation);
  // Throws TransportError "operation: ... rank 3 ..." when a transfer failed or did not finish.
  void wait(const std::string& operation, std::chrono::milliseconds timeout);

  static constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

 private:
  struct Transfer {
    MPI_Request request = MPI_REQUEST_NULL;
    int peer = 0;
    std::size_t bytes = 0;
    bool receiving = false;
    bool finished = false;
  };
  [[nodiscard]] bool poll(Transfer& transfer, const std::string& operation);

  std::vector<Transfer> transfers_;
};

}  // namespace desta::runtime
