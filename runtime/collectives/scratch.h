// Memory of an algorithm that is kept from call to call; it only grows, and is not initialised.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace desta::runtime {

class Scratch {
 public:
  // At least `bytes`, aligned to 64, valid until the next call.
  [[nodiscard]] std::byte* take(std::size_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      size_ = (bytes + 63) / 64 * 64;
      memory_.reset(static_cast<std::byte*>(std::aligned_alloc(64, size_)));
      if (memory_ == nullptr) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return memory_.get();
  }
  // Never gives the memory back: a transport may still use it. It stays in sight, so that nothing
  // takes it for a leak.
  void abandon() {
    static std::mutex mutex;
    static auto* const kept = new std::vector<Memory>;
    const std::lock_guard lock(mutex);
    kept->push_back(std::move(memory_));
    size_ = 0;
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  Memory memory_;
  std::size_t size_ = 0;
};

}  // namespace desta::runtime
