// A worker's side of joining: its one connection to the job. See join_listener.h for the other side
// and join_token.h for what the proof is worth.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "runtime/transport/join_options.h"
#include "runtime/transport/join_token.h"
#include "runtime/transport/message.h"

namespace desta::runtime {

class JoinLink {
 public:
  // Connects to the job's address (see join_address.h), proves the token, checks the job's proof
  // and returns when the worker is a node. `description` (up to 64 KiB) is for the job to read.
  // Throws ConfigError for an address that is none and TransportError, which names the address and
  // what to do, when nobody listens there, the job refuses (with its reason), does not hold the
  // token or says nothing for options.handshake. Looking up a name takes as long as the system
  // takes for it.
  JoinLink(const std::string& address, const JoinToken& token, std::string description,
           JoinOptions options);
  // Calls stop().
  ~JoinLink();
  JoinLink(const JoinLink&) = delete;
  JoinLink& operator=(const JoinLink&) = delete;

  [[nodiscard]] int node() const;
  // What the listener's owner tells its workers.
  [[nodiscard]] const std::string& job() const;

  // From now on `message` is called for each message and `lost` once when the job has ended the
  // connection (kSaidGoodbye when it left in order) or cannot be heard, at once for what came
  // earlier. On the link's thread; neither may block, throw or call stop(). Call it once.
  void start(std::function<void(Message message)> message,
             std::function<void(const std::string& why)> lost);

  // In order, without blocking; message.from must be node(). Throws PeerGone when the job is lost,
  // TransportError when the message is over the limits or more than max_backlog would wait.
  // Thread-safe.
  void send(Message message);
  // Bytes that were sent and are not written yet. Thread-safe.
  [[nodiscard]] std::size_t backlog() const;

  // Writes what waits, says goodbye and ends the thread; no callback comes after it. Takes as long
  // as the job needs to take what waits: 2 s when it takes nothing, 10 s at most. Idempotent.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace desta::runtime
