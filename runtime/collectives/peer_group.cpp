#include "runtime/collectives/peer_group.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "runtime/collectives/wait_stages.h"

namespace desta::runtime {
namespace {

constexpr int kTag = 0;
constexpr std::chrono::microseconds kSleep{50};

}  // namespace

PeerGroup::PeerGroup(PeerLinks& links, FailureWatch& watch, TrafficCounters& traffic,
                     std::vector<int> members, std::vector<int> hosts)
    : links_(links),
      watch_(watch),
      traffic_(traffic),
      members_(std::move(members)),
      hosts_(std::move(hosts)) {}

std::vector<std::string> PeerGroup::gather(const std::string& mine, const Operation& operation) {
  const auto ranks = static_cast<std::size_t>(size());
  const auto own = static_cast<std::size_t>(rank());
  std::vector<std::uint64_t> sizes(ranks);
  sizes[own] = mine.size();
  Transfers counts(*this, operation);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank()) {
      counts.receive(peer, &sizes[static_cast<std::size_t>(peer)], sizeof(std::uint64_t));
      counts.send(peer, &sizes[own], sizeof(std::uint64_t));
    }
  }
  counts.wait();
  std::vector<std::string> all(ranks);
  all[own] = mine;
  Transfers texts(*this, operation);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank()) {
      std::string& text = all[static_cast<std::size_t>(peer)];
      text.resize(sizes[static_cast<std::size_t>(peer)]);
      texts.receive(peer, text.data(), text.size());
      texts.send(peer, all[own].data(), all[own].size());
    }
  }
  texts.wait();
  return all;
}

void Transfers::send(int peer, const void* data, std::size_t bytes) {
  try {
    add(group_.links_.send(peer, kTag, data, bytes), peer);
  } catch (const TransportError& error) {
    fail(error, peer);
  }
  group_.traffic_.sent += bytes;
  const auto host_of = [&](int one) {
    return group_.hosts_[static_cast<std::size_t>(group_.member(one))];
  };
  if (host_of(peer) != host_of(group_.rank())) {
    group_.traffic_.between_hosts += bytes;
  }
}

void Transfers::receive(int peer, void* data, std::size_t bytes) {
  try {
    add(group_.links_.receive(peer, kTag, data, bytes), peer);
  } catch (const TransportError& error) {
    fail(error, peer);
  }
  group_.traffic_.received += bytes;
}

void Transfers::add(std::unique_ptr<PeerLinks::Transfer> transfer, int peer) {
  pending_.push_back({std::move(transfer), peer});
}

void Transfers::fail(const TransportError& error, int peer) const {
  if (dynamic_cast<const LinkBroken*>(&error) != nullptr) {
    group_.watch_.fail_for(operation_, group_.member(peer), error.what());
  }
  throw TransportError("{}: {}", operation_.text(), error.what());
}

bool Transfers::done() {
  std::erase_if(pending_, [this](const Pending& one) {
    try {
      return one.transfer->done();
    } catch (const TransportError& error) {
      fail(error, one.peer);
    }
  });
  return pending_.empty();
}

void Transfers::wait() {
  if (done()) {
    return;
  }
  const auto start = FailureWatch::Clock::now();
  while (!done()) {
    const auto waited = FailureWatch::Clock::now() - start;
    if (waited < kSpin) {
      continue;
    }
    if (waited < kYield) {
      sched_yield();
      continue;
    }
    group_.watch_.check(operation_, start, group_.member(pending_.front().peer));
    std::this_thread::sleep_for(kSleep);
  }
}

}  // namespace desta::runtime
