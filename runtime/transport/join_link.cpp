#include "runtime/transport/join_link.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/transport/join_address.h"
#include "runtime/transport/join_connection.h"
#include "runtime/transport/join_handshake.h"

namespace desta::runtime {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

Message control(std::string body) {
  return {.from = 0, .to = 0, .body = std::move(body), .buffers = {}};
}

}  // namespace

class JoinLink::Impl {
 public:
  Impl(const std::string& address, const JoinToken& token, std::string description,
       JoinOptions options)
      : options_(std::move(options)), token_(token), work_(io_.get_executor()) {
    hello_ = {random_bytes(), options_.build, std::move(description)};
    if (hello_.description.size() > kMaxJoinDescription || hello_.build.size() > kMaxJoinBuild) {
      throw InternalError("a worker describes itself in up to {} bytes and a build has up to {}",
                          kMaxJoinDescription, kMaxJoinBuild);
    }
    connection_ = std::make_shared<JoinConnection>(connect(address), options_, address);
    connection_->start({.frame = [this](Frame frame) { on_frame(std::move(frame)); },
                        .ended = [this](const std::string& why) { on_ended(why); },
                        .gone = {}});
    connection_->send({FrameType::kHello, control(encode_hello(hello_))});
    while (step_ != Step::kJoined && !lost_why_) {
      io_.run_one();
    }
    if (step_ != Step::kJoined) {
      const bool told = !lost_why_->starts_with("closed") && !lost_why_->starts_with("the conn");
      throw TransportError("cannot join the job at {}: {}{}", address, *lost_why_,
                           told ? "" : "; it may have too many at its door: try again");
    }
    thread_ = std::thread([this] { io_.run(); });
  }

  ~Impl() { stop(); }

  [[nodiscard]] int node() const { return node_; }
  [[nodiscard]] const std::string& job() const { return job_; }
  [[nodiscard]] std::size_t backlog() const { return connection_->backlog(); }

  void start(std::function<void(Message)> message, std::function<void(const std::string&)> lost) {
    asio::post(io_, [this, message = std::move(message), lost = std::move(lost)]() mutable {
      message_ = std::move(message);
      lost_ = std::move(lost);
      for (Message& early : std::exchange(early_, {})) {
        message_(std::move(early));
      }
      if (lost_why_) {
        lost_(*lost_why_);
      }
    });
  }

  void send(Message message) {
    if (message.from != node_) {
      throw InternalError("worker {} sends a message in the name of node {}", node_, message.from);
    }
    connection_->send({FrameType::kMessage, std::move(message)});
  }

  void stop() {
    const std::lock_guard lock(stop_mutex_);
    if (!thread_.joinable()) {
      return;
    }
    asio::post(io_, [this] {
      stopping_ = true;
      connection_->finish();
      work_.reset();
    });
    thread_.join();
  }

 private:
  enum class Step { kChallenge, kWelcome, kJoined };

  JoinConnection::Socket connect(const std::string& text) {
    const JoinAddress address = parse_join_address(text);
    std::optional<error_code> result;
    const auto wait = [&] {
      const auto deadline = std::chrono::steady_clock::now() + options_.handshake;
      while (!result && io_.run_one_until(deadline) != 0) {
      }
      if (!result || *result) {
        throw TransportError(
            "cannot join the job at {}: {}; does the job still run, and does it listen there?",
            text, result ? result->message() : "no answer");
      }
    };
    if (address.is_unix()) {
      asio::local::stream_protocol::socket socket(io_);
      socket.async_connect(asio::local::stream_protocol::endpoint(address.path),
                           [&](const error_code& error) { result = error; });
      wait();
      return JoinConnection::Socket(std::move(socket));
    }
    asio::ip::tcp::resolver resolver(io_);
    error_code error;
    const auto places = resolver.resolve(address.host, address.port, error);
    if (error) {
      throw TransportError("cannot join the job at {}: {}; is the name right?", text,
                           error.message());
    }
    asio::ip::tcp::socket socket(io_);
    asio::async_connect(socket, places, [&](const error_code& failure, const auto& /*endpoint*/) {
      result = failure;
    });
    wait();
    socket.set_option(asio::ip::tcp::no_delay(true), error);
    return JoinConnection::Socket(std::move(socket));
  }

  void on_frame(Frame frame) {
    if (step_ == Step::kChallenge && frame.type == FrameType::kChallenge) {
      challenge_ = decode_bytes(frame.message.body);
      const auto proof = worker_proof(token_, hello_, challenge_);
      connection_->send({FrameType::kProof, control(encode_bytes(proof))});
      step_ = Step::kWelcome;
    } else if (step_ == Step::kWelcome && frame.type == FrameType::kWelcome) {
      JoinWelcome welcome = decode_welcome(frame.message.body);
      const auto expected = job_proof(token_, hello_, challenge_, welcome.node, welcome.job);
      if (!same_mac(welcome.proof, expected)) {
        throw TransportError(
            "what answers there does not hold the job's token; is the address "
            "right?");
      }
      node_ = welcome.node;
      job_ = std::move(welcome.job);
      step_ = Step::kJoined;
      connection_->set_proven();
    } else if (step_ == Step::kJoined && frame.type == FrameType::kMessage) {
      if (stopping_) {
        return;
      }
      if (message_) {
        message_(std::move(frame.message));
      } else {
        early_.push_back(std::move(frame.message));
      }
    } else {
      throw TransportError("a frame of type {} where none is due", static_cast<int>(frame.type));
    }
  }

  void on_ended(const std::string& why) {
    if (lost_ && !stopping_) {
      lost_(why);
    }
    lost_why_ = why;
  }

  asio::io_context io_{1};  // one thread runs it
  const JoinOptions options_;
  const JoinToken token_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  JoinHello hello_;
  JoinNonce challenge_{};
  Step step_ = Step::kChallenge;
  int node_ = 0;
  std::string job_;
  std::shared_ptr<JoinConnection> connection_;

  std::function<void(Message)> message_;
  std::function<void(const std::string&)> lost_;
  std::deque<Message> early_;  // came before start()
  std::optional<std::string> lost_why_;
  bool stopping_ = false;

  std::mutex stop_mutex_;
  std::thread thread_;
};

JoinLink::JoinLink(const std::string& address, const JoinToken& token, std::string description,
                   JoinOptions options)
    : impl_(std::make_unique<Impl>(address, token, std::move(description), std::move(options))) {}

JoinLink::~JoinLink() = default;

int JoinLink::node() const { return impl_->node(); }
const std::string& JoinLink::job() const { return impl_->job(); }
void JoinLink::start(std::function<void(Message)> message,
                     std::function<void(const std::string&)> lost) {
  impl_->start(std::move(message), std::move(lost));
}
void JoinLink::send(Message message) { impl_->send(std::move(message)); }
std::size_t JoinLink::backlog() const { return impl_->backlog(); }
void JoinLink::stop() { impl_->stop(); }

}  // namespace desta::runtime
