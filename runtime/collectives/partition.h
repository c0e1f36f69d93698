// How the elements of a buffer are shared out among the ranks that work on it.
#pragma once

#include <algorithm>
#include <cstddef>

namespace desta::runtime {

// Part i is [begin(i), end(i)); the parts follow each other and are of one size, except the last
// ones.
class Partition {
 public:
  // `count` elements of `width` bytes among the first `parts` ranks, in whole cache lines, so that
  // no two ranks write to one line. Further ranks have empty parts.
  [[nodiscard]] static Partition even(std::size_t count, std::size_t parts, std::size_t width) {
    const std::size_t line = 64 / width;
    const std::size_t each = (count + parts - 1) / parts;
    return {(each + line - 1) / line * line, count};
  }
  // `each` elements a rank.
  [[nodiscard]] static Partition equal(std::size_t each, std::size_t parts) {
    return {each, each * parts};
  }

  [[nodiscard]] std::size_t begin(std::size_t part) const { return std::min(part * each_, count_); }
  [[nodiscard]] std::size_t end(std::size_t part) const { return begin(part + 1); }
  [[nodiscard]] std::size_t size(std::size_t part) const { return end(part) - begin(part); }
  // The size of the largest part.
  [[nodiscard]] std::size_t largest() const { return std::min(each_, count_); }
  [[nodiscard]] std::size_t count() const { return count_; }

 private:
  Partition(std::size_t each, std::size_t count) : each_(each), count_(count) {}
  std::size_t each_;
  std::size_t count_;
};

}  // namespace desta::runtime
