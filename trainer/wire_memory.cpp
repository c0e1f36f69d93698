#include "trainer/wire_memory.h"

#include <algorithm>

namespace desta::trainer {

at::Tensor make_wire_memory(runtime::Communicator& replicas, std::int64_t count,
                            at::ScalarType type, at::Device device) {
  const auto options = at::TensorOptions().dtype(type);
  if (reduces_on_device(replicas)) {
    return at::zeros({count}, options.device(device));
  }
  const auto bytes = static_cast<std::size_t>(count) * at::elementSize(type);
  const auto owner = std::make_shared<runtime::SharedBuffer>(replicas.allocate(bytes));
  return at::from_blob(owner->data(), {count}, [owner](void*) {}, options);
}

std::unique_ptr<runtime::Work> all_reduce_async(runtime::Communicator& replicas,
                                                const at::Tensor& part, runtime::ReduceOp op) {
  const auto type = part.scalar_type() == at::kBFloat16 ? runtime::DType::kBFloat16
                                                        : runtime::DType::kFloat32;
  return replicas.all_reduce_async(part.data_ptr(), part.data_ptr(),
                                   static_cast<std::size_t>(part.numel()), type, op);
}

void average(runtime::Communicator& replicas, at::Tensor& flat) {
  const at::NoGradGuard no_grad;
  constexpr std::int64_t kPiece = std::int64_t{4} << 20;  // 16 MiB
  const std::int64_t total = flat.numel();
  const at::Tensor buffer =
      make_wire_memory(replicas, std::min(kPiece, total), at::kFloat, flat.device());
  for (std::int64_t begin = 0; begin < total; begin += kPiece) {
    const std::int64_t count = std::min(kPiece, total - begin);
    at::Tensor part = buffer.narrow(0, 0, count);
    at::Tensor own = flat.narrow(0, begin, count);
    part.copy_(own);
    all_reduce_async(replicas, part, runtime::ReduceOp::kAverage)->wait();
    own.copy_(part);
  }
}

void copy_known(const models::TensorMap& source, const models::TensorMap& target) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : target) {
    const auto found = source.find(name);
    if (found != source.end() && found->second.sizes() == tensor.sizes()) {
      at::Tensor into = tensor;
      into.copy_(found->second);
    }
  }
}

}  // namespace desta::trainer
