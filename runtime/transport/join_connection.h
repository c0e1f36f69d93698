// One connection between a job and a worker, whichever side it is: frames in, frames out,
// heartbeats and the end. Private to join_listener.cpp and join_link.cpp, which decide what the
// frames mean.
//
// Everything but send() and backlog() is for the thread of the io_context. A frame is written by
// the thread that sends it as far as the socket takes it at once; the rest is the io_context's.
#pragma once

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "runtime/transport/frame.h"
#include "runtime/transport/join_options.h"

namespace desta::runtime {

class JoinConnection : public std::enable_shared_from_this<JoinConnection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  struct Handlers {
    // A frame that is not a ping, a goodbye or a refusal. What it throws ends the connection, and
    // the peer is told.
    std::function<void(Frame)> frame;
    // No frame comes any more, and why; not called when the owner said finish() or close().
    std::function<void(const std::string& why)> ended;
    // The socket is closed. Once, last; not called by close().
    std::function<void()> gone;
  };

  // `options` outlives the connection. `peer` names the other side in messages.
  JoinConnection(Socket socket, const JoinOptions& options, std::string peer);

  void start(Handlers handlers);
  // Both sides have proven themselves: messages may come, heartbeats begin, and the handshake's
  // deadline is gone.
  void set_proven();
  // Tells the peer why and ends; calls `ended` unless it has ended before.
  void end(const std::string& why);
  // Writes what waits and a goodbye, waits until the peer has closed, and closes; in bounded time.
  void finish();
  // Closes at once.
  void close();

  // Never blocks. Throws PeerGone when the connection has ended, TransportError when the frame is over
  // the limits or too much waits. Thread-safe.
  void send(EncodedFrame frame);
  // Bytes sent and not written yet. Thread-safe.
  [[nodiscard]] std::size_t backlog() const;
  [[nodiscard]] const std::string& peer() const { return peer_; }

 private:
  enum class State { kOpen, kFinishing, kClosed };
  using Clock = std::chrono::steady_clock;

  void read();
  void on_read(const boost::system::error_code& error, std::size_t count);
  void take_frame(Frame frame);
  void wait_tick();
  void on_tick();
  void on_tick_open(bool stuck, Clock::duration unspoken);
  void write_more();
  void write_once();
  void advance(std::size_t count);
  void forget_waiting();
  void say_last(EncodedFrame frame, const std::string& why, bool keep_waiting);
  void peer_ended(const std::string& why);
  void close_and_tell();

  Socket socket_;
  const JoinOptions& options_;
  const std::string peer_;
  const Clock::duration tick_;
  Handlers handlers_;
  FrameReader reader_;
  boost::asio::steady_timer timer_;
  std::array<std::byte, 4096> discarded_;  // what comes after the end
  State state_ = State::kOpen;
  bool proven_ = false;
  Clock::time_point last_tick_;
  Clock::duration in_state_{};  // unproven, or finishing
  Clock::duration quiet_{};     // since the peer was heard

  mutable std::mutex mutex_;  // of all below, and of writing to the socket and closing it
  int fd_ = -1;
  std::string closed_why_;  // not empty: nothing more is taken to be sent
  std::deque<EncodedFrame> queue_;
  std::size_t part_ = 0;  // of the first frame: what is written next
  std::size_t part_offset_ = 0;
  std::size_t backlog_ = 0;
  bool took_ = false;           // bytes were written since the last tick
  Clock::duration untaken_{};   // since the peer took a byte of what waits
  Clock::duration unspoken_{};  // since anything was written
};

}  // namespace desta::runtime
