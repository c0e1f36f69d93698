#include "models/page_pool.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace desta::models {
namespace {

constexpr std::int32_t kRoot = 0;

std::size_t common_length(std::span<const PositionKey> a, std::span<const PositionKey> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

std::size_t index_of(std::int32_t number) { return static_cast<std::size_t>(number); }

}  // namespace

PagePool::PagePool(std::int64_t pages)
    : holders_(static_cast<std::size_t>(pages), 0),
      node_of_page_(static_cast<std::size_t>(pages), -1),
      nodes_(1) {
  for (auto page = static_cast<PageId>(pages); page-- > 0;) {
    free_.push_back(page);
  }
}

std::optional<PageId> PagePool::take() {
  if (free_.empty()) {
    std::int32_t oldest = -1;
    for (std::size_t i = 1; i < nodes_.size(); ++i) {
      const Node& node = nodes_[i];
      if (node.page < 0 || holders_[index_of(node.page)] > 1) {
        continue;
      }
      if (oldest < 0 || node.asked < nodes_[index_of(oldest)].asked ||
          (node.asked == nodes_[index_of(oldest)].asked && node.depth > nodes_[index_of(oldest)].depth)) {
        oldest = static_cast<std::int32_t>(i);
      }
    }
    if (oldest < 0) {
      return std::nullopt;
    }
    forget(oldest);
  }
  const PageId page = free_.back();
  free_.pop_back();
  holders_[index_of(page)] = 1;
  return page;
}

void PagePool::hold(PageId page) {
  if (holders_[index_of(page)]++ == 1 && node_of_page_[index_of(page)] >= 0) {
    --idle_;
  }
}

void PagePool::release(PageId page) {
  std::int32_t& holders = holders_[index_of(page)];
  if (holders <= 0) {
    throw runtime::InternalError("page {} is released by somebody who does not hold it", page);
  }
  if (--holders == 0) {
    free_.push_back(page);
  } else if (holders == 1 && node_of_page_[index_of(page)] >= 0) {
    ++idle_;
  }
}

PagePool::Beginning PagePool::find(std::span<const PositionKey> keys) {
  ++clock_;
  Beginning found;
  std::int32_t at = kRoot;
  while (!keys.empty()) {
    std::size_t longest = 0;
    std::int32_t best = -1;
    for (const auto child : nodes_[index_of(at)].children) {
      const auto length = common_length(nodes_[index_of(child)].keys, keys);
      if (length > longest) {
        longest = length;
        best = child;
      }
    }
    if (best < 0) {
      break;
    }
    nodes_[index_of(best)].asked = clock_;
    if (longest < kPagePositions) {
      found.partial = nodes_[index_of(best)].page;
      found.partial_positions = static_cast<std::int64_t>(longest);
      break;
    }
    found.pages.push_back(nodes_[index_of(best)].page);
    keys = keys.subspan(kPagePositions);
    at = best;
  }
  return found;
}

void PagePool::keep(std::span<const PositionKey> keys, std::span<const PageId> pages) {
  ++clock_;
  std::int32_t at = kRoot;
  for (std::size_t i = 0; !keys.empty(); ++i) {
    const auto own = keys.first(std::min<std::size_t>(keys.size(), kPagePositions));
    std::int32_t next = -1;
    for (const auto child : nodes_[index_of(at)].children) {
      if (common_length(nodes_[index_of(child)].keys, own) == own.size()) {
        next = child;
        break;
      }
    }
    if (next < 0) {
      if (node_of_page_[index_of(pages[i])] >= 0) {
        return;  // it keeps another beginning already
      }
      next = add_node(at, own, pages[i]);
    }
    nodes_[index_of(next)].asked = clock_;
    keys = keys.subspan(own.size());
    at = next;
  }
}

std::int32_t PagePool::add_node(std::int32_t parent, std::span<const PositionKey> keys, PageId page) {
  std::int32_t id = static_cast<std::int32_t>(nodes_.size());
  if (unused_nodes_.empty()) {
    nodes_.emplace_back();
  } else {
    id = unused_nodes_.back();
    unused_nodes_.pop_back();
  }
  nodes_[index_of(id)] = {{keys.begin(), keys.end()}, page, parent, nodes_[index_of(parent)].depth + 1, 0, {}};
  nodes_[index_of(parent)].children.push_back(id);
  node_of_page_[index_of(page)] = id;
  ++holders_[index_of(page)];
  return id;
}

void PagePool::forget(std::int32_t id) {
  std::erase(nodes_[index_of(nodes_[index_of(id)].parent)].children, id);
  std::vector<std::int32_t> leaving = {id};
  while (!leaving.empty()) {
    Node node = std::move(nodes_[index_of(leaving.back())]);
    nodes_[index_of(leaving.back())] = {};
    unused_nodes_.push_back(leaving.back());
    leaving.pop_back();
    leaving.insert(leaving.end(), node.children.begin(), node.children.end());
    node_of_page_[index_of(node.page)] = -1;
    if (holders_[index_of(node.page)] == 1) {
      --idle_;
    }
    release(node.page);
  }
}

}  // namespace desta::models
