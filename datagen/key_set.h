// A set of 64-bit keys that are hashes themselves (row keys): a table of eight bytes a place, three
// quarters full at most, where a set of nodes would take forty bytes a key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace desta::datagen {

class KeySet {
 public:
  // False when it was there.
  bool insert(std::uint64_t key) {
    if (key == kEmpty) {
      return !std::exchange(has_empty_key_, true);
    }
    if (4 * (used_ + 1) > 3 * places_.size()) {
      grow();
    }
    std::uint64_t& place = places_[find(key)];
    const bool is_new = place == kEmpty;
    used_ += is_new ? 1 : 0;
    place = key;
    return is_new;
  }
  [[nodiscard]] bool contains(std::uint64_t key) const {
    return key == kEmpty ? has_empty_key_ : !places_.empty() && places_[find(key)] == key;
  }
  [[nodiscard]] std::size_t size() const { return used_ + (has_empty_key_ ? 1 : 0); }

 private:
  static constexpr std::uint64_t kEmpty = 0;

  // Where the key is, or where it would go.
  [[nodiscard]] std::size_t find(std::uint64_t key) const {
    const std::size_t mask = places_.size() - 1;
    std::size_t at = key & mask;
    while (places_[at] != kEmpty && places_[at] != key) {
      at = (at + 1) & mask;
    }
    return at;
  }
  void grow() {
    const std::vector<std::uint64_t> old =
        std::exchange(places_, std::vector<std::uint64_t>(places_.empty() ? 1024 : 2 * places_.size()));
    for (const std::uint64_t key : old) {
      if (key != kEmpty) {
        places_[find(key)] = key;
      }
    }
  }

  std::vector<std::uint64_t> places_;
  std::size_t used_ = 0;
  bool has_empty_key_ = false;
};

}  // namespace desta::datagen
