#include "thread_links.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>

#include "runtime/core/error.h"

namespace desta::runtime::testing {
namespace {

// What the ranks of one group of links share.
struct Hub {
  explicit Hub(int ranks) : ranks(ranks), notices(static_cast<std::size_t>(ranks)) {}

  const int ranks;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::tuple<int, int, int>, std::deque<std::vector<std::byte>>> mail;  // from, to, tag
  std::vector<std::deque<PeerLinks::Received>> notices;
  // The splits, in their order: each rank's colour, then a hub for each colour.
  struct Split {
    std::map<int, int> colors;
    std::map<int, std::shared_ptr<Hub>> hubs;
  };
  std::vector<Split> splits;
};

class Sent : public PeerLinks::Transfer {
 public:
  [[nodiscard]] bool done() override { return true; }
};

class Receiving : public PeerLinks::Transfer {
 public:
  Receiving(Hub& hub, std::tuple<int, int, int> key, void* data, std::size_t bytes)
      : hub_(hub), key_(key), data_(data), bytes_(bytes) {}

  [[nodiscard]] bool done() override {
    if (done_) {
      return true;
    }
    const std::lock_guard lock(hub_.mutex);
    auto& box = hub_.mail[key_];
    if (box.empty()) {
      return false;
    }
    const std::vector<std::byte> message = std::move(box.front());
    box.pop_front();
    if (message.size() != bytes_) {
      throw TransportError("the message of rank {} has {} bytes, not the {} expected",
                           std::get<0>(key_), message.size(), bytes_);
    }
    if (bytes_ > 0) {
      std::memcpy(data_, message.data(), bytes_);
    }
    done_ = true;
    return true;
  }

 private:
  Hub& hub_;
  const std::tuple<int, int, int> key_;
  void* const data_;
  const std::size_t bytes_;
  bool done_ = false;
};

class ThreadLinks : public PeerLinks {
 public:
  ThreadLinks(std::shared_ptr<Hub> hub, int rank) : hub_(std::move(hub)), rank_(rank) {}

  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return hub_->ranks; }

  [[nodiscard]] std::unique_ptr<Transfer> send(int peer, int tag, const void* data,
                                               std::size_t bytes) override {
    const auto* first = static_cast<const std::byte*>(data);
    const std::lock_guard lock(hub_->mutex);
    hub_->mail[{rank_, peer, tag}].emplace_back(first, first + bytes);
    return std::make_unique<Sent>();
  }
  [[nodiscard]] std::unique_ptr<Transfer> receive(int peer, int tag, void* data,
                                                  std::size_t bytes) override {
    return std::make_unique<Receiving>(*hub_, std::tuple(peer, rank_, tag), data, bytes);
  }
  [[nodiscard]] std::optional<std::size_t> waiting_message(int peer, int tag) override {
    const std::lock_guard lock(hub_->mutex);
    const auto& box = hub_->mail[{peer, rank_, tag}];
    return box.empty() ? std::nullopt : std::optional(box.front().size());
  }
  [[nodiscard]] std::unique_ptr<Transfer> native_all_reduce(const void*, void*, std::size_t, DType,
                                                            ReduceOp) override {
    return nullptr;
  }

  void notify(int peer, Notice notice) override {
    const std::lock_guard lock(hub_->mutex);
    hub_->notices[static_cast<std::size_t>(peer)].push_back({rank_, notice});
  }
  [[nodiscard]] std::optional<Received> next_notice() override {
    const std::lock_guard lock(hub_->mutex);
    auto& waiting = hub_->notices[static_cast<std::size_t>(rank_)];
    if (waiting.empty()) {
      return std::nullopt;
    }
    const Received first = waiting.front();
    waiting.pop_front();
    return first;
  }

  [[nodiscard]] std::unique_ptr<PeerLinks> split(int color) override {
    std::unique_lock lock(hub_->mutex);
    const std::size_t number = splits_++;
    hub_->splits.resize(std::max(hub_->splits.size(), number + 1));
    hub_->splits[number].colors[rank_] = color;
    hub_->changed.notify_all();
    hub_->changed.wait(lock, [&] {
      return hub_->splits[number].colors.size() == static_cast<std::size_t>(hub_->ranks);
    });
    Hub::Split& split = hub_->splits[number];
    int place = 0;
    int members = 0;
    for (const auto& [rank, other] : split.colors) {
      place += other == color && rank < rank_ ? 1 : 0;
      members += other == color ? 1 : 0;
    }
    auto& hub = split.hubs[color];
    if (hub == nullptr) {
      hub = std::make_shared<Hub>(members);
    }
    return std::make_unique<ThreadLinks>(hub, place);
  }

 private:
  const std::shared_ptr<Hub> hub_;
  const int rank_;
  std::size_t splits_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<PeerLinks>> make_thread_links(int ranks) {
  const auto hub = std::make_shared<Hub>(ranks);
  std::vector<std::unique_ptr<PeerLinks>> links;
  for (int rank = 0; rank < ranks; ++rank) {
    links.push_back(std::make_unique<ThreadLinks>(hub, rank));
  }
  return links;
}

}  // namespace desta::runtime::testing
