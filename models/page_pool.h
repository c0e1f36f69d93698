// Pages of a KV cache as numbers: which are free, who holds which, and which keep the beginnings of earlier
// prompts, so that a later one that begins alike need not compute it again (Kwon et al. 2023, PagedAttention;
// Zheng et al. 2024, RadixAttention). What a page holds lies elsewhere: paged_kv_cache.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace desta::models {

using PageId = std::int32_t;

// Positions a page: the width of one AVX-512 vector of float32, so that paged_attention() scores a page at once.
inline constexpr std::int64_t kPagePositions = 16;

[[nodiscard]] constexpr std::int64_t pages_for(std::int64_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}

// What stands at a position, as a number: equal keys up to a position mean equal keys and values there.
using PositionKey = std::uint64_t;

class PagePool {
 public:
  explicit PagePool(std::int64_t pages);

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(holders_.size()); }
  // Pages that take() can give: free ones, and those that only keep a beginning.
  [[nodiscard]] std::int64_t available() const { return static_cast<std::int64_t>(free_.size()) + idle_; }

  // A page that nobody holds; it is the caller's until release(). Beginnings that were asked for longest ago
  // make room when none is free. Nothing when all pages are held.
  [[nodiscard]] std::optional<PageId> take();
  void hold(PageId page);
  void release(PageId page);

  // The longest beginning of `keys` that is kept.
  struct Beginning {
    std::vector<PageId> pages;      // whole pages of it
    PageId partial = -1;            // a page whose first `partial_positions` positions come next
    std::int64_t partial_positions = 0;

    [[nodiscard]] std::int64_t positions() const {
      return static_cast<std::int64_t>(pages.size()) * kPagePositions + partial_positions;
    }
  };
  [[nodiscard]] Beginning find(std::span<const PositionKey> keys);

  // Keeps what `pages` hold at the positions of `keys`, whoever releases them, until take() needs the room.
  // The last page may be partly filled: behind `keys` its holder may go on writing.
  void keep(std::span<const PositionKey> keys, std::span<const PageId> pages);

 private:
  // A kept page in the tree of beginnings.
  struct Node {
    std::vector<PositionKey> keys;  // kPagePositions, or fewer in a leaf
    PageId page = -1;               // -1: the root, or not in use
    std::int32_t parent = -1;
    std::int64_t depth = 0;
    std::uint64_t asked = 0;  // when last
    std::vector<std::int32_t> children;
  };

  [[nodiscard]] std::int32_t add_node(std::int32_t parent, std::span<const PositionKey> keys, PageId page);
  void forget(std::int32_t node);  // and all that goes on from it

  std::vector<std::int32_t> holders_;      // of each page, the tree among them
  std::vector<std::int32_t> node_of_page_;  // -1: keeps no beginning
  std::vector<PageId> free_;
  std::int64_t idle_ = 0;  // pages that the tree alone holds
  std::vector<Node> nodes_;
  std::vector<std::int32_t> unused_nodes_;
  std::uint64_t clock_ = 0;
};

}  // namespace desta::models
