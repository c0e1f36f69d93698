#include "runtime/transport/mpi_transport.h"

#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "runtime/core/log.h"
#include "runtime/transport/doorbell.h"
#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kHeadTag = 1;    // envelope and body
constexpr int kBufferTag = 2;  // the buffers, in order
constexpr int kLastTag = 3;    // nothing comes after this
// Messages of this size are received on the stack.
constexpr std::size_t kSmall = 4096;
// MPI counts in int: larger buffers go in parts.
constexpr std::size_t kPart = std::size_t{1} << 30;
// How long the standby thread looks on after a ring and after each message.
constexpr std::chrono::microseconds kLookOn{100};
// The pause between two looks at a transfer that takes longer.
constexpr std::chrono::microseconds kTransferPause{20};
// How long the place at the bell stays free for a thread that does short work in between.
constexpr std::chrono::milliseconds kLeaveToWorkers{1};
// How long stop() waits for peers to take what was sent to them.
constexpr std::chrono::seconds kFlushTimeout{10};

struct Envelope {
  std::int32_t from;
  std::int32_t to;
  std::uint64_t buffers;  // followed by the size of each, then the body
};

// Bytes on their way out.
struct Outgoing {
  int node = 0;
  std::size_t bytes = 0;
  std::string head;
  std::vector<Buffer> buffers;
  std::vector<MPI_Request> requests;
};

// A message whose buffers are on their way in.
struct Incoming {
  Message message;
  std::vector<BufferBuilder> builders;
  std::vector<MPI_Request> requests;
};

bool all_done(std::vector<MPI_Request>& requests) {
  int done = 1;
  if (!requests.empty()) {
    check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done,
                          MPI_STATUSES_IGNORE),
              "looking after a transfer");
  }
  return done != 0;
}

