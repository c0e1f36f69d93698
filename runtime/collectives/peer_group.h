// The ranks among which an algorithm exchanges messages: all of a communicator, those of one host,
// or one of each host. Counts what they exchange, and waits with an eye on failures.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/collectives/failure_watch.h"
#include "runtime/collectives/operation.h"
#include "runtime/collectives/peer_links.h"

namespace desta::runtime {

struct TrafficCounters {
  std::atomic<std::uint64_t> sent = 0;
  std::atomic<std::uint64_t> received = 0;
  std::atomic<std::uint64_t> between_hosts = 0;
};

class PeerGroup {
 public:
  // Over all ranks of `links`. `members`: their ranks in the communicator, `hosts`: a number for
  // the host of each rank of the communicator.
  PeerGroup(PeerLinks& links, FailureWatch& watch, TrafficCounters& traffic,
            std::vector<int> members, std::vector<int> hosts);

  [[nodiscard]] int rank() const { return links_.rank(); }
  [[nodiscard]] int size() const { return links_.size(); }
  // The peer's rank in the communicator.
  [[nodiscard]] int member(int peer) const { return members_[static_cast<std::size_t>(peer)]; }
  [[nodiscard]] PeerLinks& links() const { return links_; }
  [[nodiscard]] FailureWatch& watch() const { return watch_; }

  // What every member has given, by rank; for small things. Collective over the group.
  [[nodiscard]] std::vector<std::string> gather(const std::string& mine,
                                                const Operation& operation);

 private:
  friend class Transfers;

  PeerLinks& links_;
  FailureWatch& watch_;
  TrafficCounters& traffic_;
  const std::vector<int> members_;
  const std::vector<int> hosts_;
};

// Messages of an algorithm that are under way together.
class Transfers {
 public:
  Transfers(PeerGroup& group, const Operation& operation) : group_(group), operation_(operation) {}

  void send(int peer, const void* data, std::size_t bytes);
  void receive(int peer, void* data, std::size_t bytes);
  // Adds one that the transport itself runs. Its bytes are not counted.
  void add(std::unique_ptr<PeerLinks::Transfer> transfer, int peer);
  // Until all have finished. Throws TransportError.
  void wait();

 private:
  struct Pending {
    std::unique_ptr<PeerLinks::Transfer> transfer;
    int peer = 0;
  };
  [[nodiscard]] bool done();
  [[noreturn]] void fail(const TransportError& error, int peer) const;

  PeerGroup& group_;
  const Operation& operation_;
  std::vector<Pending> pending_;
};

}  // namespace desta::runtime
