// Low-rank updates of a frozen Llama's attention projections (LoRA; Hu et al. 2021):
//   y = W x + (alpha / rank) B A x
// with A [rank, in] and B [out, rank] learned in float32 and W frozen. Tensor names are those of the
// peft library, so that the file opens in Python.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "models/llama_config.h"
#include "models/tensor_source.h"

namespace desta::models {

struct LoraConfig {
  std::int64_t rank = 8;
  double alpha = 16;
  std::vector<std::string> targets = {"q", "k", "v"};  // projections that have an update
};

// Name of A or B (`which`) of a layer's projection ("q").
[[nodiscard]] std::string lora_name(std::int64_t layer, std::string_view target, char which);
// True for a name that lora_name() gives.
[[nodiscard]] bool is_lora_name(std::string_view name);

// Initial updates of layers [first_layer, end_layer): A uniform in +-1/sqrt(in) as in the authors'
// code, B zero, so that the model starts as it was. What a layer gets depends on `seed` and its
// number alone.
[[nodiscard]] TensorMap initial_lora(const LlamaConfig& llama, const LoraConfig& config,
                                     std::int64_t first_layer, std::int64_t end_layer,
                                     std::uint64_t seed);

// x [..., in], weight [out, in] -> [..., out].
using Product = Tensor (*)(const Tensor& x, const Tensor& weight);
// at::linear.
[[nodiscard]] Tensor linear(const Tensor& x, const Tensor& weight);

// A frozen projection with its update, if it has one.
class LoraLinear {
 public:
  LoraLinear() = default;
  LoraLinear(Tensor weight, Tensor a, Tensor b, double scale);

  // x [..., in] -> [..., out], in x's type. Gradients arrive at A and B, if `product` has any.
  [[nodiscard]] Tensor operator()(const Tensor& x, Product product = linear) const;

  // The frozen weight, where nothing updates it; undefined otherwise.
  [[nodiscard]] Tensor weight_alone() const { return a_.defined() ? Tensor() : weight_; }

 private:
  Tensor weight_;  // [out, in]
  Tensor a_, b_;   // undefined where nothing learns
  double scale_ = 0;
};

// What a file of updates says of itself: rank and alpha stand in its metadata, targets in its names.
// Throws ModelError when it is none.
[[nodiscard]] LoraConfig lora_config_of(const std::filesystem::path& file);

// The updates of a model and the scale they are applied with: what a Llama is built with.
class Lora {
 public:
  // `source` hands out A and B by name; it must live as long as this.
  Lora(TensorSource& source, const LoraConfig& config) : source_(&source), config_(config) {}

  // `weight` with the update of this layer's projection, or alone when `source` has none.
  [[nodiscard]] LoraLinear around(Tensor weight, std::int64_t layer, std::string_view target) const;

 private:
  TensorSource* source_;
  LoraConfig config_;
};

}  // namespace desta::models
