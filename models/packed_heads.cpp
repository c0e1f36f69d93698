#include "models/packed_heads.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/tile_product.h"
#include "models/vector_math.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

// Queries that go together, and see no further than the last of them. Of 24, 48 and 96 the fastest with the
// quickstart's sequences of 60 to 140.
constexpr std::int64_t kBlock = 24;
constexpr std::int64_t kLanes = 16;

std::int64_t whole_lanes(std::int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Row r of scores belongs to the query that sees `seen + r` keys: scores, times `scale`, become weights, and
// zeros as far as `columns`.
DESTA_FOR_EACH_MACHINE void softmax_rows(float* scores, std::int64_t apart, std::int64_t rows, std::int64_t seen,
                                         std::int64_t columns, float scale) {
  for (std::int64_t r = 0; r < rows; ++r, ++seen, scores += apart) {
    const float largest = largest_of(scores, seen);
    float sum = 0;
    for (std::int64_t i = 0; i < seen; ++i) {
      scores[i] = exp_of((scores[i] - largest) * scale);
      sum += scores[i];
    }
    const float share = 1.0F / sum;
    for (std::int64_t i = 0; i < seen; ++i) {
      scores[i] *= share;
    }
    std::fill(scores + seen, scores + columns, 0.0F);
  }
}

// In: gradients of the weights; out: of the scores before scaling.
DESTA_FOR_EACH_MACHINE void softmax_rows_backward(const float* weights, float* gradients, std::int64_t apart,
                                                  std::int64_t rows, std::int64_t columns, float scale) {
  for (std::int64_t r = 0; r < rows; ++r, weights += apart, gradients += apart) {
    float dot = 0;
    for (std::int64_t i = 0; i < columns; ++i) {
      dot += weights[i] * gradients[i];
    }
    for (std::int64_t i = 0; i < columns; ++i) {
      gradients[i] = weights[i] * (gradients[i] - dot) * scale;
    }
  }
}

// All keys of a sequence (or values), the shared ones first.
class Keys {
 public:
  Keys(const float* shared, std::int64_t shared_count, const float* own, std::int64_t own_count, std::int64_t head_dim)
      : head_dim_(head_dim), apart_(whole_lanes(shared_count + own_count)) {
    rows_.reserve(static_cast<std::size_t>((shared_count + own_count) * head_dim));
    rows_.insert(rows_.end(), shared, shared + shared_count * head_dim);
    rows_.insert(rows_.end(), own, own + own_count * head_dim);
  }
  // [keys, head_dim].
  [[nodiscard]] const float* rows() const { return rows_.data(); }
  // [head_dim, apart()], columns behind the last key are zero.
  [[nodiscard]] const float* columns() {
    if (columns_.empty()) {
      columns_.resize(static_cast<std::size_t>(head_dim_ * apart_));
      const auto keys = static_cast<std::int64_t>(rows_.size()) / head_dim_;
      for (std::int64_t key = 0; key < keys; ++key) {
        for (std::int64_t i = 0; i < head_dim_; ++i) {
          columns_[static_cast<std::size_t>(i * apart_ + key)] = rows_[static_cast<std::size_t>(key * head_dim_ + i)];
        }
      }
    }
    return columns_.data();
  }
  [[nodiscard]] std::int64_t apart() const { return apart_; }

 private:
  std::int64_t head_dim_;
  std::int64_t apart_;
  std::vector<float> rows_;
  std::vector<float> columns_;
};

// A block of queries of one head.
struct Block {
  std::int64_t at;       // its first number in q
  std::int64_t rows;
  std::int64_t seen;     // keys that its last query sees
  std::int64_t columns;  // these, in whole registers
};

template <typename Function>
void for_each_block(const SequenceHeads& heads, const Function& function) {
  for (std::int64_t head = 0; head < heads.queries; ++head) {
    for (std::int64_t begin = 0; begin < heads.length; begin += kBlock) {
      const auto rows = std::min(kBlock, heads.length - begin);
      const auto seen = heads.shared + begin + rows;
      function(Block{head * heads.q_head + begin * heads.head_dim, rows, seen, whole_lanes(seen)});
    }
  }
}

float scale_of(const SequenceHeads& heads) { return 1.0F / std::sqrt(static_cast<float>(heads.head_dim)); }

// weights: [block.rows, keys.apart()].
void weights_of(const SequenceHeads& heads, const Block& block, Keys& keys, float* weights) {
  tile_product({heads.q + block.at, heads.head_dim, 1}, keys.columns(), keys.apart(), weights, keys.apart(),
               block.rows, heads.head_dim, block.columns, false);
  softmax_rows(weights, keys.apart(), block.rows, block.seen - block.rows + 1, block.columns, scale_of(heads));
}

}  // namespace

void attend_sequence(const SequenceHeads& heads, float* out) {
  const auto size = heads.head_dim;
  Keys keys(heads.shared_k, heads.shared, heads.k, heads.length, size);
  const Keys values(heads.shared_v, heads.shared, heads.v, heads.length, size);
  std::vector<float> weights(static_cast<std::size_t>(kBlock * keys.apart()));
  for_each_block(heads, [&](const Block& block) {
    weights_of(heads, block, keys, weights.data());
    tile_product({weights.data(), keys.apart(), 1}, values.rows(), size, out + block.at, size, block.rows, block.seen,
                 size, false);
  });
}

void attend_sequence_backward(const SequenceHeads& heads, const float* gradient, float* dq, float* dk, float* dv) {
  const auto size = heads.head_dim;
  Keys keys(heads.shared_k, heads.shared, heads.k, heads.length, size);
  Keys values(heads.shared_v, heads.shared, heads.v, heads.length, size);
  const auto apart = keys.apart();
  std::vector<float> weights(static_cast<std::size_t>(kBlock * apart));
  std::vector<float> scores(weights.size());
  std::fill(dk, dk + heads.length * size, 0.0F);
  std::fill(dv, dv + heads.length * size, 0.0F);
  for_each_block(heads, [&](const Block& block) {
    const auto own = block.seen - heads.shared;
    weights_of(heads, block, keys, weights.data());
    tile_product({weights.data() + heads.shared, 1, apart}, gradient + block.at, size, dv, size, own, block.rows, size,
                 true);
    tile_product({gradient + block.at, size, 1}, values.columns(), apart, scores.data(), apart, block.rows, size,
                 block.columns, false);
    softmax_rows_backward(weights.data(), scores.data(), apart, block.rows, block.columns, scale_of(heads));
    tile_product({scores.data(), apart, 1}, keys.rows(), size, dq + block.at, size, block.rows, block.seen, size,
                 false);
    tile_product({scores.data() + heads.shared, 1, apart}, heads.q + block.at, size, dk, size, own, block.rows, size,
                 true);
  });
}

}  // namespace desta::models
