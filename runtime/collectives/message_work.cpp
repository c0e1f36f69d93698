#include "runtime/collectives/message_work.h"

#include <thread>
#include <utility>

#include "runtime/collectives/wait_stages.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

constexpr std::chrono::microseconds kSleep{50};

class MessageWork : public Work {
 public:
  MessageWork(Operation operation, FailureWatch& watch,
              std::unique_ptr<PeerLinks::Transfer> transfer)
      : operation_(operation), watch_(watch), transfer_(std::move(transfer)) {}
  ~MessageWork() override {
    try {
      if (!ended_) {
        wait();
      }
    } catch (const Error& error) {
      log().error("{}", error.what());
    }
  }
  MessageWork(const MessageWork&) = delete;
  MessageWork& operator=(const MessageWork&) = delete;

  [[nodiscard]] bool done() override {
    if (ended_) {
      return true;
    }
    try {
      ended_ = transfer_->done();
    } catch (const TransportError& error) {
      ended_ = true;
      throw TransportError("{}: {}", operation_.text(), error.what());
    }
    return ended_;
  }

  void wait() override {
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
      try {
        watch_.check_message(operation_, start, operation_.peer);
      } catch (...) {
        ended_ = true;
        throw;
      }
      std::this_thread::sleep_for(kSleep);
    }
  }

 private:
  const Operation operation_;
  FailureWatch& watch_;
  const std::unique_ptr<PeerLinks::Transfer> transfer_;
  bool ended_ = false;  // well or not
};

}  // namespace

std::unique_ptr<Work> make_message_work(Operation operation, FailureWatch& watch,
                                        std::unique_ptr<PeerLinks::Transfer> transfer) {
  return std::make_unique<MessageWork>(operation, watch, std::move(transfer));
}

}  // namespace desta::runtime
