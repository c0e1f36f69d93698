#include "runtime/transport/mpi_transport.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <limits>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "runtime/core/log.h"
#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

using std::chrono::microseconds;

constexpr int kTag = 1;
constexpr microseconds kShortestSleep{20};
constexpr microseconds kLongestSleep{500};
// Idle rounds at the shortest sleep before it doubles: an answer often follows at once.
constexpr int kEagerRounds = 25;
// How long stop() waits for peers to take what was sent to them.
constexpr std::chrono::seconds kFlushTimeout{10};

class MpiTransport : public Transport {
 public:
  explicit MpiTransport(const MpiEnvironment& environment)
      : node_(environment.rank()), node_count_(environment.size()) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &communicator_), "making the control communicator");
    MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  }

  ~MpiTransport() override {
    stop();
    if (std::uncaught_exceptions() == 0 && mpi_is_live()) {
      MPI_Comm_free(&communicator_);
    }
  }

  [[nodiscard]] int node() const override { return node_; }
  [[nodiscard]] int node_count() const override { return node_count_; }
  void set_handler(Handler handler) override { handler_ = std::move(handler); }
  void start() override {
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

  void send(int node, Message message) override {
    if (node < 0 || node >= node_count_) {
      throw TransportError("there is no node {}: the job has {}", node, node_count_);
    }
    if (message.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      throw TransportError(
          "a control message of {} bytes to node {} is over 2 GiB; tensors go over a "
          "communicator",
          message.size(), node);
    }
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        throw TransportError("node {}: the transport is stopped", node_);
      }
      outbox_.emplace_back(node, std::move(message));
    }
    wake_.notify_all();
  }

 private:
  struct Outgoing {
    Message message;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void run() {
    try {
      microseconds sleep = kShortestSleep;
      int idle_rounds = 0;
      while (true) {
        const bool sent = start_sends();
        const bool received = receive_one();
        finish_sends();
        if (sent || received) {
          idle_rounds = 0;
          sleep = kShortestSleep;
          continue;
        }
        std::unique_lock lock(mutex_);
        if (stopping_ && outbox_.empty()) {
          break;
        }
        wake_.wait_for(lock, sleep, [this] { return !outbox_.empty() || stopping_; });
        if (++idle_rounds > kEagerRounds) {
          sleep = std::min(sleep * 2, kLongestSleep);
        }
      }
      flush();
    } catch (const std::exception& error) {
      log().error("the control plane of node {} failed: {}", node_, error.what());
      MpiEnvironment::abort_job(kExitFailure);
    }
  }

  bool start_sends() {
    std::deque<std::pair<int, Message>> batch;
    {
      const std::lock_guard lock(mutex_);
      batch.swap(outbox_);
    }
    for (auto& [node, message] : batch) {
      Outgoing& out = in_flight_.emplace_back(Outgoing{std::move(message)});
      check_mpi(MPI_Isend(out.message.data(), static_cast<int>(out.message.size()), MPI_BYTE, node,
                          kTag, communicator_, &out.request),
                fmt::format("sending to node {}", node));
    }
    return !batch.empty();
  }

  bool receive_one() {
    int found = 0;
    MPI_Message handle = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kTag, communicator_, &found, &handle, &status),
              "looking for messages");
    if (found == 0) {
      return false;
    }
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    Message message(static_cast<std::size_t>(bytes));
    check_mpi(MPI_Mrecv(message.data(), bytes, MPI_BYTE, &handle, MPI_STATUS_IGNORE),
              fmt::format("receiving from node {}", status.MPI_SOURCE));
    handler_(status.MPI_SOURCE, std::move(message));
    return true;
  }

  void finish_sends() {
    for (auto out = in_flight_.begin(); out != in_flight_.end();) {
      int done = 0;
      check_mpi(MPI_Test(&out->request, &done, MPI_STATUS_IGNORE), "finishing a send");
      out = done != 0 ? in_flight_.erase(out) : std::next(out);
    }
  }

  void flush() {
    const auto deadline = std::chrono::steady_clock::now() + kFlushTimeout;
    while (!in_flight_.empty() && std::chrono::steady_clock::now() < deadline) {
      finish_sends();
      std::this_thread::sleep_for(kShortestSleep);
    }
  }

  const int node_;
  const int node_count_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  Handler handler_;
  std::list<Outgoing> in_flight_;  // the thread's own

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<int, Message>> outbox_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(const MpiEnvironment& environment) {
  return std::make_unique<MpiTransport>(environment);
}

}  // namespace desta::runtime
