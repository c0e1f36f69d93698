// Immutable bytes that copies share: how large payloads (audio, features, weights) travel without
// being copied.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace desta::runtime {

class Buffer {
 public:
  Buffer() = default;
  // Bytes that live as long as `owner`.
  Buffer(std::shared_ptr<const void> owner, std::span<const std::byte> bytes)
      : owner_(std::move(owner)), bytes_(bytes) {}

  // Copies the bytes once.
  [[nodiscard]] static Buffer copy_of(std::span<const std::byte> bytes);
  // Takes the values over without a copy. T must be trivially copyable.
  template <typename T>
  [[nodiscard]] static Buffer of(std::vector<T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    auto owner = std::make_shared<const std::vector<T>>(std::move(values));
    const auto bytes = std::as_bytes(std::span(*owner));
    return {std::move(owner), bytes};
  }

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::byte* data() const { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  // The bytes as values; what does not fill a whole T at the end is left out. A received buffer is
  // aligned to 64 bytes.
  template <typename T>
  [[nodiscard]] std::span<const T> as() const {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)};
  }

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
};

// Memory that is filled once and then becomes a Buffer. Large blocks are taken from, and go back to,
// a bounded store of this process: memory that has been touched is several times faster to fill than
// fresh pages.
class BufferBuilder {
 public:
  // `size` bytes, aligned to 64, not initialised. Throws std::bad_alloc.
  explicit BufferBuilder(std::size_t size);

  [[nodiscard]] std::span<std::byte> bytes() { return bytes_; }
  // The builder is empty afterwards.
  [[nodiscard]] Buffer finish() &&;

 private:
  std::shared_ptr<void> block_;
  std::span<std::byte> bytes_;
};

}  // namespace desta::runtime
