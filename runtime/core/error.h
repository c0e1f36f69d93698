// Typed errors. Each message is one line that names what is wrong (file, line, key, tensor, peer)
// and what the reader can do about it; programs print it and turn its kind into an exit code.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace desta::runtime {

enum class ErrorKind : std::uint8_t {
  kInternal,   // a failure that is nobody's input: a bug, a full disk, an I/O error
  kConfig,     // a setting: file, line, key
  kData,       // a manifest, an audio file, a dataset shard: file, record
  kModel,      // model files: file, tensor
  kTransport,  // another process: peer
};

// Exit codes of every program.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitBadInput = 2;
inline constexpr int kExitRequeue = 75;  // EX_TEMPFAIL of sysexits.h: "try again later"

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorKind kind = ErrorKind::kInternal)
      : std::runtime_error(message), kind_(kind) {}

  template <typename... Args>
  explicit Error(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), kind) {}

  [[nodiscard]] ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// One class per kind, built from a format string: `throw DataError("{}: not a WAV file", path)`.
template <ErrorKind kKind>
class KindError : public Error {
 public:
  template <typename... Args>
  explicit KindError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), kKind) {}
};

using InternalError = KindError<ErrorKind::kInternal>;
using ConfigError = KindError<ErrorKind::kConfig>;
using DataError = KindError<ErrorKind::kData>;
using ModelError = KindError<ErrorKind::kModel>;
using TransportError = KindError<ErrorKind::kTransport>;

// Throws the error class that belongs to `kind`, so that an error keeps its type when it has
// travelled between processes.
[[noreturn]] void throw_error(ErrorKind kind, const std::string& message);

// The exit code of a program that ends with an error of this kind: 2 for bad input, 1 otherwise.
[[nodiscard]] int exit_code(ErrorKind kind);

}  // namespace desta::runtime
