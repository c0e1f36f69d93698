#include "runtime/transport/join_connection.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

namespace desta::runtime {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr std::size_t kMostGatheredParts = 64;
constexpr std::size_t kMostGatheredBytes = std::size_t{256} << 10;
constexpr std::size_t kLongestReason = 400;
// A peer that is told to go has so long to take a byte, and so long in all.
constexpr milliseconds kFarewellStall{2000};
constexpr milliseconds kFarewell{10000};

double seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

// What a peer wrote, fit for a line of a log.
std::string printable(std::string_view text) {
  std::string line(text.substr(0, kLongestReason));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

EncodedFrame control_frame(FrameType type, std::string body) {
  return {type, Message{.from = 0, .to = 0, .body = std::move(body), .buffers = {}}};
}

}  // namespace

JoinConnection::JoinConnection(Socket socket, const JoinOptions& options, std::string peer)
    : socket_(std::move(socket)),
      options_(options),
      peer_(std::move(peer)),
      tick_(std::clamp<milliseconds>(
          std::min({options.heartbeat, options.silence, options.handshake}) / 4, milliseconds(5),
          milliseconds(250))),
      reader_(FrameLimits{}),
      timer_(socket_.get_executor()),
      last_tick_(Clock::now()) {
  socket_.non_blocking(true);
  fd_ = socket_.native_handle();
  ::fcntl(fd_, F_SETFD, FD_CLOEXEC);
}

void JoinConnection::start(Handlers handlers) {
  handlers_ = std::move(handlers);
  last_tick_ = Clock::now();
  wait_tick();
  read();
}

void JoinConnection::set_proven() {
  proven_ = true;
  quiet_ = {};
  reader_.set_limits(
      {.messages = true, .max_body = options_.max_body, .max_message = options_.max_message});
}

void JoinConnection::read() {
  std::array<asio::mutable_buffer, 2> places{asio::buffer(discarded_), asio::mutable_buffer()};
  if (state_ == State::kOpen) {
    const auto space = reader_.space();
    places = {asio::buffer(space[0].data(), space[0].size()),
              asio::buffer(space[1].data(), space[1].size())};
  }
  socket_.async_read_some(
      places, [self = shared_from_this()](const boost::system::error_code& error,
                                          std::size_t count) { self->on_read(error, count); });
}

void JoinConnection::on_read(const boost::system::error_code& error, std::size_t count) {
  if (state_ == State::kClosed) {
    return;
  }
  if (error) {
    peer_ended(error == asio::error::eof ? std::string("closed the connection")
                                         : "the connection failed: " + error.message());
    return;
  }
  try {
    if (state_ == State::kOpen) {
      quiet_ = {};
      reader_.filled(count);
    }
    while (state_ == State::kOpen) {
      std::optional<Frame> frame = reader_.next();
      if (!frame) {
        read();
        return;
      }
      take_frame(std::move(*frame));
    }
  } catch (const std::exception& failure) {
    end(failure.what());
  }
  if (state_ == State::kFinishing) {
    read();
  }
}

void JoinConnection::take_frame(Frame frame) {
  switch (frame.type) {
    case FrameType::kRefusal:
      peer_ended(printable(frame.message.body));
      return;
    case FrameType::kPing:
    case FrameType::kGoodbye:
      if (!proven_) {
        throw TransportError("a frame of type {} before the connection is proven",
                             static_cast<int>(frame.type));
      }
      if (frame.type == FrameType::kGoodbye) {
        peer_ended(std::string(kSaidGoodbye));
      }
      return;
    default:
      handlers_.frame(std::move(frame));
  }
}

void JoinConnection::wait_tick() {
  timer_.expires_after(tick_);
  timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && self->state_ != State::kClosed) {
      self->on_tick();
    }
  });
}

// A process that was stopped itself, or had no core, does not charge its peers for it: a tick
// counts twice its length at most.
void JoinConnection::on_tick() {
  const Clock::time_point now = Clock::now();
  const Clock::duration elapsed = std::min<Clock::duration>(now - last_tick_, 2 * tick_);
  last_tick_ = now;
  in_state_ += elapsed;
  quiet_ += elapsed;
  Clock::duration untaken;
  Clock::duration unspoken;
  {
    const std::lock_guard lock(mutex_);
    untaken_ = queue_.empty() || took_ ? Clock::duration{} : untaken_ + elapsed;
    unspoken_ = took_ ? Clock::duration{} : unspoken_ + elapsed;
    took_ = false;
    untaken = untaken_;
    unspoken = unspoken_;
  }
  if (state_ == State::kOpen) {
    on_tick_open(untaken >= options_.silence, unspoken);
  } else if (in_state_ >= kFarewell || untaken >= kFarewellStall ||
             (in_state_ >= kFarewellStall && backlog() == 0)) {
    close_and_tell();
  }
  if (state_ != State::kClosed) {
    wait_tick();
  }
}

void JoinConnection::on_tick_open(bool stuck, Clock::duration unspoken) {
  if (!proven_) {
    if (in_state_ >= options_.handshake) {
      end(fmt::format("no proof within {:g} s", seconds(options_.handshake)));
    }
  } else if (quiet_ >= options_.silence) {
    end(fmt::format("silent for {:g} s", seconds(options_.silence)));
  } else if (stuck) {
    end(fmt::format("does not read: took nothing for {:g} s", seconds(options_.silence)));
  } else if (unspoken + tick_ > options_.heartbeat && backlog() == 0) {
    try {
      send(control_frame(FrameType::kPing, ""));
    } catch (const TransportError&) {
      // The socket is broken; reading finds the reason.
    }
  }
}

