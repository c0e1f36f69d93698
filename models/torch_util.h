// Small pieces that every network here uses: seeded generators, dropout that does not touch global
// state, dtype names, and what is known of the BLAS that LibTorch calls.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

#include "runtime/core/dtype.h"

namespace desta::models {

// A CPU generator of its own; the global one is never used, so results depend on seeds alone.
[[nodiscard]] at::Generator make_generator(std::uint64_t seed);

// Inverted dropout with a mask drawn from `generator`. The identity when no generator is given.
[[nodiscard]] at::Tensor dropout(const at::Tensor& x, double probability,
                                 const c10::optional<at::Generator>& generator);

[[nodiscard]] at::ScalarType to_scalar_type(runtime::DType dtype);
// Throws ModelError for a type that the runtime does not move.
[[nodiscard]] runtime::DType to_dtype(at::ScalarType type);
// "float32" or "bfloat16". Throws ConfigError for any other name.
[[nodiscard]] at::ScalarType parse_precision(const std::string& name);

// Where a process keeps its models: "cpu", "cuda" (its GPU), or "auto" (its GPU if LibTorch finds one).
// The process that is number `local_rank` on its host takes GPU `local_rank`, or that modulo the number
// of GPUs it sees, so that it does not matter whether the launcher shows each its own.
// Throws ConfigError for another name, or for "cuda" where LibTorch finds no GPU.
[[nodiscard]] at::Device choose_device(const std::string& name, int local_rank);

// Makes malloc keep large blocks for reuse instead of returning them to the kernel after every
// operation: tensors of a few megabytes otherwise cost a page fault per 4 KiB each time (a fifth of
// a small model's training step, measured with perf). Programs call it first.
void keep_freed_memory();

// Which BLAS is live and what a float32 product reaches with it now.
struct BlasReport {
  std::string library;    // resolved path of the library that serves sgemm
  double gigaflops = 0;   // measured on one 512 x 512 x 512 product
  [[nodiscard]] bool is_reference() const { return library.find("openblas") == std::string::npos &&
                                                   library.find("mkl") == std::string::npos &&
                                                   library.find("blis") == std::string::npos; }
};
// LibTorch does not warn when it runs on the reference BLAS, thirty times slower than OpenBLAS;
// programs print this line at start.
[[nodiscard]] BlasReport probe_blas();

}  // namespace desta::models
