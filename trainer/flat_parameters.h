// Trainable parameters in one flat float32 buffer, their gradients in another, named tensors as
// views of both: the optimiser and the all-reduce see one vector, the networks see their tensors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "models/tensor_source.h"

namespace desta::trainer {

using at::Tensor;
using models::TensorMap;

class FlatParameters {
 public:
  // Copies `initial`, in name order.
  explicit FlatParameters(const TensorMap& initial, at::Device device = at::kCPU);

  // Leaves that require gradients; backward adds into gradients().
  [[nodiscard]] const TensorMap& tensors() const { return tensors_; }
  [[nodiscard]] Tensor& values() { return values_; }        // [count()]
  [[nodiscard]] const Tensor& values() const { return values_; }
  [[nodiscard]] Tensor& gradients() { return gradients_; }  // [count()]
  [[nodiscard]] std::int64_t count() const { return values_.numel(); }

  void zero_gradients() { gradients_.zero_(); }

  // A flat buffer of this layout as named tensors (views): for saving optimiser state.
  [[nodiscard]] TensorMap named(const Tensor& flat) const;
  // Copies named tensors into `flat`. Throws ModelError when one is missing or of another shape.
  void assign(Tensor& flat, const TensorMap& named) const;

 private:
  Tensor values_;
  Tensor gradients_;
  TensorMap tensors_;
};

}  // namespace desta::trainer