void JoinConnection::send(EncodedFrame frame) {
  const std::size_t payload = frame.size() - kFrameHeaderBytes;
  const std::size_t body = frame.part(1).size();
  const std::size_t buffers = frame.part_count() - 2;
  if (payload > options_.max_message || body > options_.max_body || buffers > kMaxFrameBuffers) {
    throw TransportError(
        "{}: a message of {} bytes with a body of {} and {} buffers; the limits are {}, {} and {}",
        peer_, payload, body, buffers, options_.max_message, options_.max_body, kMaxFrameBuffers);
  }
  const std::lock_guard lock(mutex_);
  if (!closed_why_.empty()) {
    throw PeerGone("{}: {}", peer_, closed_why_);
  }
  if (backlog_ != 0 && backlog_ + frame.size() > options_.max_backlog) {
    throw TransportError("{}: does not read fast enough: {} bytes wait and {} may", peer_, backlog_,
                         options_.max_backlog);
  }
  const bool idle = queue_.empty();
  backlog_ += frame.size();
  queue_.push_back(std::move(frame));
  if (idle) {
    write_once();
    if (!queue_.empty()) {
      asio::post(socket_.get_executor(), [self = shared_from_this()] { self->write_more(); });
    }
  }
}

std::size_t JoinConnection::backlog() const {
  const std::lock_guard lock(mutex_);
  return backlog_;
}

void JoinConnection::write_more() {
  bool more = false;
  {
    const std::lock_guard lock(mutex_);
    if (fd_ < 0) {
      return;
    }
    if (!queue_.empty()) {
      write_once();
    }
    more = !queue_.empty();
    if (!more && state_ == State::kFinishing) {
      ::shutdown(fd_, SHUT_WR);
    }
  }
  if (more) {
    socket_.async_wait(Socket::wait_write,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                         if (!error) {
                           self->write_more();
                         }
                       });
  }
}

// With the mutex held and a frame in the queue.
void JoinConnection::write_once() {
  std::array<iovec, kMostGatheredParts> parts;
  std::size_t count = 0;
  std::size_t bytes = 0;
  std::size_t part = part_;
  std::size_t offset = part_offset_;
  for (const EncodedFrame& frame : queue_) {
    for (; part < frame.part_count() && count < parts.size() && bytes < kMostGatheredBytes;
         ++part) {
      const auto rest = frame.part(part).subspan(std::exchange(offset, 0));
      if (!rest.empty()) {
        parts[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
        bytes += rest.size();
      }
    }
    if (count == parts.size() || bytes >= kMostGatheredBytes) {
      break;
    }
    part = 0;
  }
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = count;
  const ssize_t written = ::sendmsg(fd_, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (written > 0) {
    advance(static_cast<std::size_t>(written));
  } else if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
    // Reading still finds what the peer said last, and then the end.
    if (closed_why_.empty()) {
      closed_why_ = fmt::format("cannot write: {}", std::strerror(errno));
    }
    forget_waiting();
  }
}

void JoinConnection::forget_waiting() {
  queue_.clear();
  part_ = 0;
  part_offset_ = 0;
  backlog_ = 0;
}

void JoinConnection::advance(std::size_t count) {
  took_ = true;
  backlog_ -= count;
  while (!queue_.empty()) {
    const EncodedFrame& frame = queue_.front();
    for (; part_ < frame.part_count(); ++part_, part_offset_ = 0) {
      const std::size_t rest = frame.part(part_).size() - part_offset_;
      if (rest > count) {
        part_offset_ += count;
        return;
      }
      count -= rest;
    }
    queue_.pop_front();
    part_ = 0;
  }
}

void JoinConnection::end(const std::string& why) {
  if (state_ != State::kOpen) {
    return;
  }
  say_last(control_frame(FrameType::kRefusal, why), why, false);
  if (handlers_.ended) {
    handlers_.ended(why);
  }
}

void JoinConnection::finish() {
  if (state_ == State::kOpen) {
    say_last(control_frame(FrameType::kGoodbye, ""), "the connection is being closed", true);
  }
}

// Nothing is taken after this frame. What waits before it is written or, but for a frame that has
// begun, left out.
void JoinConnection::say_last(EncodedFrame frame, const std::string& why, bool keep_waiting) {
  state_ = State::kFinishing;
  in_state_ = {};
  bool idle = false;
  {
    const std::lock_guard lock(mutex_);
    closed_why_ = why;
    idle = queue_.empty();
    if (!keep_waiting) {
      const bool begun = part_ != 0 || part_offset_ != 0;
      while (queue_.size() > (begun ? 1U : 0U)) {
        backlog_ -= queue_.back().size();
        queue_.pop_back();
      }
    }
    backlog_ += frame.size();
    queue_.push_back(std::move(frame));
  }
  if (idle) {
    write_more();
  }
}

void JoinConnection::peer_ended(const std::string& why) {
  const bool was_open = state_ == State::kOpen;
  {
    const std::lock_guard lock(mutex_);
    closed_why_ = why;
  }
  close();
  if (was_open && handlers_.ended) {
    handlers_.ended(why);
  }
  if (handlers_.gone) {
    handlers_.gone();
  }
}

void JoinConnection::close_and_tell() {
  close();
  if (handlers_.gone) {
    handlers_.gone();
  }
}

void JoinConnection::close() {
  state_ = State::kClosed;
  timer_.cancel();
  const std::lock_guard lock(mutex_);
  if (closed_why_.empty()) {
    closed_why_ = "the connection is closed";
  }
  forget_waiting();
  fd_ = -1;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace desta::runtime
