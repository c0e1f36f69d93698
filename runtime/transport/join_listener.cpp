#include "runtime/transport/join_listener.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/transport/join_address.h"
#include "runtime/transport/join_connection.h"
#include "runtime/transport/join_handshake.h"

namespace desta::runtime {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Protocol>;

constexpr std::chrono::milliseconds kAcceptPause{100};

// Warnings that a stranger can cause: a line a second.
class SlowLog {
 public:
  void warn(const std::string& line) {
    const auto now = std::chrono::steady_clock::now();
    if (last_ && now - *last_ < std::chrono::seconds(1)) {
      ++left_out_;
      return;
    }
    last_ = now;
    const std::size_t left_out = std::exchange(left_out_, 0);
    log().warn("{}{}", line, left_out == 0 ? "" : fmt::format(" ({} more like it)", left_out));
  }

 private:
  std::optional<std::chrono::steady_clock::time_point> last_;
  std::size_t left_out_ = 0;
};

// A socket's file, removed when nobody else has put his there.
class SocketFile {
 public:
  explicit SocketFile(std::string path) : path_(std::move(path)) {
    good_ = ::lstat(path_.c_str(), &status_) == 0;
  }
  ~SocketFile() {
    struct stat now {};
    if (good_ && ::lstat(path_.c_str(), &now) == 0 && now.st_ino == status_.st_ino &&
        now.st_dev == status_.st_dev) {
      ::unlink(path_.c_str());
    }
  }
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;

 private:
  std::string path_;
  struct stat status_ {};
  bool good_ = false;
};

}  // namespace

class JoinListener::Impl {
 public:
  Impl(const std::vector<std::string>& addresses, const JoinToken& token, int first_node,
       std::string job, JoinOptions options, JoinEvents events)
      : token_(token),
        job_(std::move(job)),
        options_(std::move(options)),
        events_(std::move(events)),
        work_(io_.get_executor()),
        first_node_(first_node),
        next_node_(first_node) {
    if (job_.size() > kMaxJoinDescription || options_.build.size() > kMaxJoinBuild) {
      throw InternalError("a job tells its workers up to {} bytes and a build has up to {}",
                          kMaxJoinDescription, kMaxJoinBuild);
    }
    for (const std::string& address : addresses) {
      listen(address);
    }
    for (const auto& door : doors_) {
      accept(*door);
    }
    thread_ = std::thread([this] { io_.run(); });
  }

  ~Impl() { stop(); }

  [[nodiscard]] std::vector<std::string> addresses() const { return bound_; }

  void send(Message message) {
    const int node = message.to;
    const auto connection = find(node);
    if (connection == nullptr) {
      if (has_joined(node)) {
        throw PeerGone("there is no joined node {} any more: it has left or was lost", node);
      }
      throw TransportError("no worker has joined as node {}", node);
    }
    connection->send(EncodedFrame(FrameType::kMessage, std::move(message)));
  }

  [[nodiscard]] std::size_t backlog(int node) const {
    const auto connection = find(node);
    return connection == nullptr ? 0 : connection->backlog();
  }

  void drop(int node, const std::string& why) {
    if (const auto connection = find(node); connection != nullptr) {
      asio::post(io_, [connection, why] { connection->end(why); });
    }
  }

  void stop() {
    const std::lock_guard lock(stop_mutex_);
    if (!thread_.joinable()) {
      return;
    }
    asio::post(io_, [this] { begin_stop(); });
    thread_.join();
    const std::lock_guard nodes_lock(mutex_);
    nodes_.clear();
  }

 private:
  struct Door {
    Acceptor acceptor;
    asio::steady_timer pause;
    std::optional<SocketFile> file;

    explicit Door(asio::io_context& io) : acceptor(io), pause(io) {}
  };

  enum class Step { kHello, kProof, kJoined };

  struct Peer {
    std::shared_ptr<JoinConnection> connection;
    Step step = Step::kHello;
    JoinHello hello;
    JoinNonce challenge{};
    int node = 0;
  };

  // Null when the node is gone, or never came.
  [[nodiscard]] std::shared_ptr<JoinConnection> find(int node) const {
    const std::lock_guard lock(mutex_);
    const auto found = nodes_.find(node);
    return found == nodes_.end() ? nullptr : found->second;
  }

  [[nodiscard]] bool has_joined(int node) const {
    const std::lock_guard lock(mutex_);
    return node >= first_node_ && node < next_node_;
  }

  // --- doors

