#include "runtime/actor/future.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "runtime/actor/actor_cell.h"

namespace desta::runtime::detail {
namespace {

// One mutex and one condition for all futures of the process: answers are few and small, and a
// wait for any of several needs no more than this.
struct Board {
  std::mutex mutex;
  std::condition_variable changed;
};

Board& board() {
  static Board instance;
  return instance;
}

thread_local ActorSystem* current_system = nullptr;

void check_not_self(const FutureState& state) {
  const ActorContext* self = current_actor_or_null();
  if (self != nullptr && self->system == state.system && self->id == state.actor.id &&
      !state.done) {
    throw InternalError("actor {} waits for its own method {}, which can only start after it",
                        state.actor.name, state.method);
  }
}

}  // namespace

void fulfil(FutureState& state, Reply reply) {
  {
    const std::lock_guard lock(board().mutex);
    state.reply = std::move(reply);
    state.done = true;
  }
  board().changed.notify_all();
}

bool is_done(const FutureState& state) {
  const std::lock_guard lock(board().mutex);
  return state.done;
}

bool wait_for(const FutureState& state, std::optional<std::chrono::nanoseconds> timeout) {
  std::unique_lock lock(board().mutex);
  check_not_self(state);
  const auto done = [&state] { return state.done; };
  if (timeout.has_value()) {
    return board().changed.wait_for(lock, *timeout, done);
  }
  board().changed.wait(lock, done);
  return true;
}

std::size_t wait_any(std::span<const FutureState* const> states) {
  if (states.empty()) {
    throw InternalError("wait_any was given no futures: it would wait for ever");
  }
  std::unique_lock lock(board().mutex);
  std::size_t index = states.size();
  board().changed.wait(lock, [&] {
    const auto found = std::ranges::find_if(states, [](const auto* state) { return state->done; });
    index = static_cast<std::size_t>(found - states.begin());
    return index < states.size();
  });
  return index;
}

const std::string& result_of(const FutureState& state) {
  const RemoteError& error = state.reply.error;
  const auto message = [&] {
    return fmt::format("{} (in actor {}, method {})", error.message, state.actor.name,
                       state.method);
  };
  switch (state.reply.status) {
    case ReplyStatus::kOk:
      break;
    case ReplyStatus::kFailed:
      throw_error(error.kind, message());
    case ReplyStatus::kPendingLimit:
      throw PendingCallsLimitExceeded(message(), error.kind);
    case ReplyStatus::kActorDied:
      throw ActorDied(message(), error.kind);
  }
  return state.reply.result;
}

void throw_timeout(const FutureState& state, std::chrono::nanoseconds timeout) {
  throw TransportError("actor {} on node {} has not answered method {} within {} s",
                       state.actor.name, state.actor.node, state.method,
                       std::chrono::duration<double>(timeout).count());
}

CurrentSystem::CurrentSystem(ActorSystem* system) : previous_(current_system) {
  current_system = system;
}

CurrentSystem::~CurrentSystem() { current_system = previous_; }

ActorSystem* CurrentSystem::get() { return current_system; }

}  // namespace desta::runtime::detail
