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

  [[nodiscard]] std::string algorithm(std::size_t /*bytes*/) const override { return "local"; }
  [[nodiscard]] std::string algorithms() const override { return "local"; }

  [[nodiscard]] SharedBuffer allocate(std::size_t bytes) override {
    auto memory = std::make_shared<std::vector<std::byte>>(bytes + kPage);
    auto* const first = memory->data();
    const std::size_t skip = (kPage - reinterpret_cast<std::uintptr_t>(first) % kPage) % kPage;
    return {std::move(memory), {first + skip, bytes}};
  }

  using Communicator::all_reduce;
  void all_reduce(const void* source, void* destination, std::size_t count, DType dtype,
                  ReduceOp /*op*/) override {
    copy(source, destination, count, dtype);
  }
  void reduce_scatter(const void* source, void* destination, std::size_t count, DType dtype,
                      ReduceOp /*op*/) override {
    copy(source, destination, count, dtype);
  }
  void all_gather(const void* source, void* destination, std::size_t count, DType dtype) override {
    copy(source, destination, count, dtype);
  }
  void broadcast(void* /*data*/, std::size_t /*count*/, DType /*dtype*/, int root) override {
    check_peer(root);
  }
  void barrier() override {}

  [[nodiscard]] std::unique_ptr<Work> all_reduce_async(const void* source, void* destination,
                                                       std::size_t count, DType dtype,
                                                       ReduceOp /*op*/) override {
    return copied(source, destination, count, dtype);
  }
  [[nodiscard]] std::unique_ptr<Work> reduce_scatter_async(const void* source, void* destination,
                                                           std::size_t count, DType dtype,
                                                           ReduceOp /*op*/) override {
    return copied(source, destination, count, dtype);
  }
  [[nodiscard]] std::unique_ptr<Work> all_gather_async(const void* source, void* destination,
                                                       std::size_t count, DType dtype) override {
    return copied(source, destination, count, dtype);
  }
  [[nodiscard]] std::unique_ptr<Work> broadcast_async(void* data, std::size_t count, DType dtype,
                                                      int root) override {
    broadcast(data, count, dtype, root);
    return std::make_unique<FinishedWork>();
  }
  [[nodiscard]] std::unique_ptr<Work> barrier_async() override {
    return std::make_unique<FinishedWork>();
  }

  [[nodiscard]] std::unique_ptr<Work> receive_async(void* data, std::size_t bytes, int source,
                                                    int tag) override {
    receive(data, bytes, source, tag);
    return std::make_unique<FinishedWork>();
  }

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

  [[nodiscard]] std::optional<std::size_t> waiting_message(int source, int tag) override {
    check_peer(source);
    const std::lock_guard lock(mutex_);
    const auto waiting = messages_.find(tag);
    if (waiting == messages_.end() || waiting->second.empty()) {
      return std::nullopt;
    }
    return waiting->second.front().size();
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
  static constexpr std::size_t kPage = 4096;

  static void copy(const void* source, void* destination, std::size_t count, DType dtype) {
    if (source != destination && count > 0) {
      std::memcpy(destination, source, count * size_of(dtype));
    }
  }
  static std::unique_ptr<Work> copied(const void* source, void* destination, std::size_t count,
                                      DType dtype) {
    copy(source, destination, count, dtype);
    return std::make_unique<FinishedWork>();
  }
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
