#include "trainer/error_feedback.h"

#include <bit>
#include <cstdint>

#include "runtime/core/instruction_sets.h"

namespace desta::trainer {
namespace {

DESTA_FOR_EACH_MACHINE void round_floats(const float* gradient, float* error, std::uint16_t* wire,
                                         std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float sum = gradient[i] + error[i];
    const auto bits = std::bit_cast<std::uint32_t>(sum);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
    const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
    const std::uint32_t kept = is_nan ? 0x7fc00000U : rounded;
    wire[i] = static_cast<std::uint16_t>(kept >> 16);
    error[i] = sum - std::bit_cast<float>(kept);
  }
}

}  // namespace

void round_with_feedback(const at::Tensor& gradient, at::Tensor& error, at::Tensor& wire) {
  if (gradient.is_cuda()) {
    error.add_(gradient);
    wire.copy_(error);
    error.sub_(wire);
    return;
  }
  round_floats(gradient.data_ptr<float>(), error.data_ptr<float>(),
               reinterpret_cast<std::uint16_t*>(wire.data_ptr<at::BFloat16>()), gradient.numel());
}

}  // namespace desta::trainer
