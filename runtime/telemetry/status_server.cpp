#include "runtime/telemetry/status_server.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/telemetry/status_content.h"

namespace desta::runtime {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::uint32_t kHeaderLimit = 8 * 1024;
constexpr std::uint64_t kBodyLimit = 1024;
constexpr std::chrono::milliseconds kAcceptPause{100};

// Scripts and styles from here alone, no frames, no forms; images are the page's own icon.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

beast::string_view view(std::string_view text) { return {text.data(), text.size()}; }

// A child process must not keep the port or a connection open.
void close_on_exec(int descriptor) { ::fcntl(descriptor, F_SETFD, FD_CLOEXEC); }

tcp::endpoint resolve(asio::io_context& context, const std::string& address) {
  const std::size_t colon = address.rfind(':');
  std::string host = colon == std::string::npos ? "" : address.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  const bool is_number = !port.empty() && port.size() <= 5 &&
                         port.find_first_not_of("0123456789") == std::string::npos;
  if (host.empty() || !is_number || std::stoi(port) > 65535) {
    throw ConfigError("status page: '{}' is not host:port, like 127.0.0.1:8265", address);
  }
  error_code error;
  const auto found = tcp::resolver(context).resolve(host, port, error);
  if (error || found.empty()) {
    throw ConfigError("status page: no address is known for '{}': {}", host, error.message());
  }
  return found.begin()->endpoint();
}

tcp::acceptor listen(asio::io_context& context, const std::string& address) {
  const tcp::endpoint endpoint = resolve(context, address);
  tcp::acceptor acceptor(context);
  try {
    acceptor.open(endpoint.protocol());
    close_on_exec(acceptor.native_handle());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen();
  } catch (const boost::system::system_error& error) {
    throw TransportError(
        "status page: cannot listen on {}: {}; choose another address, or port 0 for any free one",
        address, error.code().message());
  }
  return acceptor;
}

}  // namespace

// The thread, its connections and what they are answered.
class StatusServer::Implementation {
 public:
  Implementation(const std::string& address, std::function<SystemSnapshot()> snapshot,
                 StatusServerOptions options)
      : options_(std::move(options)),
        contents_(std::move(snapshot), options_.min_interval),
        acceptor_(listen(context_, address)),
        pause_(context_),
        endpoint_(acceptor_.local_endpoint()) {
    accept();
    thread_ = std::thread([this] { context_.run(); });
  }

  ~Implementation() { stop(); }

  [[nodiscard]] std::string address() const {
    const std::string host = endpoint_.address().to_string();
    return endpoint_.address().is_v6() ? fmt::format("[{}]:{}", host, endpoint_.port())
                                       : fmt::format("{}:{}", host, endpoint_.port());
  }

  void stop() {
    if (!thread_.joinable()) {
      return;
    }
    asio::post(context_, [this] { close_all(); });
    thread_.join();
  }

 private:
  class Connection;

  // One accept is under way while there is room for a connection.
  void accept() {
    if (stopping_ || accepting_ || connections_.size() >= options_.max_connections) {
      return;
    }
    accepting_ = true;
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      accepting_ = false;
      if (stopping_ || error == asio::error::operation_aborted) {
        return;
      }
      if (error) {  // no descriptor left, perhaps
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](error_code) { accept(); });
        return;
      }
      start(std::move(socket));
      accept();
    });
  }

  void start(tcp::socket socket);
  void close_all();

  const StatusServerOptions options_;
  StatusContents contents_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  const tcp::endpoint endpoint_;
  std::set<Connection*> connections_;
  bool accepting_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