  void listen(const std::string& text) {
    const JoinAddress address = parse_join_address(text);
    if (address.is_unix()) {
      remove_stale(address.path, text);
      open_door(asio::local::stream_protocol::endpoint(address.path), text, true);
      return;
    }
    asio::ip::tcp::resolver resolver(io_);
    error_code error;
    const auto found =
        resolver.resolve(address.host, address.port, asio::ip::tcp::resolver::passive, error);
    if (error || found.empty()) {
      throw TransportError("cannot listen at {}: {}", text, error.message());
    }
    open_door(found.begin()->endpoint(), text, false);
  }

  void open_door(const Protocol::endpoint& endpoint, const std::string& text, bool is_unix) {
    auto door = std::make_unique<Door>(io_);
    error_code error;
    door->acceptor.open(endpoint.protocol(), error);
    if (!error) {
      ::fcntl(door->acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
      if (is_unix) {
        // On Linux the file takes its mode from the socket.
        ::fchmod(door->acceptor.native_handle(), 0600);
      } else {
        door->acceptor.set_option(Acceptor::reuse_address(true), error);
      }
    }
    if (!error && endpoint.data()->sa_family == AF_INET6) {
      door->acceptor.set_option(asio::ip::v6_only(true), error);
    }
    if (!error) {
      door->acceptor.bind(endpoint, error);
    }
    if (!error) {
      door->acceptor.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
      throw TransportError("cannot listen at {}: {}", text, error.message());
    }
    if (is_unix) {
      bound_.push_back(text);
      door->file.emplace(parse_join_address(text).path);
    } else {
      const Protocol::endpoint local = door->acceptor.local_endpoint();
      bound_.push_back(join_address_text(local.data(), local.size()));
    }
    doors_.push_back(std::move(door));
  }

  void remove_stale(const std::string& path, const std::string& text) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      return;
    }
    if (!S_ISSOCK(status.st_mode)) {
      throw TransportError(
          "cannot listen at {}: there is a file that is no socket; choose "
          "another path",
          text);
    }
    asio::local::stream_protocol::socket probe(io_);
    error_code error;
    probe.connect(asio::local::stream_protocol::endpoint(path), error);
    if (error != asio::error::connection_refused) {
      throw TransportError("cannot listen at {}: {}; choose another path", text,
                           error ? error.message() : "another job listens there");
    }
    ::unlink(path.c_str());
  }

  void accept(Door& door) {
    door.acceptor.async_accept(
        [this, &door](const error_code& error, JoinConnection::Socket socket) {
          if (stopping_) {
            return;
          }
          if (!error) {
            admit(std::move(socket));
            accept(door);
            return;
          }
          slow_log_.warn(fmt::format("cannot take a connection: {}; are too many files open?",
                                     error.message()));
          door.pause.expires_after(kAcceptPause);
          door.pause.async_wait([this, &door](const error_code& stopped) {
            if (!stopped && !stopping_) {
              accept(door);
            }
          });
        });
  }

  // --- peers

  void admit(JoinConnection::Socket socket) {
    error_code error;
    const Protocol::endpoint remote = socket.remote_endpoint(error);
    if (error) {
      return;  // it has gone already
    }
    const std::string peer = join_address_text(remote.data(), remote.size());
    if (unproven_.size() >= options_.max_unproven) {
      slow_log_.warn(fmt::format("{} is turned away: {} connections have not proven themselves yet",
                                 peer, unproven_.size()));
      return;
    }
    if (remote.data()->sa_family != AF_UNIX) {
      socket.set_option(asio::ip::tcp::no_delay(true), error);
    }
    const std::uint64_t id = next_peer_++;
    auto connection = std::make_shared<JoinConnection>(std::move(socket), options_, peer);
    peers_[id].connection = connection;
    unproven_.insert(id);
    connection->start({.frame = [this, id](Frame frame) { on_frame(id, std::move(frame)); },
                       .ended = [this, id](const std::string& why) { on_ended(id, why); },
                       .gone = [this, id] { on_gone(id); }});
  }

  void on_frame(std::uint64_t id, Frame frame) {
    Peer& peer = peers_.at(id);
    const bool in_turn = (peer.step == Step::kHello && frame.type == FrameType::kHello) ||
                         (peer.step == Step::kProof && frame.type == FrameType::kProof) ||
                         (peer.step == Step::kJoined && frame.type == FrameType::kMessage);
    if (!in_turn) {
      throw TransportError("a frame of type {} where none is due", static_cast<int>(frame.type));
    }
    switch (peer.step) {
      case Step::kHello:
        peer.hello = decode_hello(frame.message.body);
        peer.challenge = random_bytes();
        peer.connection->send({FrameType::kChallenge, control(encode_bytes(peer.challenge))});
        peer.step = Step::kProof;
        break;
      case Step::kProof:
        check_proof(peer, frame.message.body);
        welcome(id, peer);
        break;
      case Step::kJoined:
        if (frame.message.from != peer.node) {
          throw TransportError("node {} sent a message in the name of node {}", peer.node,
                               frame.message.from);
        }
        events_.message(std::move(frame.message));
        break;
    }
  }

  static Message control(std::string body) {
    return {.from = 0, .to = 0, .body = std::move(body), .buffers = {}};
  }

  void check_proof(const Peer& peer, const std::string& proof) const {
    if (!same_mac(decode_bytes(proof), worker_proof(token_, peer.hello, peer.challenge))) {
      throw TransportError("the worker's token is not this job's; copy the job's token file");
    }
    if (peer.hello.build != options_.build) {
      throw TransportError("the worker is build '{}' and the job is build '{}'; start the same one",
                           peer.hello.build, options_.build);
    }
  }

  void welcome(std::uint64_t id, Peer& peer) {
    {
      // Who knows of the welcome may send to the node.
      const std::lock_guard lock(mutex_);
      const int node = next_node_;
      const auto proof = job_proof(token_, peer.hello, peer.challenge, node, job_);
      peer.connection->send({FrameType::kWelcome, control(encode_welcome({proof, node, job_}))});
      nodes_.emplace(node, peer.connection);
      peer.node = next_node_++;
    }
    peer.step = Step::kJoined;
    peer.connection->set_proven();
    unproven_.erase(id);
    const std::string description = std::exchange(peer.hello.description, {});
    events_.joined(peer.node, description);
  }

  void on_ended(std::uint64_t id, const std::string& why) {
    const Peer& peer = peers_.at(id);
    if (peer.step != Step::kJoined) {
      slow_log_.warn(fmt::format("{} did not join: {}", peer.connection->peer(), why));
      return;
    }
    const int node = peer.node;
    {
      const std::lock_guard lock(mutex_);
      nodes_.erase(node);
    }
    if (!stopping_) {
      events_.lost(node, why);
    }
  }

  void on_gone(std::uint64_t id) {
    unproven_.erase(id);
    peers_.erase(id);
  }

  void begin_stop() {
    stopping_ = true;
    for (const auto& door : doors_) {
      error_code ignored;
      door->acceptor.close(ignored);
      door->pause.cancel();
    }
    doors_.clear();
    for (auto peer = peers_.begin(); peer != peers_.end();) {
      const std::shared_ptr<JoinConnection> connection = peer->second.connection;
      if (peer->second.step == Step::kJoined) {
        ++peer;
        connection->finish();
      } else {
        connection->close();
        peer = peers_.erase(peer);
      }
    }
    work_.reset();
  }

  asio::io_context io_{1};  // one thread runs it
  const JoinToken token_;
  const std::string job_;
  const JoinOptions options_;
  const JoinEvents events_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::vector<std::string> bound_;
  std::map<std::uint64_t, Peer> peers_;
  std::set<std::uint64_t> unproven_;
  std::uint64_t next_peer_ = 0;
  const int first_node_;
  bool stopping_ = false;
  SlowLog slow_log_;

  mutable std::mutex mutex_;
  std::map<int, std::shared_ptr<JoinConnection>> nodes_;  // the joined
  int next_node_;

  std::mutex stop_mutex_;
  std::thread thread_;
};

JoinListener::JoinListener(const std::vector<std::string>& addresses, const JoinToken& token,
                           int first_node, std::string job, JoinOptions options, JoinEvents events)
    : impl_(std::make_unique<Impl>(addresses, token, first_node, std::move(job), std::move(options),
                                   std::move(events))) {}

JoinListener::~JoinListener() = default;

std::vector<std::string> JoinListener::addresses() const { return impl_->addresses(); }
void JoinListener::send(Message message) { impl_->send(std::move(message)); }
std::size_t JoinListener::backlog(int node) const { return impl_->backlog(node); }
void JoinListener::drop(int node, const std::string& why) { impl_->drop(node, why); }
void JoinListener::stop() { impl_->stop(); }

}  // namespace desta::runtime
