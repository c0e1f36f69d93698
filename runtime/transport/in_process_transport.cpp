#include "runtime/transport/in_process_transport.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "runtime/core/error.h"

namespace desta::runtime {

class InProcessNetwork::Node : public Transport {
 public:
  Node(InProcessNetwork& network, int index) : network_(network), index_(index) {}
  ~Node() override { stop(); }

  [[nodiscard]] int node() const override { return index_; }
  [[nodiscard]] int node_count() const override { return static_cast<int>(network_.nodes_.size()); }
  void start(Handler handler) override {
    handler_ = std::move(handler);
    thread_ = std::thread([this] { run(); });
  }

  void stop() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  void send(Message message) override {
    const int to = message.to;
    send_by(to, std::move(message));
  }
  void send_by(int hop, Message message) override {
    if (hop < 0 || hop >= node_count()) {
      throw TransportError("there is no node {}: the job has {}", hop, node_count());
    }
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        throw TransportError("node {}: the transport is stopped", index_);
      }
    }
    network_.nodes_[static_cast<std::size_t>(hop)]->accept(std::move(message));
  }

 private:
  void accept(Message message) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(message));
    }
    wake_.notify_all();
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) {
        return;
      }
      Message message = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      handler_(std::move(message));
      lock.lock();
    }
  }

  InProcessNetwork& network_;
  const int index_;
  Handler handler_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Message> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

InProcessNetwork::InProcessNetwork(int nodes) {
  for (int index = 0; index < nodes; ++index) {
    nodes_.push_back(std::make_unique<Node>(*this, index));
  }
}

InProcessNetwork::~InProcessNetwork() {
  for (auto& node : nodes_) {
    node->stop();
  }
}

Transport& InProcessNetwork::node(int index) { return *nodes_.at(static_cast<std::size_t>(index)); }

}  // namespace desta::runtime
