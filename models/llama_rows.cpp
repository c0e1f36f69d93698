#include "models/llama_rows.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "models/fused_rows.h"
#include "models/page_attention.h"
#include "models/row_weight.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;

DESTA_FOR_EACH_MACHINE void normalise(const float* x, const float* weight, float* out, std::int64_t size, float eps) {
  static_cast<void>(rms_norm_row(x, weight, out, size, eps));
}
DESTA_FOR_EACH_MACHINE void normalise(const at::BFloat16* x, const at::BFloat16* weight, at::BFloat16* out,
                                      std::int64_t size, float eps) {
  static_cast<void>(rms_norm_row(x, weight, out, size, eps));
}

DESTA_FOR_EACH_MACHINE void turn(const float* x, const float* cos, const float* sin, float* out, std::int64_t half) {
  rotate_row(x, cos, sin, out, half, 1.0F);
}
DESTA_FOR_EACH_MACHINE void turn(const at::BFloat16* x, const at::BFloat16* cos, const at::BFloat16* sin,
                                 at::BFloat16* out, std::int64_t half) {
  rotate_row(x, cos, sin, out, half, 1.0F);
}

DESTA_FOR_EACH_MACHINE void gate_with(const float* gate, const float* up, float* out, std::int64_t count) {
  swiglu_row(gate, up, out, count);
}
DESTA_FOR_EACH_MACHINE void gate_with(const at::BFloat16* gate, const at::BFloat16* up, at::BFloat16* out,
                                      std::int64_t count) {
  swiglu_row(gate, up, out, count);
}

template <typename T>
[[gnu::always_inline]] inline void add_row(T* sum, const T* more, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    sum[i] = static_cast<float>(sum[i]) + static_cast<float>(more[i]);
  }
}
DESTA_FOR_EACH_MACHINE void add_to(float* sum, const float* more, std::int64_t count) { add_row(sum, more, count); }
DESTA_FOR_EACH_MACHINE void add_to(at::BFloat16* sum, const at::BFloat16* more, std::int64_t count) {
  add_row(sum, more, count);
}

template <typename T>
struct Layer {
  RowWeight<T> query, key, value, output, gate, up, down;
  const T* input_norm;
  const T* post_norm;
};

// What a step works on. Rows of all lie behind one another.
template <typename T>
struct Pass {
  const StepPlan& plan;
  const PlannedRows rows;
  const std::int64_t count;
  Tensor memory;
  T *hidden, *normed, *cos, *sin;  // [rows, hidden] twice, [rows, head_dim] twice
  T *asked, *turned;               // [rows, heads + 2 kv_heads, head_dim]: queries, keys, values; turned, no values
  T *attended, *projected;         // [rows, heads * head_dim], [rows, hidden]
  T *gate, *up, *gated;            // [rows, intermediate]

  Pass(const Tensor& embeddings, const StepPlan& step, const LlamaConfig& config)
      : plan(step), rows(step), count(rows.count()) {
    const auto asking = config.num_heads * config.head_dim;
    const auto all = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim;
    const auto each = 3 * config.hidden_size + 2 * config.head_dim + 2 * all + asking + 3 * config.intermediate_size;
    memory = at::empty({count * each}, embeddings.options());
    T* next = memory.data_ptr<T>();
    const auto take = [&](std::int64_t size) { return std::exchange(next, next + count * size); };
    hidden = take(config.hidden_size);
    normed = take(config.hidden_size);
    projected = take(config.hidden_size);
    cos = take(config.head_dim);
    sin = take(config.head_dim);
    asked = take(all);
    turned = take(all);
    attended = take(asking);
    gate = take(config.intermediate_size);
    up = take(config.intermediate_size);
    gated = take(config.intermediate_size);
    const Tensor first = embeddings.contiguous();
    std::copy_n(first.data_ptr<T>(), count * config.hidden_size, hidden);
  }
};

// Inside a team of threads, as OpenMP's orphaned loops find it: every thread calls these.
template <typename T>
class Rows final : public LlamaRows {
 public:
  Rows(const LlamaConfig& config, std::vector<Layer<T>> layers, const Tensor& norm, std::optional<RowWeight<T>> head,
       const Tensor& inverse_frequencies)
      : config_(config), layers_(std::move(layers)), norm_(norm), head_(head), frequencies_(inverse_frequencies) {}