class MpiTransport : public Transport {
 public:
  explicit MpiTransport(const MpiEnvironment& environment)
      : node_(environment.rank()),
        node_count_(environment.size()),
        bell_(environment),
        send_mutexes_(static_cast<std::size_t>(node_count_)),
        backlog_(static_cast<std::size_t>(node_count_)),
        incoming_(static_cast<std::size_t>(node_count_)) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &communicator_), "making the control communicator");
    MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  }

  ~MpiTransport() override {
    stop();
    if (std::uncaught_exceptions() == 0 && mpi_is_live() && drain()) {
      MPI_Comm_free(&communicator_);
    }
  }

  [[nodiscard]] int node() const override { return node_; }
  [[nodiscard]] int node_count() const override { return node_count_; }

  void start(Handler handler) override {
    handler_ = std::move(handler);
    standby_ = std::thread([this] { stand_by(); });
  }

  void stop() override {
    {
      const std::lock_guard lock(bed_mutex_);
      stopping_ = true;
    }
    bell_.ring_here();
    bed_changed_.notify_all();
    if (standby_.joinable()) {
      standby_.join();
      flush();
    }
  }

  void send(Message message) override {
    const int to = message.to;
    send_by(to, std::move(message));
  }

  void send_by(int hop, Message message) override {
    if (hop < 0 || hop >= node_count_) {
      throw TransportError("there is no node {}: the job has {}", hop, node_count_);
    }
    if (stopping_) {
      throw TransportError("node {}: the transport is stopped", node_);
    }
    Outgoing out;
    out.node = hop;
    out.bytes = message.bytes();
    out.head = make_head(message);
    out.buffers = std::move(message.buffers);
    const auto peer = static_cast<std::size_t>(out.node);
    // A sleeper gets up while the message is on its way, and is rung again should it have been
    // quicker: MPI's first send after a pause takes as long as the waking (100 us and 60 us, measured).
    bell_.ring(out.node);
    bool done = false;
    {
      const std::lock_guard lock(send_mutexes_[peer]);
      post(out);
      done = all_done(out.requests);
    }
    bell_.ring(out.node);
    if (!done) {
      backlog_[peer] += out.bytes;
      {
        const std::lock_guard lock(outgoing_mutex_);
        outgoing_.push_back(std::move(out));
        ++transfers_;
      }
      if (!bell_.is_awake()) {
        bell_.ring_here();
      }
    }
  }

  [[nodiscard]] std::size_t backlog(int node) const override {
    return node < 0 || node >= node_count_ ? 0 : backlog_[static_cast<std::size_t>(node)].load();
  }

  bool try_attend() override {
    if (attended_.load(std::memory_order_relaxed) || attended_.exchange(true)) {
      wanted_.store(true, std::memory_order_relaxed);
      return false;
    }
    bell_.set_awake(true);
    return true;
  }

  bool poll() override {
    try {
      bool handled = finish_receives();
      for (bool more = receive_one(); more; more = receive_one()) {
        handled = true;
      }
      finish_sends();
      return handled;
    } catch (const std::exception& error) {
      log().error("the messages of node {} failed: {}", node_, error.what());
      MpiEnvironment::abort_job(kExitFailure);
    }
  }

  Slept try_sleep() override {
    std::unique_lock lock(bed_mutex_);
    if (worker_sleeps_ || stopping_) {
      return Slept::kNo;
    }
    worker_sleeps_ = true;
    if (standby_sleeps_) {
      bell_.ring_here();
      bed_changed_.wait(lock, [this] { return !standby_sleeps_; });
    }
    lock.unlock();
    const bool rung = bell_.sleep();
    lock.lock();
    worker_sleeps_ = false;
    bed_changed_.notify_all();
    return rung ? Slept::kRung : Slept::kInVain;
  }

  void wake() override { bell_.ring_here(); }

  void leave() override {
    bell_.set_awake(false);
    // What came before others could see that nobody looks. Twice: Open MPI's probe takes in what
    // arrived only after it has found nothing.
    poll();
    poll();
    const bool transfers = transfers_ > 0;
    attended_ = false;
    if (transfers) {
      bell_.ring_here();
    }
  }

 private:
  static std::string make_head(const Message& message) {
    const Envelope envelope{message.from, message.to, message.buffers.size()};
    std::string head(sizeof(envelope) + message.buffers.size() * sizeof(std::uint64_t) +
                         message.body.size(),
                     '\0');
    char* at = head.data();
    std::memcpy(at, &envelope, sizeof(envelope));
    at += sizeof(envelope);
    for (const Buffer& buffer : message.buffers) {
      const std::uint64_t size = buffer.size();
      std::memcpy(at, &size, sizeof(size));
      at += sizeof(size);
    }
    std::memcpy(at, message.body.data(), message.body.size());
    if (head.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      throw TransportError("a message of {} bytes to node {} is over 2 GiB: put what is large into a "
                           "Buffer",
                           head.size(), message.to);
    }
    return head;
  }

  // Small sends are complete when this returns.
  void post(Outgoing& out) {
    const auto what = [&] { return fmt::format("sending to node {}", out.node); };
    check_mpi(MPI_Isend(out.head.data(), static_cast<int>(out.head.size()), MPI_BYTE, out.node,
                        kHeadTag, communicator_, &out.requests.emplace_back()),
              what());
    for (const Buffer& buffer : out.buffers) {
      for (std::size_t at = 0; at < buffer.size(); at += kPart) {
        check_mpi(MPI_Isend(buffer.data() + at,
                            static_cast<int>(std::min(kPart, buffer.size() - at)), MPI_BYTE,
                            out.node, kBufferTag, communicator_, &out.requests.emplace_back()),
                  what());
      }
    }
  }

  bool receive_one() {
    int found = 0;
    MPI_Message handle = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kHeadTag, communicator_, &found, &handle, &status),
              "looking for messages");
    if (found == 0) {
      return false;
    }
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    char small[kSmall];
    std::string large;
    char* head = small;
    if (static_cast<std::size_t>(bytes) > kSmall) {
      large.resize(static_cast<std::size_t>(bytes));
      head = large.data();
    }
    check_mpi(MPI_Mrecv(head, bytes, MPI_BYTE, &handle, MPI_STATUS_IGNORE),
              fmt::format("receiving from node {}", status.MPI_SOURCE));
    accept(status.MPI_SOURCE, {head, static_cast<std::size_t>(bytes)});
    return true;
  }

  void accept(int source, std::string_view head) {
    Envelope envelope;
    std::memcpy(&envelope, head.data(), sizeof(envelope));
    head.remove_prefix(sizeof(envelope));
    Incoming incoming;
    incoming.message.from = envelope.from;
    incoming.message.to = envelope.to;
    for (std::uint64_t index = 0; index < envelope.buffers; ++index) {
      std::uint64_t size = 0;
      std::memcpy(&size, head.data(), sizeof(size));
      head.remove_prefix(sizeof(size));
      BufferBuilder& builder = incoming.builders.emplace_back(size);
      for (std::size_t at = 0; at < size; at += kPart) {
        check_mpi(MPI_Irecv(builder.bytes().data() + at,
                            static_cast<int>(std::min<std::size_t>(kPart, size - at)), MPI_BYTE,
                            source, kBufferTag, communicator_, &incoming.requests.emplace_back()),
                  fmt::format("receiving from node {}", source));
      }
    }
    incoming.message.body = head;
    auto& queue = incoming_[static_cast<std::size_t>(source)];
    if (queue.empty() && incoming.builders.empty()) {
      handler_(std::move(incoming.message));
    } else {
      queue.push_back(std::move(incoming));
      ++transfers_;
      ++arriving_;
      finish_receives();
    }
  }

  // Hands on what is whole, in the order of each peer.
  bool finish_receives() {
    bool handled = false;
    if (arriving_ == 0) {
      return false;
    }
    for (auto& queue : incoming_) {
      while (!queue.empty() && all_done(queue.front().requests)) {
        Incoming whole = std::move(queue.front());
        queue.pop_front();
        --transfers_;
        --arriving_;
        for (BufferBuilder& builder : whole.builders) {
          whole.message.buffers.push_back(std::move(builder).finish());
        }
        handler_(std::move(whole.message));
        handled = true;
      }
    }
    return handled;
  }

  void finish_sends() {
    if (transfers_ == 0) {
      return;
    }
    std::list<Outgoing> finished;  // buffers are let go of outside of the lock
    const std::lock_guard lock(outgoing_mutex_);
    for (auto out = outgoing_.begin(); out != outgoing_.end();) {
      const auto next = std::next(out);
      if (all_done(out->requests)) {
        backlog_[static_cast<std::size_t>(out->node)] -= out->bytes;
        finished.splice(finished.end(), outgoing_, out);
        --transfers_;
      }
      out = next;
    }
  }

  void stand_by() {
    while (wait_for_turn()) {
      const bool rung = bell_.sleep();
      {
        const std::lock_guard lock(bed_mutex_);
        standby_sleeps_ = false;
      }
      bed_changed_.notify_all();
      bool attends = try_attend();
      // Whoever looks is about to stop looking, or has it all in hand.
      while (!attends && !bell_.is_awake()) {
        std::this_thread::yield();
        attends = try_attend();
      }
      if (attends && rung) {
        look_on();
      } else if (attends) {
        leave();  // which looks
      }
    }
  }

  // The standby thread sleeps at the bell when no thread of the system has done so for a while:
  // they are all busy then. False when it is to end.
  bool wait_for_turn() {
    std::unique_lock lock(bed_mutex_);
    while (!stopping_) {
      bed_changed_.wait(lock, [this] { return stopping_ || !worker_sleeps_; });
      if (!bed_changed_.wait_for(lock, kLeaveToWorkers,
                                 [this] { return stopping_ || worker_sleeps_; })) {
        standby_sleeps_ = true;
        return true;
      }
    }
    return false;
  }

  void look_on() {
    wanted_ = false;
    auto now = Clock::now();
    auto until = now + kLookOn;
    // Another thread that has nothing else to do is welcome to take over.
    while (!wanted_ && !stopping_) {
      if (poll()) {
        until = Clock::now() + kLookOn;
        continue;
      }
      now = Clock::now();
      if (now >= until) {
        if (transfers_ == 0) {
          break;
        }
        std::this_thread::sleep_for(kTransferPause);
      }
    }
    leave();
  }

  // Takes in what was sent here and nobody read, up to the last word of each peer: what is still
  // under way when a communicator is freed is found by the next one that gets its number. False when
  // some peer has not said its last word in time.
  bool drain() {
    std::vector<MPI_Request> last_words(static_cast<std::size_t>(node_count_));
    for (int peer = 0; peer < node_count_; ++peer) {
      MPI_Isend(nullptr, 0, MPI_BYTE, peer, kLastTag, communicator_,
                &last_words[static_cast<std::size_t>(peer)]);
    }
    std::vector<char> unread;
    int heard = 0;
    const auto deadline = Clock::now() + kFlushTimeout;
    while (heard < node_count_ && Clock::now() < deadline) {
      int found = 0;
      MPI_Message handle = MPI_MESSAGE_NULL;
      MPI_Status status;
      MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, communicator_, &found, &handle, &status);
      if (found == 0) {
        std::this_thread::sleep_for(kTransferPause);
        continue;
      }
      int bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      unread.resize(static_cast<std::size_t>(bytes));
      MPI_Mrecv(unread.data(), bytes, MPI_BYTE, &handle, MPI_STATUS_IGNORE);
      heard += status.MPI_TAG == kLastTag ? 1 : 0;
    }
    return heard == node_count_ && all_done(last_words);
  }

  // Gives peers time to take what was sent.
  void flush() {
    const auto deadline = Clock::now() + kFlushTimeout;
    while (true) {
      finish_sends();
      {
        const std::lock_guard lock(outgoing_mutex_);
        if (outgoing_.empty() || Clock::now() > deadline) {
          return;
        }
      }
      std::this_thread::sleep_for(kTransferPause);
    }
  }

  const int node_;
  const int node_count_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  Doorbell bell_;
  Handler handler_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> attended_ = false;
  std::atomic<bool> wanted_ = false;

  std::vector<std::mutex> send_mutexes_;  // a message's head and buffers stay together
  std::vector<std::atomic<std::size_t>> backlog_;
  std::mutex outgoing_mutex_;
  std::list<Outgoing> outgoing_;
  std::atomic<int> transfers_ = 0;  // of both kinds that are under way

  std::vector<std::deque<Incoming>> incoming_;  // by peer; whoever attends
  int arriving_ = 0;
  std::thread standby_;
  std::mutex bed_mutex_;  // who sleeps at the bell
  std::condition_variable bed_changed_;
  bool worker_sleeps_ = false;
  bool standby_sleeps_ = false;
};

}  // namespace

std::unique_ptr<Transport> make_mpi_transport(const MpiEnvironment& environment) {
  return std::make_unique<MpiTransport>(environment);
}

}  // namespace desta::runtime
