// The data plane over NCCL: buffers are device memory of one GPU a rank. Offered only when the
// build found NCCL and the machine has a GPU.
//
// NCCL knows no tags: messages between two ranks must be received in the order in which they were
// sent. Operations run on streams of the communicator's own. Each begins behind the kernels that
// CUDA's default stream had been given before the call, so buffers may still be in the making
// there; its result may be used when the blocking call has returned or Work::wait() has.
#pragma once

#include <chrono>
#include <memory>

#include "runtime/collectives/communicator.h"

namespace desta::runtime {

struct NcclApi;

struct NcclCommunicatorOptions {
  int device = 0;  // taken as 0 where the process sees only one GPU
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  // The calls to make; null: the libraries' own.
  const NcclApi* api = nullptr;
};

// Whether this build found NCCL.
[[nodiscard]] bool nccl_is_built();

// `bootstrap` (over host memory) carries NCCL's identifier to all ranks, finds out who is missing
// when NCCL fails, and lives on for splits. Collective. Throws ConfigError when NCCL was not
// compiled in or the GPU is not there, TransportError when NCCL fails.
[[nodiscard]] std::unique_ptr<Communicator> make_nccl_communicator(
    std::unique_ptr<Communicator> bootstrap, NcclCommunicatorOptions options);

}  // namespace desta::runtime
