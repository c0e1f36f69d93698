// One NCCL communicator with the stream that its operations run on. It is non-blocking
// (ncclConfig_t), so that no call of NCCL, the joining included, can wait longer than the time set.
// An error, or the end of that time, aborts it. Private to this folder.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/collectives/communicator.h"
#include "runtime/collectives/nccl_api.h"

namespace desta::runtime {

// Throw TransportError "what: CUDA: ..." unless all is well.
void check_cuda(cudaError_t code, const std::string& what);
void check_nccl(ncclResult_t code, const std::string& what);

class NcclChannel {
 public:
  // Joins. Collective over the ranks of `bootstrap`, which carries NCCL's identifier.
  NcclChannel(const NcclApi& api, Communicator& bootstrap, int device,
              std::chrono::milliseconds timeout);
  ~NcclChannel();
  NcclChannel(const NcclChannel&) = delete;
  NcclChannel& operator=(const NcclChannel&) = delete;

  // Joins again with a new communicator, the old one aborted. Collective.
  void rebuild(Communicator& bootstrap);
  // Ends the operations under way; the channel is of no use until it is rebuilt.
  void abort();

  // Gives NCCL one operation, behind the kernels that the default stream has been given so far
  // (they make the buffers), and returns a mark behind it: pass it to passed(), wait() and
  // forget().
  using Enqueue = std::function<ncclResult_t(ncclComm_t communicator, cudaStream_t stream)>;
  [[nodiscard]] cudaEvent_t start(const std::string& operation, const Enqueue& enqueue);
  // True when the stream has come to the mark.
  [[nodiscard]] bool passed(cudaEvent_t mark, const std::string& operation);
  void wait(cudaEvent_t mark, const std::string& operation);
  void forget(cudaEvent_t mark) const { api_.event_destroy(mark); }

  // Device memory that NCCL knows, so that peers may read it in place.
  void add_memory(void* data, std::size_t bytes);
  void remove_memory(void* data);

 private:
  struct Memory {
    void* data = nullptr;
    std::size_t bytes = 0;
    void* handle = nullptr;
  };

  void join(Communicator& bootstrap);
  void make_known(Memory& memory) const;
  // Throws when an earlier failure has ended the channel.
  [[nodiscard]] ncclComm_t communicator() const;
  // Until NCCL has done what it was told last.
  void settle(const std::string& operation);

  const NcclApi& api_;
  const int device_;
  const std::chrono::milliseconds timeout_;
  ncclComm_t communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;
  std::mutex mutex_;
  std::vector<Memory> memory_;
};

}  // namespace desta::runtime
