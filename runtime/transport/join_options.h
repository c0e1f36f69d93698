// What both sides of a worker's connection agree on and how long they wait.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "runtime/core/error.h"

namespace desta::runtime {

struct JoinOptions {
  std::size_t max_body = std::size_t{64} << 20;    // bytes of a message's body
  std::size_t max_message = std::size_t{4} << 30;  // of the body and the buffers together
  // Bytes that may wait to be written to one peer. A message that finds none waiting may be longer.
  std::size_t max_backlog = std::size_t{256} << 20;
  std::chrono::milliseconds heartbeat{1000};  // something is sent at least this often
  std::chrono::milliseconds silence{5000};    // a peer is lost that says or takes nothing so long
  std::chrono::milliseconds handshake{5000};  // within which both sides prove themselves
  std::size_t max_unproven = 64;              // connections that have not; more are closed at once
  std::string build;                          // the same on both sides, or the worker is refused
};

// Bytes of a worker's description and of what the job tells it (64 KiB), and of a build.
inline constexpr std::size_t kMaxJoinDescription = std::size_t{64} << 10;
inline constexpr std::size_t kMaxJoinBuild = 1024;

// The peer of a connection has left or is lost, or the connection to it has broken: whoever listens for
// losses is told of it, or has been.
class PeerGone : public TransportError {
 public:
  using TransportError::TransportError;
};

// Why a peer is lost that left in order.
inline constexpr std::string_view kSaidGoodbye = "said goodbye";

}  // namespace desta::runtime
