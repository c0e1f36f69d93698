#include "models/packed_attention.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>

#include "models/packed_heads.h"
#include "runtime/core/error.h"

namespace desta::models {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Gradients {
  Tensor q, k, v;
};

// On a CPU products of one sequence are small: in float32 they are as fast as in half types, and exact to
// float32.
bool has_kernels(const Tensor& q) {
  return q.device().is_cpu() && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16);
}

Tensor in_float(const Tensor& x) { return x.to(at::kFloat).contiguous(); }

// The heads of each sequence that read one head of keys, for attend_sequence(). q, k, v: [1, heads, total, head_dim].
class Sequences {
 public:
  Sequences(const Tensor& q, const Tensor& k, const Tensor& v, std::vector<std::int64_t> lengths,
            const SharedKeys& shared)
      : q_(in_float(q)), k_(in_float(k)), v_(in_float(v)), lengths_(std::move(lengths)), shared_(shared.length()) {
    if (shared_ > 0) {
      shared_k_ = in_float(shared.keys);
      shared_v_ = in_float(shared.values);
    }
    std::int64_t begin = 0;
    for (const auto length : lengths_) {
      begins_.push_back(begin);
      begin += length;
    }
  }

  [[nodiscard]] const Tensor& q() const { return q_; }
  [[nodiscard]] const Tensor& k() const { return k_; }

  // function(heads, where its rows begin in q, in k).
  template <typename Function>
  void for_each(const Function& function) const {
    const auto kv_heads = k_.size(1);
    const auto total = q_.size(2);
    const auto size = q_.size(3);
    const auto group = q_.size(1) / kv_heads;
    at::parallel_for(0, static_cast<std::int64_t>(lengths_.size()) * kv_heads, 1, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t i = from; i < to; ++i) {
        const auto sequence = static_cast<std::size_t>(i / kv_heads);
        const auto head = i % kv_heads;
        const auto in_q = (head * group * total + begins_[sequence]) * size;
        const auto in_k = (head * total + begins_[sequence]) * size;
        const auto in_shared = head * shared_ * size;
        const SequenceHeads heads{.queries = group,
                                  .length = lengths_[sequence],
                                  .shared = shared_,
                                  .head_dim = size,
                                  .q = q_.data_ptr<float>() + in_q,
                                  .q_head = total * size,
                                  .k = k_.data_ptr<float>() + in_k,
                                  .v = v_.data_ptr<float>() + in_k,
                                  .shared_k = shared_ > 0 ? shared_k_.data_ptr<float>() + in_shared : nullptr,
                                  .shared_v = shared_ > 0 ? shared_v_.data_ptr<float>() + in_shared : nullptr};
        function(heads, in_q, in_k);
      }
    });
  }

 private:
  Tensor q_, k_, v_, shared_k_, shared_v_;
  std::vector<std::int64_t> lengths_, begins_;
  std::int64_t shared_;
};

Tensor attend(const Sequences& sequences) {
  Tensor out = at::empty_like(sequences.q());
  float* const to = out.data_ptr<float>();
  sequences.for_each([&](const SequenceHeads& heads, std::int64_t in_q, std::int64_t /*in_k*/) {
    attend_sequence(heads, to + in_q);
  });
  return out;
}

Gradients attend_backward(const Sequences& sequences, const Tensor& gradient) {
  Gradients d{at::empty_like(sequences.q()), at::empty_like(sequences.k()), at::empty_like(sequences.k())};
  const float* const of_out = gradient.data_ptr<float>();
  float* const dq = d.q.data_ptr<float>();
  float* const dk = d.k.data_ptr<float>();
  float* const dv = d.v.data_ptr<float>();
  sequences.for_each([&](const SequenceHeads& heads, std::int64_t in_q, std::int64_t in_k) {
    attend_sequence_backward(heads, of_out + in_q, dq + in_q, dk + in_k, dv + in_k);
  });
  return d;
}

// The same of LibTorch's operations, for other devices and types. One sequence of all heads: the queries of one group
// read the same keys, so they are rows of one product, [kv_heads, group * length, head_dim].
class Composed {
 public:
  Composed(const Tensor& q, const Tensor& k, const SharedKeys& shared, std::int64_t begin, std::int64_t length)
      : begin_(begin), length_(length), kv_heads_(k.size(1)), queries_(rows(q)), keys_(all(k, shared.keys)) {
    const Tensor scores = at::bmm(queries_, keys_.transpose(1, 2));
    const auto keys = keys_.size(1);
    const Tensor hidden =
        at::ones({length, keys}, scores.options().dtype(at::kBool)).triu_(keys - length + 1);
    const auto wide = at::promote_types(scores.scalar_type(), at::kFloat);
    const Tensor masked = (scores.view({-1, length, keys}).to(wide) * scale())
                              .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
    weights_ = at::softmax(masked, -1).to(scores.scalar_type()).view_as(scores);
  }

