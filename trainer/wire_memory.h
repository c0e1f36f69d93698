// Memory that a communicator reduces, as a tensor. Private to the wire formats.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>

#include "models/tensor_source.h"
#include "runtime/collectives/communicator.h"

namespace desta::trainer {

// NCCL reduces device memory, all others host memory.
[[nodiscard]] inline bool reduces_on_device(const runtime::Communicator& replicas) {
  return replicas.backend() == "nccl";
}

// [count] of `type`: on `device` for NCCL, else host memory that the communicator has allocated (which
// the tensor keeps). Collective.
[[nodiscard]] at::Tensor make_wire_memory(runtime::Communicator& replicas, std::int64_t count,
                                          at::ScalarType type, at::Device device);

// In place, over all replicas. float32 and bfloat16.
[[nodiscard]] std::unique_ptr<runtime::Work> all_reduce_async(runtime::Communicator& replicas,
                                                              const at::Tensor& part,
                                                              runtime::ReduceOp op);

// The mean over all replicas, in place, through a buffer of bounded size. [count] float32. Collective.
void average(runtime::Communicator& replicas, at::Tensor& flat);

// Copies into the tensors of `target` those of `source` with the same name and shape.
void copy_known(const models::TensorMap& source, const models::TensorMap& target);

}  // namespace desta::trainer
