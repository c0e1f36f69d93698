// Messages between the ranks of a group: all that the algorithms of this folder know of a network.
// They are written, and tested, against this interface; mpi_links.h is the one over MPI.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "runtime/collectives/reduction.h"
#include "runtime/core/error.h"

namespace desta::runtime {

// What a rank tells the others when a collective cannot go on.
struct Notice {
  enum class Kind : std::int32_t {
    kGone,    // `culprit` is dead or cut off
    kSilent,  // the sender, which lives, has waited in vain
    kFailed,  // the sender has met an error of its own
  };
  Kind kind = Kind::kSilent;
  std::int32_t culprit = -1;
};

// The link to a peer does not work any more.
class LinkBroken : public TransportError {
 public:
  using TransportError::TransportError;
};

class PeerLinks {
 public:
  // One message under way. Destroying it takes back a receive of which nothing has come. What has
  // begun, and a send, cannot be taken back: its bytes must stay where they are until the links
  // end.
  class Transfer {
   public:
    virtual ~Transfer() = default;
    // True when it has finished; never blocks. Throws TransportError when the message has another
    // size than expected, LinkBroken.
    [[nodiscard]] virtual bool done() = 0;
  };

  virtual ~PeerLinks() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;

  // Messages from one rank to another with the same tag arrive in order. Of any size; thread-safe.
  [[nodiscard]] virtual std::unique_ptr<Transfer> send(int peer, int tag, const void* data,
                                                       std::size_t bytes) = 0;
  // The message must have exactly `bytes` bytes.
  [[nodiscard]] virtual std::unique_ptr<Transfer> receive(int peer, int tag, void* data,
                                                          std::size_t bytes) = 0;
  // Bytes of the first piece of the next message, if it has arrived and no receive waits for it.
  [[nodiscard]] virtual std::optional<std::size_t> waiting_message(int peer, int tag) = 0;

  // The transport's own all-reduce over all ranks, if it has one for this type and operation; null
  // otherwise. All ranks begin theirs in the same order.
  [[nodiscard]] virtual std::unique_ptr<Transfer> native_all_reduce(const void* source,
                                                                    void* destination,
                                                                    std::size_t count, DType dtype,
                                                                    ReduceOp op) = 0;

  // Notices travel beside the messages, and nobody waits for one. Both are thread-safe and keep the
  // transport moving.
  virtual void notify(int peer, Notice notice) = 0;
  struct Received {
    int sender = 0;
    Notice notice;
  };
  [[nodiscard]] virtual std::optional<Received> next_notice() = 0;

  // Links among the ranks that gave the same colour, ordered by rank; messages of one never meet
  // another's. Collective.
  [[nodiscard]] virtual std::unique_ptr<PeerLinks> split(int color) = 0;
};

}  // namespace desta::runtime
