#include "trainer/flat_parameters.h"

#include <functional>
#include <numeric>
#include <set>

namespace desta::trainer {

std::int64_t FlatParameters::Piece::count() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

FlatParameters::FlatParameters(const TensorMap& initial, at::Device device,
                               const std::vector<std::string>& order) {
  std::int64_t total = 0;
  const auto place = [&](const std::string& name, const Tensor& tensor) {
    pieces_.push_back({name, total, tensor.sizes().vec()});
    total += tensor.numel();
  };
  std::set<std::string> placed;
  for (const auto& name : order) {
    if (const auto found = initial.find(name); found != initial.end() && placed.insert(name).second) {
      place(name, found->second);
    }
  }
  for (const auto& [name, tensor] : initial) {
    if (!placed.contains(name)) {
      place(name, tensor);
    }
  }
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  values_ = at::zeros({total}, options);
  gradients_ = at::zeros({total}, options);
  for (const Piece& piece : pieces_) {
    Tensor value = values_.narrow(0, piece.offset, piece.count()).view(piece.shape).detach();
    value.copy_(initial.at(piece.name).detach());
    value.set_requires_grad(true);
    tensors_[piece.name] = value;
  }
  move_gradients(gradients_);
}

void FlatParameters::move_gradients(const Tensor& memory) {
  const at::NoGradGuard no_grad;
  if (!memory.is_same(gradients_)) {
    Tensor target = memory;
    target.copy_(gradients_);
    gradients_ = target;
  }
  for (const Piece& piece : pieces_) {
    tensors_.at(piece.name).mutable_grad() =
        gradients_.narrow(0, piece.offset, piece.count()).view(piece.shape);
  }
}

TensorMap FlatParameters::named(const Tensor& flat) const {
  TensorMap out;
  for (const Piece& piece : pieces_) {
    out[piece.name] = flat.narrow(0, piece.offset, piece.count()).view(piece.shape);
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