// Lives as long as an operation of its socket is under way.
class StatusServer::Implementation::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Implementation& server, tcp::socket socket)
      : server_(server), stream_(std::move(socket)) {
    close_on_exec(stream_.socket().native_handle());
    server_.connections_.insert(this);
  }
  ~Connection() {
    server_.connections_.erase(this);
    server_.accept();
  }

  void read() {
    parser_.emplace();
    parser_->header_limit(kHeaderLimit);
    parser_->body_limit(kBodyLimit);
    stream_.expires_after(server_.options_.client_timeout);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->on_request(error); });
  }

  void close() { stream_.close(); }

 private:
  using Request = http::request<http::string_body>;

  void on_request(error_code error) {
    if (!error) {
      answer(parser_->get());
    } else if (error == http::error::header_limit) {
      refuse(http::status::request_header_fields_too_large, "the header is too large");
    } else if (error == http::error::body_limit) {
      refuse(http::status::payload_too_large, "the body is too large; none is needed");
    } else if (error != http::error::end_of_stream && error != http::error::partial_message &&
               error.category() == http::make_error_code(http::error::bad_method).category()) {
      refuse(http::status::bad_request, error.message());
    }
    // Otherwise the client has gone, or was too slow.
  }

  void answer(const Request& request) {
    const bool head = request.method() == http::verb::head;
    const bool keep = request.keep_alive();
    if (request.version() >= 11 && request.count(http::field::host) != 1) {
      return refuse(http::status::bad_request, "one Host header is needed");
    }
    const beast::string_view host = request[http::field::host];
    if (!host.empty() && !is_our_host({host.data(), host.size()}, server_.options_.hosts)) {
      return refuse(http::status::misdirected_request,
                    "this page does not go by that name; ask for localhost or for an IP address");
    }
    if (!head && request.method() != http::verb::get) {
      return send_text(http::status::method_not_allowed, "only GET and HEAD", head, keep);
    }
    try {
      const beast::string_view target = request.target();
      StatusContent content = server_.contents_.find({target.data(), target.size()});
      if (!content.body) {
        return send_text(http::status::not_found, "there are /, /state and /metrics", head, keep);
      }
      send(http::status::ok, std::move(content), head, keep);
    } catch (const std::exception& error) {
      send_text(http::status::internal_server_error, error.what(), head, keep);
    }
  }

  void refuse(http::status status, const std::string& text) {
    send_text(status, text, false, false);
  }

  void send_text(http::status status, const std::string& text, bool head, bool keep) {
    send(status, {"text/plain; charset=utf-8", std::make_shared<const std::string>(text + "\n")},
         head, keep);
  }

  void send(http::status status, StatusContent content, bool head, bool keep) {
    body_ = std::move(content.body);
    response_.emplace(status, 11);
    response_->set(http::field::content_type, view(content.type));
    response_->set(http::field::cache_control, "no-store");
    response_->set("Content-Security-Policy", view(kContentSecurityPolicy));
    response_->set("X-Content-Type-Options", "nosniff");
    response_->set("Cross-Origin-Resource-Policy", "same-origin");
    response_->set("Referrer-Policy", "no-referrer");
    if (status == http::status::method_not_allowed) {
      response_->set(http::field::allow, "GET, HEAD");
    }
    response_->content_length(body_->size());
    response_->keep_alive(keep);
    if (!head) {
      response_->body() = beast::span<const char>(body_->data(), body_->size());
    }
    stream_.expires_after(server_.options_.client_timeout);
    http::async_write(stream_, *response_,
                      [self = shared_from_this(), keep](error_code error, std::size_t) {
                        self->on_sent(error, keep);
                      });
  }

  void on_sent(error_code error, bool keep) {
    response_.reset();
    body_.reset();
    if (error) {
      return;
    }
    if (keep) {
      return read();
    }
    stream_.socket().shutdown(tcp::socket::shutdown_send, error);
    stream_.expires_after(server_.options_.client_timeout);
    drain();
  }

  // Waits for the client to close. Closed at once, what it has sent and we have not read would
  // reset the connection, and our answer with it.
  void drain() {
    stream_.async_read_some(asio::buffer(rest_),
                            [self = shared_from_this()](error_code error, std::size_t) {
                              if (!error) {
                                self->drain();
                              }
                            });
  }

  Implementation& server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kHeaderLimit + kBodyLimit};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::span_body<const char>>> response_;
  std::shared_ptr<const std::string> body_;
  std::array<char, 4096> rest_{};
};

void StatusServer::Implementation::start(tcp::socket socket) {
  std::make_shared<Connection>(*this, std::move(socket))->read();
}

void StatusServer::Implementation::close_all() {
  stopping_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  for (Connection* connection : connections_) {
    connection->close();
  }
}

StatusServer::StatusServer(const std::string& address, std::function<SystemSnapshot()> snapshot,
                           StatusServerOptions options)
    : implementation_(
          std::make_unique<Implementation>(address, std::move(snapshot), std::move(options))) {}

StatusServer::~StatusServer() = default;

std::string StatusServer::address() const { return implementation_->address(); }

void StatusServer::stop() { implementation_->stop(); }

}  // namespace desta::runtime
