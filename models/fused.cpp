#include "models/fused.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <vector>

#include "models/fused_rows.h"
#include "models/vector_math.h"
#include "runtime/core/error.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool has_kernel(const Tensor& x) {
  return x.device().is_cpu() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

std::int64_t row_count(const Tensor& x) { return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1); }

// The kernels read `size` numbers of each row's weight.
void require_weight(const Tensor& weight, const Tensor& x) {
  if (weight.numel() != x.size(-1) || !weight.is_contiguous() ||
      weight.scalar_type() != x.scalar_type()) {
    throw runtime::InternalError("normalising {} numbers a row with {} weights of another layout",
                                 x.size(-1), weight.numel());
  }
}

template <typename Function>
void dispatch(at::ScalarType type, Function&& function) {
  if (type == at::kFloat) {
    function(float{});
  } else {
    function(at::BFloat16{});
  }
}

template <typename T>
void rms_norm_rows(const T* x, const T* weight, T* out, float* scales, std::int64_t rows,
                   std::int64_t size, float eps) {
  for (std::int64_t r = 0; r < rows; ++r, x += size, out += size) {
    scales[r] = rms_norm_row(x, weight, out, size, eps);
  }
}

// With h = g weight: dx = scale (h - x scale^2 mean(h x)); dweight += g x scale.
template <typename T>
void rms_norm_rows_backward(const T* gradient, const T* x, const T* weight, const float* scales,
                            T* dx, float* dweight, std::int64_t rows, std::int64_t size) {
  for (std::int64_t r = 0; r < rows; ++r, x += size, gradient += size, dx += size) {
    const float scale = scales[r];
    float dot = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      dot += static_cast<float>(gradient[i]) * static_cast<float>(weight[i]) *
             static_cast<float>(x[i]);
    }
    const float shared = dot * scale * scale / static_cast<float>(size);
    for (std::int64_t i = 0; i < size; ++i) {
      const float h = static_cast<float>(gradient[i]) * static_cast<float>(weight[i]);
      dx[i] = scale * (h - static_cast<float>(x[i]) * shared);
    }
    if (dweight != nullptr) {
      for (std::int64_t i = 0; i < size; ++i) {
        dweight[i] += static_cast<float>(gradient[i]) * static_cast<float>(x[i]) * scale;
      }
    }
  }
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& input, const Tensor& weight,
                        double eps) {
    const Tensor x = input.contiguous();
    require_weight(weight, x);
    const auto size = x.size(-1);
    const auto rows = row_count(x);
    Tensor out = at::empty_like(x);
    Tensor scales = at::empty({rows}, x.options().dtype(at::kFloat));
    dispatch(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      rms_norm_rows(x.data_ptr<T>(), weight.data_ptr<T>(), out.data_ptr<T>(),
                    scales.data_ptr<float>(), rows, size, static_cast<float>(eps));
    });
    context->save_for_backward({x, weight, scales});
    context->saved_data["weight_learns"] = weight.requires_grad();
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& weight = saved[1];
    const Tensor gradient = gradients[0].contiguous();
    const auto size = x.size(-1);
    Tensor dx = at::empty_like(x);
    Tensor dweight;
    if (context->saved_data["weight_learns"].toBool()) {
      dweight = at::zeros({size}, x.options().dtype(at::kFloat));
    }
    dispatch(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      rms_norm_rows_backward(gradient.data_ptr<T>(), x.data_ptr<T>(), weight.data_ptr<T>(),
                             saved[2].data_ptr<float>(), dx.data_ptr<T>(),
                             dweight.defined() ? dweight.data_ptr<float>() : nullptr,
                             row_count(x), size);
    });
    return {dx, dweight.defined() ? dweight.to(weight.scalar_type()) : Tensor(), Tensor()};
  }
};

// moments[row] = {mean, 1 / sqrt(variance + eps)}; out = (x - mean) scale weight + bias.
template <typename T>
void layer_norm_rows(const T* x, const T* weight, const T* bias, T* out, float* moments,
                     std::int64_t rows, std::int64_t size, float eps) {
  const float count = static_cast<float>(size);
  for (std::int64_t r = 0; r < rows; ++r, x += size, out += size) {
    float sum = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      sum += static_cast<float>(x[i]);
    }
    const float mean = sum / count;
    float squares = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const float centred = static_cast<float>(x[i]) - mean;
      squares += centred * centred;
    }
    const float scale = 1.0F / std::sqrt(squares / count + eps);
    moments[2 * r] = mean;
    moments[2 * r + 1] = scale;
    for (std::int64_t i = 0; i < size; ++i) {
      out[i] = (static_cast<float>(x[i]) - mean) * scale * static_cast<float>(weight[i]) +
               static_cast<float>(bias[i]);
    }
  }
}

