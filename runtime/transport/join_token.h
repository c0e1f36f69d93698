// The secret of a job that workers may join: 32 random bytes in a file that only its owner may
// read. A worker and the job prove to each other that they hold it and never send it: each answers
// the other's random number with an HMAC-SHA256 (RFC 2104) under the token.
//
// What follows the proof is neither encrypted nor signed. Who can change the packets of a
// connection can speak on it: let the job listen on loopback, a Unix socket or a trusted network,
// or go through a tunnel.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string_view>

namespace desta::runtime {

class JoinToken {
 public:
  using Mac = std::array<std::byte, 32>;

  // Draws a new token and writes it to `path` (64 hexadecimal digits, mode 0600), where it replaces
  // an old one. Throws ConfigError when `path` is a symbolic link or a folder, InternalError when
  // it cannot be written.
  [[nodiscard]] static JoinToken create(const std::filesystem::path& path);
  // Throws ConfigError when the file is missing, no token, or open to others than its owner.
  [[nodiscard]] static JoinToken read(const std::filesystem::path& path);

  JoinToken(const JoinToken&) = default;
  JoinToken& operator=(const JoinToken&) = default;
  // Wipes the copy.
  ~JoinToken();

  [[nodiscard]] Mac mac(std::string_view text) const;

 private:
  JoinToken() = default;

  std::array<std::byte, 32> secret_{};
};

// Compares in a time that does not depend on the bytes.
[[nodiscard]] bool same_mac(const JoinToken::Mac& a, const JoinToken::Mac& b);

// From the system's generator, for secrets and numbers that are used once. Throws InternalError.
[[nodiscard]] std::array<std::byte, 32> random_bytes();

}  // namespace desta::runtime
