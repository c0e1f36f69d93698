// Stands in for NCCL and CUDA where there is no GPU: it moves nothing, but writes down what it is
// asked, and every call that NCCL's documentation forbids. Each thread is a rank with a double of
// its own.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "runtime/collectives/nccl_api.h"

namespace desta::runtime::testing {

class NcclDouble {
 public:
  // The calls end up at the double of the calling thread, which is this one from now on.
  NcclDouble();
  ~NcclDouble();
  NcclDouble(const NcclDouble&) = delete;
  NcclDouble& operator=(const NcclDouble&) = delete;

  [[nodiscard]] static const NcclApi& api();

  // What was done that may not be done; and what was left open.
  std::vector<std::string> violations;
  [[nodiscard]] std::vector<std::string> left_open() const;
  // The collectives and messages, in order: "all_reduce 5", with the number of elements.
  std::vector<std::string> operations;
  int joined = 0;
  int aborted = 0;

  // From now on: NCCL reports this error, or kernels never end.
  ncclResult_t asynchronous_error = ncclSuccess;
  bool hangs = false;
  int polls_until_joined = 2;

  enum class State { kJoining, kReady, kFinalized };
  struct Comm {
    State state = State::kJoining;
    int polls = 0;
    cudaStream_t stream = nullptr;  // that its operations run on
    std::set<void*> registered;
  };
  struct Stream {
    bool waits_for_default = false;  // for the kernels that made the buffers of the next operation
  };
  std::map<ncclComm_t, Comm> comms;
  std::map<cudaStream_t, Stream> streams;
  std::map<cudaEvent_t, cudaStream_t> events;  // where each was recorded last
  std::map<void*, std::vector<char>> memory;
  bool device_is_set = false;
  std::size_t next_handle = 1;

  void demand(bool holds, const std::string& otherwise);
  template <typename Handle>
  Handle make_handle() {
    return reinterpret_cast<Handle>(next_handle++ * 64);
  }
  ncclResult_t enqueue(const std::string& what, ncclComm_t comm, cudaStream_t stream);
};

}  // namespace desta::runtime::testing
