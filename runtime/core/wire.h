// Values as bytes: the form in which calls, results and small state travel between processes of one
// job. Built on cereal; all processes run one build on machines of one byte order.
//
// A struct becomes packable by a member
//   template <class Archive> void serialize(Archive& archive) { archive(a, b); }
// A Buffer inside a value is not copied into the bytes: it travels beside them.
#pragma once

#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/core/buffer.h"
#include "runtime/core/error.h"

namespace desta::runtime {

class ActorSystem;

// A cereal archive that appends to memory.
class WireWriter : public cereal::OutputArchive<WireWriter, cereal::AllowEmptyClassElision> {
 public:
  WireWriter() : OutputArchive(this) {}

  void append(const void* data, std::size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
  }
  void attach(const Buffer& buffer) { buffers_.push_back(buffer); }
  // Notes a shared object whose reference is in the value (see ObjectRef).
  void note_object(std::uint64_t id) { objects_.push_back(id); }

  [[nodiscard]] std::string& bytes() { return bytes_; }
  [[nodiscard]] std::vector<Buffer>& buffers() { return buffers_; }
  [[nodiscard]] std::vector<std::uint64_t>& objects() { return objects_; }

 private:
  std::string bytes_;
  std::vector<Buffer> buffers_;
  std::vector<std::uint64_t> objects_;
};

// A cereal archive that reads from memory.
class WireReader : public cereal::InputArchive<WireReader, cereal::AllowEmptyClassElision> {
 public:
  // `system` is what references to actors and objects inside the value will belong to.
  explicit WireReader(std::string_view bytes, std::span<const Buffer> buffers = {},
                      ActorSystem* system = nullptr)
      : InputArchive(this), rest_(bytes), buffers_(buffers), system_(system) {}

  void take(void* data, std::size_t size) {
    check(size);
    if (size == 0) {
      return;  // `data` may be null
    }
    std::memcpy(data, rest_.data(), size);
    rest_.remove_prefix(size);
  }
  // Throws TransportError when fewer bytes are left.
  void check(std::size_t size) const {
    if (size > rest_.size()) {
      throw TransportError("{} bytes are missing", size - rest_.size());
    }
  }
  // Throws TransportError when there cannot be so many elements: each takes a byte at least, or a
  // buffer. Nothing is allocated on a lie.
  void check_count(std::size_t count) const {
    if (count > rest_.size() + buffers_.size()) {
      throw TransportError("{} elements are missing", count - rest_.size() - buffers_.size());
    }
  }
  [[nodiscard]] const Buffer& next_buffer() {
    if (buffers_.empty()) {
      throw TransportError("a buffer is missing");
    }
    const Buffer& buffer = buffers_.front();
    buffers_ = buffers_.subspan(1);
    return buffer;
  }
  [[nodiscard]] bool at_end() const { return rest_.empty() && buffers_.empty(); }
  [[nodiscard]] std::string_view rest() const { return rest_; }
  [[nodiscard]] ActorSystem* system() const { return system_; }

 private:
  std::string_view rest_;
  std::span<const Buffer> buffers_;
  ActorSystem* system_;
};

template <typename T>
requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& archive, const T& value) {
  archive.append(&value, sizeof(value));
}
template <typename T>
requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& archive, T& value) {
  archive.take(&value, sizeof(value));
}
template <typename T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& archive, const cereal::BinaryData<T>& data) {
  archive.append(data.data, static_cast<std::size_t>(data.size));
}
template <typename T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& archive, cereal::BinaryData<T>& data) {
  archive.take(data.data, static_cast<std::size_t>(data.size));
}
template <typename T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& archive, const cereal::SizeTag<T>& tag) {
  archive(static_cast<std::uint64_t>(tag.size));
}
template <typename T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& archive, cereal::SizeTag<T>& tag) {
  std::uint64_t size = 0;
  archive(size);
  archive.check_count(size);
  tag.size = static_cast<cereal::size_type>(size);
}
template <typename T>
void CEREAL_SAVE_FUNCTION_NAME(WireWriter& archive, const cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
template <typename T>
void CEREAL_LOAD_FUNCTION_NAME(WireReader& archive, cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
inline void CEREAL_SAVE_FUNCTION_NAME(WireWriter& archive, const Buffer& buffer) {
  archive.attach(buffer);
}
inline void CEREAL_LOAD_FUNCTION_NAME(WireReader& archive, Buffer& buffer) {
  buffer = archive.next_buffer();
}

// The bytes of values that hold no Buffer.
template <typename... Values>
[[nodiscard]] std::string pack(const Values&... values) {
  WireWriter archive;
  archive(values...);
  if (!archive.buffers().empty()) {
    throw InternalError("pack() cannot carry a Buffer");
  }
  return std::move(archive.bytes());
}

// Reads a value that fills the archive to its end. Throws TransportError when the bytes are too
// short, too long or no T.
template <typename T>
void unpack_into(WireReader& archive, T& value) {
  const std::size_t size = archive.rest().size();
  try {
    archive(value);
  } catch (const std::exception& error) {
    throw TransportError("a message of {} bytes cannot be read: {}; do all nodes run one build?",
                         size, error.what());
  }
  if (!archive.at_end()) {
    throw TransportError(
        "a message of {} bytes is longer than its type; do all nodes run one build?", size);
  }
}

// The inverse of pack(); errors as above.
template <typename T>
[[nodiscard]] T unpack(std::string_view bytes) {
  T value{};
  WireReader archive(bytes);
  unpack_into(archive, value);
  return value;
}

}  // namespace desta::runtime

CEREAL_REGISTER_ARCHIVE(desta::runtime::WireWriter)
CEREAL_REGISTER_ARCHIVE(desta::runtime::WireReader)
CEREAL_SETUP_ARCHIVE_TRAITS(desta::runtime::WireReader, desta::runtime::WireWriter)
