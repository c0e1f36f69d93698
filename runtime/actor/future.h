// The answer to a call, now or later.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/actor/messages.h"
#include "runtime/core/error.h"
#include "runtime/core/wire.h"

namespace desta::runtime {

class ActorSystem;

// The actor had max_pending_calls waiting when the call arrived.
class PendingCallsLimitExceeded : public Error {
 public:
  using Error::Error;
};

// The actor's constructor threw, or it failed more often than it may restart. Keeps the kind of
// the error that killed it.
class ActorDied : public Error {
 public:
  using Error::Error;
};

namespace detail {

struct FutureState {
  ActorSystem* system = nullptr;
  ActorAddress actor;
  std::string method;
  bool done = false;  // this and `reply` under the futures' one mutex
  Reply reply;
};

void fulfil(FutureState& state, Reply reply);
[[nodiscard]] bool is_done(const FutureState& state);
// False when `timeout` passed first; no timeout waits for ever. Throws InternalError when an actor
// waits for an answer of its own.
[[nodiscard]] bool wait_for(const FutureState& state,
                            std::optional<std::chrono::nanoseconds> timeout);
// Waits until one of them is done and returns its index.
[[nodiscard]] std::size_t wait_any(std::span<const FutureState* const> states);
// The packed result of a finished call, or its error thrown: the class that was thrown over there,
// its message followed by "(in actor stage/0, method run_step)".
[[nodiscard]] const std::string& result_of(const FutureState& state);
[[noreturn]] void throw_timeout(const FutureState& state, std::chrono::nanoseconds timeout);

// While it lives, references to actors that this thread unpacks belong to `system`.
class CurrentSystem {
 public:
  explicit CurrentSystem(ActorSystem* system);
  ~CurrentSystem();
  CurrentSystem(const CurrentSystem&) = delete;
  CurrentSystem& operator=(const CurrentSystem&) = delete;
  [[nodiscard]] static ActorSystem* get();

 private:
  ActorSystem* previous_;
};

}  // namespace detail

// Cheap to copy; copies share one answer. Must not outlive its ActorSystem.
template <typename R>
class [[nodiscard]] Future {
 public:
  using Result = R;
  explicit Future(std::shared_ptr<detail::FutureState> state) : state_(std::move(state)) {}

  [[nodiscard]] bool ready() const { return detail::is_done(*state_); }

  // Blocks until the answer is there. Throws what the actor threw (see detail::result_of).
  R get() const {
    (void)detail::wait_for(*state_, std::nullopt);
    return decode();
  }
  // As above; throws TransportError when there is no answer in time. It may be asked again.
  R get(std::chrono::nanoseconds timeout) const {
    if (!detail::wait_for(*state_, timeout)) {
      detail::throw_timeout(*state_, timeout);
    }
    return decode();
  }

  // The error of a finished call; empty when it has succeeded or is not finished.
  [[nodiscard]] std::optional<RemoteError> error() const {
    if (!ready() || state_->reply.status == detail::ReplyStatus::kOk) {
      return std::nullopt;
    }
    return state_->reply.error;
  }

  [[nodiscard]] const detail::FutureState& state() const { return *state_; }

 private:
  R decode() const {
    const std::string& bytes = detail::result_of(*state_);
    if constexpr (!std::is_void_v<R>) {
      const detail::CurrentSystem scope(state_->system);
      return unpack<R>(bytes);
    }
  }

  std::shared_ptr<detail::FutureState> state_;
};

// Blocks until one of the futures (a vector, a span) is done and returns its index. Not for an
// empty range.
template <std::ranges::sized_range Futures>
[[nodiscard]] std::size_t wait_any(const Futures& futures) {
  std::vector<const detail::FutureState*> states;
  for (const auto& future : futures) {
    states.push_back(&future.state());
  }
  return detail::wait_any(states);
}

// Blocks until all are done. Throws the first error as soon as it arrives, without waiting for
// the others, which may be waiting for the one that failed.
template <std::ranges::sized_range Futures>
void wait_all(const Futures& futures) {
  std::vector<const detail::FutureState*> states;
  for (const auto& future : futures) {
    states.push_back(&future.state());
  }
  while (!states.empty()) {
    const std::size_t done = detail::wait_any(states);
    (void)detail::result_of(*states[done]);
    states.erase(states.begin() + static_cast<std::ptrdiff_t>(done));
  }
}

// The results of all, in order; errors as for wait_all.
template <std::ranges::sized_range Futures>
[[nodiscard]] auto get_all(const Futures& futures) {
  wait_all(futures);
  std::vector<typename std::ranges::range_value_t<Futures>::Result> results;
  for (const auto& future : futures) {
    results.push_back(future.get());
  }
  return results;
}

}  // namespace desta::runtime
