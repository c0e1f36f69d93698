// Where a job listens for workers: "127.0.0.1:7000", "[::1]:7000", "host.example:7000" or
// "unix:/path/to/socket". Port 0 lets the system choose one.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace desta::runtime {

struct JoinAddress {
  std::string host;  // a name or a number, without brackets; empty for a Unix socket
  std::string port;
  std::string path;  // of the Unix socket

  [[nodiscard]] bool is_unix() const { return !path.empty(); }
};

// Throws ConfigError naming the address and the forms that there are.
[[nodiscard]] JoinAddress parse_join_address(std::string_view text);

// "127.0.0.1:7000", "[::1]:7000", "unix:/path" or, for a Unix socket without a name, "unix".
[[nodiscard]] std::string join_address_text(const sockaddr* address, std::size_t size);

}  // namespace desta::runtime
