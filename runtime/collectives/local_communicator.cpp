#include "runtime/collectives/local_communicator.h"

#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

class FinishedWork : public Work {
 public:
  [[nodiscard]] bool done() override { return true; }
  void wait() override {}
};

class LocalCommunicator : public Communicator {
 public:
  [[nodiscard]] int rank() const override { return 0; }
  [[nodiscard]] int size() const override { return 1; }
  [[nodiscard]] std::string_view backend() const override { return "local"; }
  [[nodiscard]] Traffic traffic() const override { return {}; }

  void all_reduce(void* /*data*/, std::size_t /*count*/, DType /*dtype*/,
                  ReduceOp /*op*/) override {}
  void broadcast(void* /*data*/, std::size_t /*count*/, DType /*dtype*/, int root) override {
    check_peer(root);
  }
  void barrier() override {}

  void receive(void* data, std::size_t bytes, int source, int tag) override {
    check_peer(source);
    const std::lock_guard lock(mutex_);
    auto& waiting = messages_[tag];
    if (waiting.empty()) {
      throw TransportError(
          "receive of {} bytes from rank 0 (tag {}): the only rank has sent nothing with this tag",
          bytes, tag);
    }
    const std::vector<std::byte> message = std::move(waiting.front());
    waiting.pop_front();
    if (message.size() != bytes) {
      throw TransportError("receive of {} bytes from rank 0 (tag {}): the message has {} bytes",
                           bytes, tag, message.size());
    }
    if (bytes > 0) {
      std::memcpy(data, message.data(), bytes);
    }
  }

  [[nodiscard]] std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                 int destination, int tag) override {
    check_peer(destination);
    const auto* first = static_cast<const std::byte*>(data);
    const std::lock_guard lock(mutex_);
    messages_[tag].emplace_back(first, first + bytes);
    return std::make_unique<FinishedWork>();
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(int /*color*/) override {
    return std::make_unique<LocalCommunicator>();
  }

 private:
  static void check_peer(int peer) {
    if (peer != 0) {
      throw TransportError("there is no rank {}: this communicator has only rank 0", peer);
    }
  }

  std::mutex mutex_;
  std::map<int, std::deque<std::vector<std::byte>>> messages_;
};

}  // namespace

std::unique_ptr<Communicator> make_local_communicator() {
  return std::make_unique<LocalCommunicator>();
}

}  // namespace desta::runtime
