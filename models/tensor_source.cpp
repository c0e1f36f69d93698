#include "models/tensor_source.h"

#include <fmt/ranges.h>

#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::models {

Tensor MapSource::get(const std::string& name, at::IntArrayRef shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw runtime::ModelError("tensor '{}' is missing", name);
  }
  if (found->second.sizes() != shape) {
    throw runtime::ModelError("tensor '{}' has shape [{}], expected [{}]", name,
                              fmt::join(found->second.sizes(), ", "), fmt::join(shape, ", "));
  }
  return found->second;
}

RandomSource::RandomSource(TensorMap& tensors, std::uint64_t seed, double deviation)
    : tensors_(tensors), generator_(make_generator(seed)), deviation_(deviation) {}

Tensor RandomSource::get(const std::string& name, at::IntArrayRef shape) {
  Tensor tensor = at::zeros(shape, at::kFloat);
  const bool is_norm = name.find("norm") != std::string::npos;
  const bool is_bias = name.ends_with(".bias");
  if (is_norm && !is_bias) {
    tensor.fill_(1.0);
  } else if (!is_bias) {
    tensor.normal_(0.0, deviation_, generator_);
  }
  tensors_[name] = tensor;
  return tensor;
}

std::uint64_t checksum(const Tensor& tensor) {
  const Tensor plain = tensor.detach().to(at::kCPU).contiguous();
  std::uint64_t seed = static_cast<std::uint64_t>(plain.scalar_type());
  for (const auto size : plain.sizes()) {
    seed = seed * 1000003 + static_cast<std::uint64_t>(size);
  }
  return runtime::hash64(
      std::span(static_cast<const std::byte*>(plain.data_ptr()), byte_size(plain)), seed);
}

std::uint64_t byte_size(const Tensor& tensor) {
  return static_cast<std::uint64_t>(tensor.numel()) * tensor.element_size();
}

}  // namespace desta::models
