// A client that sends just the bytes it is given, and so can be as wrong or as slow as a test
// needs.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace desta::runtime::testing {

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in small letters
  std::string body;
};

class RawClient {
 public:
  // `address`: "127.0.0.1:port".
  explicit RawClient(const std::string& address) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port =
        htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
      ::close(socket_);
      throw std::runtime_error("cannot connect to " + address);
    }
  }
  ~RawClient() { ::close(socket_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False when the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // One answer; nothing when the server closes, or says nothing for `milliseconds`.
  std::optional<HttpAnswer> receive(bool head = false, int milliseconds = 20'000) {
    std::size_t end = std::string::npos;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!more(milliseconds)) {
        return std::nullopt;
      }
    }
    HttpAnswer answer;
    answer.status = std::stoi(received_.substr(received_.find(' ') + 1));
    std::size_t line = received_.find("\r\n") + 2;
    while (line < end + 2) {
      const std::size_t next = received_.find("\r\n", line);
      const std::size_t colon = received_.find(':', line);
      std::string name = received_.substr(line, colon - line);
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      answer.headers[name] = received_.substr(colon + 2, next - colon - 2);
      line = next + 2;
    }
    received_.erase(0, end + 4);
    const std::size_t size = head ? 0 : std::stoul(answer.headers.at("content-length"));
    while (received_.size() < size) {
      if (!more(milliseconds)) {
        return std::nullopt;
      }
    }
    answer.body = received_.substr(0, size);
    received_.erase(0, size);
    return answer;
  }

  // Whether the server closes within `milliseconds`, with nothing more to say.
  bool is_closed(int milliseconds = 20'000) { return !more(milliseconds) && closed_; }

 private:
  bool more(int milliseconds) {
    pollfd waiting{.fd = socket_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, milliseconds) <= 0) {
      return false;
    }
    char bytes[4096];
    const ssize_t got = ::recv(socket_, bytes, sizeof(bytes), 0);
    if (got <= 0) {
      closed_ = true;
      return false;
    }
    received_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  const int socket_;
  std::string received_;
  bool closed_ = false;
};

}  // namespace desta::runtime::testing