  [[nodiscard]] Tensor attend(const Tensor& v, const Tensor& shared) const {
    return by_head(at::bmm(weights_, all(v, shared)));
  }

  // Into what belongs to this sequence.
  void backward(const Tensor& v, const Tensor& shared, const Tensor& gradient, Gradients& d) const {
    const Tensor out = rows(gradient);
    const auto seen_by_all = keys_.size(1) - length_;
    d.v[0].narrow(1, begin_, length_).copy_(at::bmm(weights_.transpose(1, 2), out).narrow(1, seen_by_all, length_));
    const auto wide = at::promote_types(weights_.scalar_type(), at::kFloat);
    const Tensor weights = weights_.to(wide);
    const Tensor product = weights * at::bmm(out, all(v, shared).transpose(1, 2));
    const Tensor scores =
        ((product - weights * product.sum(-1, true)) * scale()).to(weights_.scalar_type());
    d.q[0].narrow(1, begin_, length_).copy_(by_head(at::bmm(scores, keys_)));
    d.k[0].narrow(1, begin_, length_)
        .copy_(at::bmm(scores.transpose(1, 2), queries_).narrow(1, seen_by_all, length_));
  }

 private:
  [[nodiscard]] Tensor rows(const Tensor& packed) const {
    return packed[0].narrow(1, begin_, length_).reshape({kv_heads_, -1, packed.size(3)});
  }
  [[nodiscard]] Tensor all(const Tensor& packed, const Tensor& shared) const {
    const Tensor own = packed[0].narrow(1, begin_, length_);
    return shared.defined() ? at::cat({shared, own}, 1) : own;
  }
  [[nodiscard]] Tensor by_head(const Tensor& x) const { return x.view({-1, length_, x.size(2)}); }
  [[nodiscard]] double scale() const { return 1.0 / std::sqrt(static_cast<double>(queries_.size(2))); }

  std::int64_t begin_, length_, kv_heads_;
  Tensor queries_, keys_, weights_;
};

template <typename Function>
void for_each_composed(const Tensor& q, const Tensor& k, const std::vector<std::int64_t>& lengths,
                       const SharedKeys& shared, const Function& function) {
  std::int64_t begin = 0;
  for (const auto length : lengths) {
    if (length > 0) {
      function(Composed(q, k, shared, begin, length), begin, length);
    }
    begin += length;
  }
}

class PackedAttention : public torch::autograd::Function<PackedAttention> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<std::int64_t>& lengths, const SharedKeys* shared) {
    context->save_for_backward({q, k, v, shared->keys, shared->values});
    context->saved_data["lengths"] = lengths;
    Tensor out;  // [1, heads, total, head_dim]
    if (has_kernels(q)) {
      out = attend(Sequences(q, k, v, lengths, *shared));
    } else {
      out = at::empty(q.sizes(), q.options().memory_format(at::MemoryFormat::Contiguous));
      for_each_composed(q, k, lengths, *shared, [&](const Composed& one, std::int64_t begin, std::int64_t length) {
        out[0].narrow(1, begin, length).copy_(one.attend(v, shared->values));
      });
    }
    return out.to(q.scalar_type()).transpose(1, 2).reshape({1, q.size(2), q.size(1) * q.size(3)});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& q = saved[0];
    const Tensor& k = saved[1];
    const Tensor& v = saved[2];
    const SharedKeys shared{saved[3], saved[4]};
    const auto lengths = context->saved_data["lengths"].toIntVector();
    const Tensor gradient = gradients[0].view({1, q.size(2), q.size(1), q.size(3)}).transpose(1, 2);
    Gradients d;
    if (has_kernels(q)) {
      d = attend_backward(Sequences(q, k, v, lengths, shared), in_float(gradient));
    } else {
      const auto contiguous = at::MemoryFormat::Contiguous;
      d = {at::empty(q.sizes(), q.options().memory_format(contiguous)),
           at::empty(k.sizes(), k.options().memory_format(contiguous)),
           at::empty(v.sizes(), v.options().memory_format(contiguous))};
      for_each_composed(q, k, lengths, shared, [&](const Composed& one, std::int64_t, std::int64_t) {
        one.backward(v, shared.values, gradient, d);
      });
    }
    const auto type = q.scalar_type();
    return {d.q.to(type), d.k.to(type), d.v.to(type), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Packing& packing,
                        const SharedKeys& shared) {
  if (packing.total() != q.size(2)) {
    throw runtime::InternalError("{} positions packed into sequences of {} in all", q.size(2),
                                 packing.total());
  }
  return PackedAttention::apply(q, k, v, packing.lengths(), &shared);
}

}  // namespace desta::models
