// Memory that a communicator has allocated: Communicator::allocate() says what it is good for.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace desta::runtime {

// Owns the memory; movable. An empty one has no bytes.
class SharedBuffer {
 public:
  SharedBuffer() = default;
  // Bytes that live as long as `owner`.
  SharedBuffer(std::shared_ptr<void> owner, std::span<std::byte> bytes)
      : owner_(std::move(owner)), bytes_(bytes) {}
  SharedBuffer(SharedBuffer&& other) noexcept
      : owner_(std::move(other.owner_)), bytes_(std::exchange(other.bytes_, {})) {}
  SharedBuffer& operator=(SharedBuffer&& other) noexcept {
    owner_ = std::move(other.owner_);
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  [[nodiscard]] std::byte* data() const { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  // The bytes as values; what does not fill a whole T at the end is left out.
  template <typename T>
  [[nodiscard]] std::span<T> as() const {
    return {reinterpret_cast<T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  std::shared_ptr<void> owner_;
  std::span<std::byte> bytes_;
};

}  // namespace desta::runtime
