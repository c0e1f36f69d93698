// Memory of an algorithm that is kept from call to call; it only grows, and is not initialised.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

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
  // Never gives the memory back: a transport may still use it.
  void abandon() {
    (void)memory_.release();
    size_ = 0;
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
};

}  // namespace desta::runtime
