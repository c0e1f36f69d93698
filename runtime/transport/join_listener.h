// The job's side of joining: workers that hold the job's token connect, prove it and become nodes,
// and messages go to and come from them until they leave or are lost. One thread does the work.
//
// A worker that is silent for JoinOptions::silence, takes none of the bytes that wait for it for as
// long, or sends what is no message of its own, is dropped. What that means for the safety of the
// network between the two stands in join_token.h.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/transport/join_options.h"
#include "runtime/transport/join_token.h"
#include "runtime/transport/message.h"

namespace desta::runtime {

// Called on the listener's thread; none may block, throw or call stop(). send() and drop() are
// fine.
struct JoinEvents {
  // A worker is a node now; `description` is what it said of itself, unread. It may be sent to.
  std::function<void(int node, const std::string& description)> joined;
  // From a joined node: `from` is that node's number and no other; `to` is whatever the worker
  // wrote.
  std::function<void(Message message)> message;
  // Once for each joined node, after its last message; kSaidGoodbye when it left in order.
  std::function<void(int node, const std::string& why)> lost;
};

class JoinListener {
 public:
  // Listens at each of `addresses` (see join_address.h). A Unix socket is for its owner alone
  // (0600) and replaces one that nobody listens at. Workers become first_node, first_node + 1, ...;
  // a number is never used again. `job` (up to 64 KiB) is told to every worker. Throws ConfigError
  // for an address that is none, TransportError when it cannot listen there.
  JoinListener(const std::vector<std::string>& addresses, const JoinToken& token, int first_node,
               std::string job, JoinOptions options, JoinEvents events);
  // Calls stop().
  ~JoinListener();
  JoinListener(const JoinListener&) = delete;
  JoinListener& operator=(const JoinListener&) = delete;

  // As bound: with the port that the system chose.
  [[nodiscard]] std::vector<std::string> addresses() const;

  // To the joined node message.to; in order, without blocking. Throws PeerGone when that node is gone,
  // TransportError when there never was one, the message is over the limits, or more than max_backlog
  // would wait. Thread-safe.
  void send(Message message);
  // Bytes that were sent to the node and are not written yet; 0 when it is gone. Thread-safe.
  [[nodiscard]] std::size_t backlog(int node) const;
  // Ends the node's connection; it is told why, and lost(node, why) follows. Does nothing when the node
  // is gone already. Thread-safe.
  void drop(int node, const std::string& why);

  // Says goodbye to all and ends the thread; no event comes after it, nor `lost` for those that are
  // here still. Takes as long as the workers need to take what waits for them: 2 s for one that
  // takes nothing, 10 s at most. Idempotent.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace desta::runtime