// With h = g weight and n = (x - mean) scale: dx = scale (h - mean(h) - n mean(h n));
// dweight += g n; dbias += g.
template <typename T>
void layer_norm_rows_backward(const T* gradient, const T* x, const T* weight, const float* moments,
                              T* dx, float* dweight, float* dbias, std::int64_t rows,
                              std::int64_t size) {
  const float count = static_cast<float>(size);
  for (std::int64_t r = 0; r < rows; ++r, x += size, gradient += size, dx += size) {
    const float mean = moments[2 * r];
    const float scale = moments[2 * r + 1];
    float sum = 0;
    float dot = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const float h = static_cast<float>(gradient[i]) * static_cast<float>(weight[i]);
      sum += h;
      dot += h * (static_cast<float>(x[i]) - mean) * scale;
    }
    sum /= count;
    dot /= count;
    for (std::int64_t i = 0; i < size; ++i) {
      const float h = static_cast<float>(gradient[i]) * static_cast<float>(weight[i]);
      dx[i] = scale * (h - sum - (static_cast<float>(x[i]) - mean) * scale * dot);
    }
    if (dweight != nullptr) {
      for (std::int64_t i = 0; i < size; ++i) {
        const auto g = static_cast<float>(gradient[i]);
        dweight[i] += g * (static_cast<float>(x[i]) - mean) * scale;
        dbias[i] += g;
      }
    }
  }
}

class LayerNorm : public torch::autograd::Function<LayerNorm> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& input, const Tensor& weight,
                        const Tensor& bias, double eps) {
    const Tensor x = input.contiguous();
    require_weight(weight, x);
    require_weight(bias, x);
    const auto size = x.size(-1);
    const auto rows = row_count(x);
    Tensor out = at::empty_like(x);
    Tensor moments = at::empty({rows, 2}, x.options().dtype(at::kFloat));
    dispatch(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      layer_norm_rows(x.data_ptr<T>(), weight.data_ptr<T>(), bias.data_ptr<T>(),
                      out.data_ptr<T>(), moments.data_ptr<float>(), rows, size,
                      static_cast<float>(eps));
    });
    context->save_for_backward({x, weight, moments});
    context->saved_data["weight_learns"] = weight.requires_grad() || bias.requires_grad();
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& weight = saved[1];
    const Tensor gradient = gradients[0].contiguous();
    const auto size = x.size(-1);
    Tensor dx = at::empty_like(x);
    Tensor sums;  // of the gradients of weight and bias, [2, hidden]
    if (context->saved_data["weight_learns"].toBool()) {
      sums = at::zeros({2, size}, x.options().dtype(at::kFloat));
    }
    dispatch(x.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      float* learned = sums.defined() ? sums.data_ptr<float>() : nullptr;
      layer_norm_rows_backward(gradient.data_ptr<T>(), x.data_ptr<T>(), weight.data_ptr<T>(),
                               saved[2].data_ptr<float>(), dx.data_ptr<T>(), learned,
                               learned == nullptr ? nullptr : learned + size, row_count(x), size);
    });
    if (!sums.defined()) {
      return {dx, Tensor(), Tensor(), Tensor()};
    }
    const Tensor narrow = sums.to(weight.scalar_type());
    return {dx, narrow[0], narrow[1], Tensor()};
  }
};

// With s = 1 / (1 + e^-gate): dgate = d up s (1 + gate (1 - s)), dup = d gate s.
template <typename T>
[[gnu::always_inline]] inline void swiglu_row_backward(const T* gradient, const T* gate, const T* up,
                                                       T* dgate, T* dup, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float d = gradient[i];
    const float g = gate[i];
    const float s = 1.0F / (1.0F + exp_of(-g));
    dgate[i] = d * static_cast<float>(up[i]) * s * (1.0F + g * (1.0F - s));
    dup[i] = d * g * s;
  }
}