  Tensor step(const Tensor& embeddings, const StepPlan& plan, PagedKvCache& cache) const override {
    Pass<T> pass(embeddings, plan, config_);
    std::vector<std::int64_t> ends;  // rows whose logits are wanted
    std::int64_t end = 0;
    for (const auto& rows : plan.sequences) {
      end += rows.count;
      if (rows.wants_logits) {
        ends.push_back(end - 1);
      }
    }
    const auto wanted = static_cast<std::int64_t>(ends.size());
    Tensor logits;
    if (head_.has_value()) {
      logits = at::empty({wanted, config_.vocab_size}, embeddings.options().dtype(at::kFloat));
    }
    float* const out = logits.defined() && wanted > 0 ? logits.data_ptr<float>() : nullptr;
#pragma omp parallel if (at::get_num_threads() > 1)
    {
      AttentionScratch scratch(pass.rows.longest, config_.head_dim);
      find_angles(pass);
      for (std::size_t i = 0; i < layers_.size(); ++i) {
        run(layers_[i], pass, cache.memory<T>(static_cast<std::int64_t>(i)), scratch);
      }
      if (out != nullptr) {
        const T* norm = norm_.data_ptr<T>();
#pragma omp for
        for (std::int64_t i = 0; i < wanted; ++i) {
          normalise(pass.hidden + ends[static_cast<std::size_t>(i)] * config_.hidden_size, norm,
                    pass.normed + i * config_.hidden_size, config_.hidden_size, eps());
        }
        multiply(*head_, pass.normed, wanted, out, config_.vocab_size);
      }
    }
    if (logits.defined()) {
      return logits;
    }
    return at::from_blob(pass.hidden, {pass.count, config_.hidden_size}, embeddings.options()).clone();
  }

 private:
  [[nodiscard]] float eps() const { return static_cast<float>(config_.rms_norm_eps); }

  void find_angles(const Pass<T>& pass) const {
    const auto half = config_.head_dim / 2;
    const float* frequency = frequencies_.data_ptr<float>();
#pragma omp for
    for (std::int64_t r = 0; r < pass.count; ++r) {
      T* cos = pass.cos + r * config_.head_dim;
      T* sin = pass.sin + r * config_.head_dim;
      for (std::int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(pass.rows.position[static_cast<std::size_t>(r)]) * frequency[i];
        cos[i] = std::cos(angle);
        sin[i] = std::sin(angle);
      }
    }
  }

  // Does not wait for the others.
  template <typename Out, typename Then>
  static void multiply(const RowWeight<T>& weight, const T* x, std::int64_t rows, Out* out, std::int64_t stride,
                       const Then& then) {
#pragma omp for schedule(dynamic) nowait
    for (std::int64_t i = 0; i < weight.shares(); ++i) {
      weight.multiply(x, rows, i, out, stride);
      then(i, i * weight.share(), std::min((i + 1) * weight.share(), weight.outs));
    }
  }
  template <typename Out>
  static void multiply(const RowWeight<T>& weight, const T* x, std::int64_t rows, Out* out, std::int64_t stride) {
    multiply(weight, x, rows, out, stride, [](std::int64_t, std::int64_t, std::int64_t) {});
  }

  void normalise_rows(const Pass<T>& pass, const T* weight) const {
#pragma omp for
    for (std::int64_t r = 0; r < pass.count; ++r) {
      normalise(pass.hidden + r * config_.hidden_size, weight, pass.normed + r * config_.hidden_size,
                config_.hidden_size, eps());
    }
  }

  // hidden += weight x, and waits.
  void add_product(const RowWeight<T>& weight, const T* x, const Pass<T>& pass) const {
    const auto size = config_.hidden_size;
    multiply(weight, x, pass.count, pass.projected, size, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = 0; r < pass.count; ++r) {
        add_to(pass.hidden + r * size + begin, pass.projected + r * size + begin, end - begin);
      }
    });
