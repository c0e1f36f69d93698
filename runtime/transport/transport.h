// The way of messages between the nodes (processes) of an actor system. A message is delivered once,
// whole, and in order for each pair of nodes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "runtime/core/error.h"
#include "runtime/transport/message.h"

namespace desta::runtime {

class Transport {
 public:
  using Handler = std::function<void(Message)>;

  virtual ~Transport() = default;

  [[nodiscard]] virtual int node() const = 0;
  // Nodes that are there from the start: the ranks of the job.
  [[nodiscard]] virtual int node_count() const = 0;

  // From now on hands messages to `handler`, those of one peer one at a time, on a thread of the
  // transport or of whoever polls. It must not block or throw.
  virtual void start(Handler handler) = 0;
  // What to do when a node is gone for good, told once for each. Called on a thread of the
  // transport; must be short. Before start().
  using LostHandler = std::function<void(int node, const std::string& why)>;
  virtual void on_lost(LostHandler /*handler*/) {}

  // Sends what is queued, then ends: no handler runs after it. Idempotent.
  virtual void stop() = 0;

  // Takes a message for node message.to and returns at once. Thread-safe. Throws TransportError when
  // there is no such node or the transport is stopped. A message to a node that is lost goes nowhere.
  virtual void send(Message message) = 0;
  // The same by way of node `hop`, which passes it on.
  virtual void send_by(int hop, Message message) {
    throw TransportError("node {} cannot be reached by way of node {} here", message.to, hop);
  }
  // Bytes on their way to a node that it has not taken yet, where the transport knows.
  [[nodiscard]] virtual std::size_t backlog(int /*node*/) const { return 0; }

  // A thread that waits for something may look for messages itself, which is faster than to be
  // woken: when try_attend() holds, it calls poll() (true: some were handled) and at last leave().
  // A transport that needs no such help never lets itself be attended.
  [[nodiscard]] virtual bool try_attend() { return false; }
  virtual bool poll() { return false; }
  virtual void leave() {}

  // A thread that would sleep until there is work may do so here, one at a time, to be the one that
  // a message wakes: it then need not be woken by another. kNo: not here, or not now.
  enum class Slept { kNo, kInVain, kRung };
  virtual Slept try_sleep() { return Slept::kNo; }
  // Wakes that thread.
  virtual void wake() {}
};

}  // namespace desta::runtime
