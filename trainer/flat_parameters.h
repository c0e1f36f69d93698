// Trainable parameters in one flat float32 buffer, their gradients in another, named tensors as
// views of both: the optimiser and the all-reduce see one vector, the networks see their tensors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "models/tensor_source.h"

namespace desta::trainer {

using at::Tensor;
using models::TensorMap;

class FlatParameters {
 public:
  // A parameter's place in the flat buffers.
  struct Piece {
    std::string name;
    std::int64_t offset = 0;
    std::vector<std::int64_t> shape;
    [[nodiscard]] std::int64_t count() const;
  };

  // Copies `initial`. Those named in `order` stand first, as they are named, then the others by name.
  explicit FlatParameters(const TensorMap& initial, at::Device device = at::kCPU,
                          const std::vector<std::string>& order = {});

  // Leaves that require gradients; backward adds into gradients().
  [[nodiscard]] const TensorMap& tensors() const { return tensors_; }
  // As they lie in the flat buffers.
  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }
  [[nodiscard]] Tensor& values() { return values_; }        // [count()]
  [[nodiscard]] const Tensor& values() const { return values_; }
  [[nodiscard]] Tensor& gradients() { return gradients_; }  // [count()]
  [[nodiscard]] std::int64_t count() const { return values_.numel(); }

  // Has the gradients lie in this memory from now on: float32 [count()] on the same device. They
  // keep their values.
  void move_gradients(const Tensor& memory);
  void zero_gradients() { gradients_.zero_(); }

  // A flat buffer of this layout as named tensors (views): for saving optimiser state.
  [[nodiscard]] TensorMap named(const Tensor& flat) const;
  // Copies named tensors into `flat`. Throws ModelError when one is missing or of another shape.
  void assign(Tensor& flat, const TensorMap& named) const;

 private:
  std::vector<Piece> pieces_;
  Tensor values_;
  Tensor gradients_;
  TensorMap tensors_;
};

}  // namespace desta::trainer