#pragma omp barrier
  }

  void run(const Layer<T>& layer, const Pass<T>& pass, const PagedLayer<T>& pages, AttentionScratch& scratch) const {
    const auto head_dim = config_.head_dim;
    const auto heads = config_.num_heads;
    const auto kv_heads = config_.num_kv_heads;
    const auto all = (heads + 2 * kv_heads) * head_dim;
    normalise_rows(pass, layer.input_norm);
    multiply(layer.query, pass.normed, pass.count, pass.asked, all);
    multiply(layer.key, pass.normed, pass.count, pass.asked + heads * head_dim, all);
    multiply(layer.value, pass.normed, pass.count, pass.asked + (heads + kv_heads) * head_dim, all);
#pragma omp barrier
    turn_and_write(pass, pages);
    const auto group = heads / kv_heads;
#pragma omp for schedule(dynamic)
    for (std::int64_t i = 0; i < pass.count * kv_heads; ++i) {
      const auto row = i / kv_heads;
      const auto first = i % kv_heads * group * head_dim;
      attend_row(pages, pass.rows, row, i % kv_heads, group, pass.turned + row * all + first, head_dim,
                 pass.attended + row * heads * head_dim + first, scratch);
    }
    add_product(layer.output, pass.attended, pass);

    normalise_rows(pass, layer.post_norm);
    const auto inner = config_.intermediate_size;
    multiply(layer.gate, pass.normed, pass.count, pass.gate, inner,
             [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
               layer.up.multiply(pass.normed, pass.count, i, pass.up, inner);
               for (std::int64_t r = 0; r < pass.count; ++r) {
                 const auto at = r * inner + begin;
                 gate_with(pass.gate + at, pass.up + at, pass.gated + at, end - begin);
               }
             });
#pragma omp barrier
    add_product(layer.down, pass.gated, pass);
  }

  void turn_and_write(const Pass<T>& pass, const PagedLayer<T>& pages) const {
    const auto head_dim = config_.head_dim;
    const auto heads = config_.num_heads;
    const auto kv_heads = config_.num_kv_heads;
#pragma omp for
    for (std::int64_t r = 0; r < pass.count; ++r) {
      const T* from = pass.asked + r * (heads + 2 * kv_heads) * head_dim;
      T* to = pass.turned + r * (heads + 2 * kv_heads) * head_dim;
      for (std::int64_t h = 0; h < heads + kv_heads; ++h) {
        turn(from + h * head_dim, pass.cos + r * head_dim, pass.sin + r * head_dim, to + h * head_dim, head_dim / 2);
      }
      for (std::int64_t h = 0; h < kv_heads; ++h) {
        pages.write(pass.rows, r, h, to + (heads + h) * head_dim, from + (heads + kv_heads + h) * head_dim);
      }
    }
  }

  LlamaConfig config_;
  std::vector<Layer<T>> layers_;
  Tensor norm_;
  std::optional<RowWeight<T>> head_;
  Tensor frequencies_;
};

// The weight with its fastest kernel, if that goes by rows in memory.
template <typename T>
std::optional<RowWeight<T>> weight_of(const Tensor& weight) {
  const auto kernels = row_kernels(weight);
  if (kernels.empty() || kernels.back() == RowKernel::kAmx || weight.scalar_type() != c10::CppTypeToScalarType<T>()) {
    return std::nullopt;
  }
  return RowWeight<T>::of(weight, kernels.back());
}

template <typename T>
std::shared_ptr<const LlamaRows> make_rows(const LlamaConfig& config, const std::vector<LlamaLayerWeights>& weights,
                                           const Tensor& norm, const Tensor& head, const Tensor& frequencies) {
  bool whole = true;
  const auto find = [&](const Tensor& weight) {
    const auto found = weight_of<T>(weight);
    whole = whole && found.has_value();
    return found.value_or(RowWeight<T>{});
  };
  std::vector<Layer<T>> layers;
  for (const auto& layer : weights) {
    whole = whole && layer.input_norm.scalar_type() == layer.query.scalar_type() &&
            layer.post_norm.scalar_type() == layer.query.scalar_type() && layer.input_norm.is_contiguous() &&
            layer.post_norm.is_contiguous();
    layers.push_back({find(layer.query), find(layer.key), find(layer.value), find(layer.output), find(layer.gate),
                      find(layer.up), find(layer.down), whole ? layer.input_norm.data_ptr<T>() : nullptr,
                      whole ? layer.post_norm.data_ptr<T>() : nullptr});
  }
  std::optional<RowWeight<T>> last;
  if (head.defined()) {
    last = find(head);
    whole = whole && norm.scalar_type() == head.scalar_type() && norm.is_contiguous();
  }
  return whole ? std::make_shared<const Rows<T>>(config, std::move(layers), norm, last, frequencies) : nullptr;
}

}  // namespace

std::shared_ptr<const LlamaRows> LlamaRows::make(const LlamaConfig& config,
                                                 const std::vector<LlamaLayerWeights>& layers, const Tensor& norm,
                                                 const Tensor& head, const Tensor& inverse_frequencies) {
  const Tensor& any = head.defined() || layers.empty() ? head : layers.front().query;
  if (!any.defined() || !any.device().is_cpu()) {
    return nullptr;
  }
  return any.scalar_type() == at::kFloat ? make_rows<float>(config, layers, norm, head, inverse_frequencies)
                                         : make_rows<at::BFloat16>(config, layers, norm, head, inverse_frequencies);
}

}  // namespace desta::models
