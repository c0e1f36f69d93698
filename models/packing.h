// Sequences of different lengths laid end to end in one tensor [total, ...], so that nothing is padded.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace desta::models {

class Packing {
 public:
  Packing() = default;
  explicit Packing(std::vector<std::int64_t> lengths) : lengths_(std::move(lengths)) {}
  // `count` sequences of one length.
  [[nodiscard]] static Packing even(std::int64_t count, std::int64_t length) {
    return Packing(std::vector<std::int64_t>(static_cast<std::size_t>(count), length));
  }

  [[nodiscard]] const std::vector<std::int64_t>& lengths() const { return lengths_; }
  [[nodiscard]] std::int64_t total() const {
    return std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0});
  }

 private:
  std::vector<std::int64_t> lengths_;
};

}  // namespace desta::models