DESTA_FOR_EACH_MACHINE void swiglu_numbers(const float* gate, const float* up, float* out,
                                           std::int64_t count) {
  swiglu_row(gate, up, out, count);
}
DESTA_FOR_EACH_MACHINE void swiglu_numbers(const at::BFloat16* gate, const at::BFloat16* up,
                                           at::BFloat16* out, std::int64_t count) {
  swiglu_row(gate, up, out, count);
}
DESTA_FOR_EACH_MACHINE void swiglu_gradients(const float* gradient, const float* gate,
                                             const float* up, float* dgate, float* dup,
                                             std::int64_t count) {
  swiglu_row_backward(gradient, gate, up, dgate, dup, count);
}
DESTA_FOR_EACH_MACHINE void swiglu_gradients(const at::BFloat16* gradient, const at::BFloat16* gate,
                                             const at::BFloat16* up, at::BFloat16* dgate,
                                             at::BFloat16* dup, std::int64_t count) {
  swiglu_row_backward(gradient, gate, up, dgate, dup, count);
}

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& gate_in, const Tensor& up_in) {
    const Tensor gate = gate_in.contiguous();
    const Tensor up = up_in.contiguous();
    context->save_for_backward({gate, up});
    Tensor out = at::empty_like(gate);
    dispatch(gate.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      swiglu_numbers(gate.data_ptr<T>(), up.data_ptr<T>(), out.data_ptr<T>(), gate.numel());
    });
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor gradient = gradients[0].contiguous();
    Tensor dgate = at::empty_like(saved[0]);
    Tensor dup = at::empty_like(saved[0]);
    dispatch(gradient.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      swiglu_gradients(gradient.data_ptr<T>(), saved[0].data_ptr<T>(), saved[1].data_ptr<T>(),
                       dgate.data_ptr<T>(), dup.data_ptr<T>(), gradient.numel());
    });
    return {dgate, dup};
  }
};

// out = x cos + turn(x) sin with turn(a, b) = (-b, a); direction -1 is the transposed rotation.
template <typename T>
void rotate_rows(const Tensor& x, const Tensor& cos, const Tensor& sin, Tensor& out,
                 float direction) {
  const auto half = x.size(3) / 2;
  const auto table_batch = cos.size(0) == 1 ? 0 : cos.stride(0);
  const T* cos_data = cos.data_ptr<T>();
  const T* sin_data = sin.data_ptr<T>();
  T* to = out.data_ptr<T>();
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    for (std::int64_t h = 0; h < x.size(1); ++h) {
      for (std::int64_t t = 0; t < x.size(2); ++t, to += 2 * half) {
        const T* from =
            x.data_ptr<T>() + b * x.stride(0) + h * x.stride(1) + t * x.stride(2);
        const T* c = cos_data + b * table_batch + t * 2 * half;
        const T* s = sin_data + b * table_batch + t * 2 * half;
        rotate_row(from, c, s, to, half, direction);
      }
    }
  }
}

Tensor rotated(const Tensor& input, const Tensor& cos, const Tensor& sin, float direction) {
  const Tensor x = input.stride(3) == 1 ? input : input.contiguous();
  Tensor out = at::empty(x.sizes(), x.options().memory_format(at::MemoryFormat::Contiguous));
  dispatch(x.scalar_type(), [&](auto tag) {
    rotate_rows<decltype(tag)>(x, cos, sin, out, direction);
  });
  return out;
}

class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, 1.0F);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1], -1.0F), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (has_kernel(x)) {
    return RmsNorm::apply(x, weight, eps);
  }
  const Tensor wide = x.to(at::kFloat);
  const Tensor scale = at::rsqrt(at::mean(wide * wide, {-1}, /*keepdim=*/true) + eps);
  return (wide * scale).to(x.scalar_type()) * weight;
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  return has_kernel(x) ? LayerNorm::apply(x, weight, bias, eps)
                       : at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  return has_kernel(gate) ? SwiGlu::apply(gate, up) : at::silu(gate) * up;
}

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  if (has_kernel(x)) {
    return Rotate::apply(x, cos.contiguous(), sin.contiguous());
  }
  const auto half = x.size(-1) / 2;
  const Tensor turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return x * cos + turned * sin;
}

}  // namespace desta::models
