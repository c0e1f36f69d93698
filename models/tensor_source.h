// Where a model takes its parameters from: a model folder, freshly drawn numbers (pre-training), or
// another precision of either. Networks ask by Hugging Face parameter name and expected shape.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace desta::models {

using at::Tensor;
using TensorMap = std::map<std::string, Tensor>;

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // The parameter `name`. Throws ModelError when it is missing or its shape is not `shape`.
  [[nodiscard]] virtual Tensor get(const std::string& name, at::IntArrayRef shape) = 0;
  [[nodiscard]] virtual bool contains(const std::string& name) const = 0;
};

// Hands out the tensors of a map.
class MapSource final : public TensorSource {
 public:
  explicit MapSource(const TensorMap& tensors) : tensors_(tensors) {}
  Tensor get(const std::string& name, at::IntArrayRef shape) override;
  bool contains(const std::string& name) const override { return tensors_.contains(name); }

 private:
  const TensorMap& tensors_;
};

// Hands out the tensors of a map, and of another source what the map lacks.
class OverlaySource final : public TensorSource {
 public:
  OverlaySource(const TensorMap& tensors, TensorSource& below) : map_(tensors), below_(below) {}
  Tensor get(const std::string& name, at::IntArrayRef shape) override {
    return map_.contains(name) ? map_.get(name, shape) : below_.get(name, shape);
  }
  bool contains(const std::string& name) const override {
    return map_.contains(name) || below_.contains(name);
  }

 private:
  MapSource map_;
  TensorSource& below_;
};

// Draws a new parameter at each request and keeps it in `tensors`: normal with standard deviation
// `deviation` for matrices, ones for `*norm*.weight`, zeros for biases; the convention of GPT-2
// (Radford et al. 2019), which Llama and Whisper code bases share.
class RandomSource final : public TensorSource {
 public:
  RandomSource(TensorMap& tensors, std::uint64_t seed, double deviation = 0.02);
  Tensor get(const std::string& name, at::IntArrayRef shape) override;
  bool contains(const std::string&) const override { return true; }

 private:
  TensorMap& tensors_;
  at::Generator generator_;
  double deviation_;
};

// XXH3 of a tensor's bytes, dtype and shape: what "frozen" is checked with.
[[nodiscard]] std::uint64_t checksum(const Tensor& tensor);

// Bytes of a tensor's elements.
[[nodiscard]] std::uint64_t byte_size(const Tensor& tensor);

}  // namespace desta::models
