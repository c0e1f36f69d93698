// Proves that all replicas have the same parameters, to the bit.
#pragma once

#include <cstdint>

#include "models/tensor_source.h"
#include "runtime/collectives/communicator.h"

namespace desta::trainer {

class ReplicaCheck {
 public:
  // Hashes `values` on top of all values before, and compares with the other replicas. Collective.
  // Throws InternalError that names the replicas that differ from most others (with two, from the
  // first) and `step`, the number of the step that has made these values.
  void require_same(runtime::Communicator& replicas, const at::Tensor& values, std::int64_t step);

 private:
  std::uint64_t hash_ = 0;
};

}  // namespace desta::trainer
