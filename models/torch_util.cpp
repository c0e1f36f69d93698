#include "models/torch_util.h"

#include <ATen/CPUGeneratorImpl.h>
#include <dlfcn.h>
#include <malloc.h>

#include <chrono>
#include <filesystem>
#include <limits>

#include "runtime/core/error.h"

namespace desta::models {

at::Generator make_generator(std::uint64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(seed);
}

at::Tensor dropout(const at::Tensor& x, double probability,
                   const c10::optional<at::Generator>& generator) {
  if (!generator.has_value() || probability == 0.0) {
    return x;
  }
  const double keep = 1.0 - probability;
  at::Tensor mask = at::empty(x.sizes(), at::TensorOptions().dtype(at::kFloat));
  mask.bernoulli_(keep, generator);
  return x * mask.div_(keep).to(x.options());
}

at::ScalarType to_scalar_type(runtime::DType dtype) {
  switch (dtype) {
    case runtime::DType::kFloat32:
      return at::kFloat;
    case runtime::DType::kFloat16:
      return at::kHalf;
    case runtime::DType::kBFloat16:
      return at::kBFloat16;
    case runtime::DType::kFloat64:
      return at::kDouble;
    case runtime::DType::kInt32:
      return at::kInt;
    case runtime::DType::kInt64:
      return at::kLong;
    case runtime::DType::kUInt8:
      return at::kByte;
  }
  throw runtime::ModelError("unknown element type {}", static_cast<int>(dtype));
}

runtime::DType to_dtype(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return runtime::DType::kFloat32;
    case at::kHalf:
      return runtime::DType::kFloat16;
    case at::kBFloat16:
      return runtime::DType::kBFloat16;
    case at::kDouble:
      return runtime::DType::kFloat64;
    case at::kInt:
      return runtime::DType::kInt32;
    case at::kLong:
      return runtime::DType::kInt64;
    case at::kByte:
      return runtime::DType::kUInt8;
    default:
      throw runtime::ModelError("element type {} cannot be moved", c10::toString(type));
  }
}

at::ScalarType parse_precision(const std::string& name) {
  if (name == "float32") {
    return at::kFloat;
  }
  if (name == "bfloat16") {
    return at::kBFloat16;
  }
  throw runtime::ConfigError("precision '{}' is not known; use float32 or bfloat16", name);
}

at::Device choose_device(const std::string& name, int local_rank) {
  if (name != "auto" && name != "cpu" && name != "cuda") {
    throw runtime::ConfigError("device '{}' is not known; use auto, cpu or cuda", name);
  }
  const auto gpus = at::hasCUDA() ? static_cast<int>(at::getNumGPUs()) : 0;
  if (name == "cuda" && gpus == 0) {
    throw runtime::ConfigError("models.device is cuda, but this LibTorch finds no GPU ({}); use auto or "
                               "cpu",
                               at::hasCUDA() ? "none is visible" : "it was built without CUDA");
  }
  if (name == "cpu" || gpus == 0) {
    return at::kCPU;
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(local_rank % gpus));
}

void keep_freed_memory() {
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_TOP_PAD, 64 << 20);
}

BlasReport probe_blas() {
  BlasReport report;
  if (void* symbol = ::dlsym(RTLD_DEFAULT, "sgemm_")) {
    Dl_info info{};
    if (::dladdr(symbol, &info) != 0 && info.dli_fname != nullptr) {
      std::error_code ignored;
      const auto path = std::filesystem::canonical(info.dli_fname, ignored);
      report.library = ignored ? info.dli_fname : path.string();
    }
  }
  const at::NoGradGuard no_grad;
  constexpr int kSize = 512;
  const at::Tensor a = at::ones({kSize, kSize});
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    (void)at::mm(a, a);
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  report.gigaflops = 2.0 * kSize * kSize * kSize / best / 1e9;
  return report;
}

}  // namespace desta::models
