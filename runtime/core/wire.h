// Values as bytes: the form in which calls, results and small state travel between processes of
// one job (cereal's binary archive: same program and byte order on every node).
#pragma once

#include <cereal/archives/binary.hpp>
#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/vector.hpp>
#include <exception>
#include <sstream>
#include <string>

#include "runtime/core/error.h"

namespace desta::runtime {

// A struct becomes packable by a member `template <class Archive> void serialize(Archive& archive)
// { archive(a, b); }`.
template <typename... Values>
[[nodiscard]] std::string pack(const Values&... values) {
  std::ostringstream out(std::ios::binary);
  if constexpr (sizeof...(values) > 0) {
    cereal::BinaryOutputArchive archive(out);
    archive(values...);
  }
  return std::move(out).str();
}

// The inverse. Throws TransportError when the bytes are too short, too long or no T.
template <typename T>
[[nodiscard]] T unpack(const std::string& bytes) {
  T value{};
  std::istringstream in(bytes, std::ios::binary);
  try {
    cereal::BinaryInputArchive archive(in);
    archive(value);
  } catch (const std::exception& error) {
    throw TransportError("a message of {} bytes cannot be read: {}; do all nodes run one build?",
                         bytes.size(), error.what());
  }
  if (in.peek() != std::istringstream::traits_type::eof()) {
    throw TransportError(
        "a message of {} bytes is longer than its type; do all nodes run one build?", bytes.size());
  }
  return value;
}

}  // namespace desta::runtime
