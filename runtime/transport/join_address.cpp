#include "runtime/transport/join_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

constexpr std::string_view kUnix = "unix:";

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return !text.empty() && error == std::errc() && end == text.data() + text.size();
}

}  // namespace

JoinAddress parse_join_address(std::string_view text) {
  JoinAddress address;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    if (address.path.empty() || address.path.size() >= sizeof(sockaddr_un::sun_path) ||
        address.path.find('\0') != std::string::npos) {
      throw ConfigError("address '{}': the path of a Unix socket has 1 to {} bytes", text,
                        sizeof(sockaddr_un::sun_path) - 1);
    }
    return address;
  }
  const std::size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon == std::string_view::npos ? 0 : colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty() || (!bracketed && host.find_first_of(":[]") != std::string_view::npos) ||
      !is_port(text.substr(colon + 1))) {
    throw ConfigError(
        "address '{}': it should look like 127.0.0.1:7000, [::1]:7000, host:7000 or "
        "unix:/path/to/socket",
        text);
  }
  address.host = host;
  address.port = text.substr(colon + 1);
  return address;
}

std::string join_address_text(const sockaddr* address, std::size_t size) {
  std::array<char, INET6_ADDRSTRLEN> number{};
  if (address->sa_family == AF_INET && size >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof(in));
    ::inet_ntop(AF_INET, &in.sin_addr, number.data(), number.size());
    return fmt::format("{}:{}", number.data(), ntohs(in.sin_port));
  }
  if (address->sa_family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof(in));
    ::inet_ntop(AF_INET6, &in.sin6_addr, number.data(), number.size());
    return fmt::format("[{}]:{}", number.data(), ntohs(in.sin6_port));
  }
  if (address->sa_family == AF_UNIX && size > offsetof(sockaddr_un, sun_path)) {
    const char* path = reinterpret_cast<const char*>(address) + offsetof(sockaddr_un, sun_path);
    const std::size_t length = ::strnlen(path, size - offsetof(sockaddr_un, sun_path));
    return fmt::format("unix:{}", std::string_view(path, length));
  }
  return "unix";
}

}  // namespace desta::runtime
