#include "trainer/flat_parameters.h"

namespace desta::trainer {

FlatParameters::FlatParameters(const TensorMap& initial, at::Device device) {
  std::int64_t total = 0;
  for (const auto& [name, tensor] : initial) {
    total += tensor.numel();
  }
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  values_ = at::zeros({total}, options);
  gradients_ = at::zeros({total}, options);
  std::int64_t offset = 0;
  for (const auto& [name, tensor] : initial) {
    const auto count = tensor.numel();
    Tensor value = values_.narrow(0, offset, count).view(tensor.sizes()).detach();
    value.copy_(tensor.detach());
    value.set_requires_grad(true);
    value.mutable_grad() = gradients_.narrow(0, offset, count).view(tensor.sizes());
    tensors_[name] = value;
    offset += count;
  }
}

TensorMap FlatParameters::named(const Tensor& flat) const {
  TensorMap out;
  std::int64_t offset = 0;
  for (const auto& [name, tensor] : tensors_) {
    out[name] = flat.narrow(0, offset, tensor.numel()).view(tensor.sizes());
    offset += tensor.numel();
  }
  return out;
}

void FlatParameters::assign(Tensor& flat, const TensorMap& source) const {
  const at::NoGradGuard no_grad;
  models::MapSource checked(source);
  for (auto& [name, view] : named(flat)) {
    Tensor target = view;
    target.copy_(checked.get(name, view.sizes()));
  }
}

}  // namespace desta::trainer
