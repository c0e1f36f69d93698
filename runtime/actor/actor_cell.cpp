#include "runtime/actor/actor_cell.h"

#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

#include "runtime/actor/future.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

thread_local const ActorContext* this_actor = nullptr;

}  // namespace

const ActorContext& current_actor() {
  if (this_actor == nullptr) {
    throw InternalError("current_actor() was asked outside of an actor");
  }
  return *this_actor;
}

namespace detail {
namespace {

// The error in flight.
RemoteError describe_current_exception(const std::string& actor, const std::string& method) {
  try {
    throw;
  } catch (const Error& error) {
    return {error.kind(), error.what(), actor, method};
  } catch (const std::exception& error) {
    return {ErrorKind::kInternal, error.what(), actor, method};
  } catch (...) {
    return {ErrorKind::kInternal, "something that is no std::exception was thrown", actor, method};
  }
}

}  // namespace

const ActorContext* current_actor_or_null() { return this_actor; }

ActorCell::ActorCell(ActorSystem& system, SpawnRequest request, const ActorType& type)
    : request_(std::move(request)),
      type_(type),
      context_{&system, request_.address.name, request_.address.id},
      keep_open_(mailbox_.get_executor()) {
  info_.name = request_.address.name;
  info_.type = type.name;
  info_.node = request_.address.node;
  boost::asio::post(mailbox_, [this] { construct(); });
  thread_ = std::thread([this] {
    this_actor = &context_;
    const CurrentSystem scope(context_.system);
    mailbox_.run();
    actor_.reset();
  });
}

ActorCell::~ActorCell() { stop(); }

void ActorCell::construct() {
  try {
    actor_ = type_.construct(request_.arguments);
    set_state(ActorState::kIdle);
  } catch (...) {
    die(describe_current_exception(request_.address.name, "constructor"));
  }
}

void ActorCell::call(CallRequest call, Respond respond) {
  if (pending_.fetch_add(1) >= request_.max_pending_calls) {
    --pending_;
    respond({ReplyStatus::kPendingLimit,
             "",
             {ErrorKind::kInternal,
              fmt::format("PendingCallsLimitExceeded: {} calls wait already, the limit of "
                          "max_pending_calls; wait for answers before calling on",
                          request_.max_pending_calls),
              request_.address.name, call.method}});
    return;
  }
  boost::asio::post(mailbox_, [this, call = std::move(call), respond = std::move(respond)] {
    run(call, respond);
  });
}

void ActorCell::run(const CallRequest& call, const Respond& respond) {
  Reply reply;
  if (actor_ == nullptr) {
    reply.status = ReplyStatus::kActorDied;
    reply.error = death_;
    reply.error.message =
        fmt::format("the actor died in its {}: {}", death_.method, death_.message);
  } else if (stopping_) {
    reply.status = ReplyStatus::kFailed;
    reply.error = {ErrorKind::kTransport, "the actor system is shutting down",
                   request_.address.name, call.method};
  } else if (!call.method.empty()) {
    set_state(ActorState::kBusy);
    try {
      const auto method = type_.methods.find(call.method);
      if (method == type_.methods.end()) {
        throw InternalError("actor type '{}' has no such method on node {}", type_.name,
                            request_.address.node);
      }
      reply.result = method->second(actor_.get(), call.arguments);
    } catch (...) {
      reply.status = ReplyStatus::kFailed;
      reply.error = describe_current_exception(request_.address.name, call.method);
    }
    {
      const std::lock_guard lock(mutex_);
      info_.state = ActorState::kIdle;
      ++info_.calls;
      info_.failures += reply.status == ReplyStatus::kOk ? 0 : 1;
    }
    if (reply.status != ReplyStatus::kOk && request_.max_restarts > 0) {
      after_failure(reply.error);
    }
  }
  --pending_;
  respond(std::move(reply));
}

void ActorCell::after_failure(const RemoteError& error) {
  {
    const std::lock_guard lock(mutex_);
    if (info_.restarts < static_cast<std::uint64_t>(request_.max_restarts)) {
      ++info_.restarts;
      info_.state = ActorState::kRestarting;
    }
  }
  if (describe().state != ActorState::kRestarting) {
    die(error);
    return;
  }
  log().warn("actor {} starts anew after: {}", request_.address.name, error.message);
  actor_.reset();
  construct();
}

void ActorCell::stop() {
  stopping_ = true;
  keep_open_.reset();
  if (thread_.joinable()) {
    thread_.join();
  }
}

ActorInfo ActorCell::describe() const {
  const std::lock_guard lock(mutex_);
  ActorInfo info = info_;
  info.pending = static_cast<std::uint64_t>(pending_.load());
  return info;
}

void ActorCell::set_state(ActorState state) {
  const std::lock_guard lock(mutex_);
  info_.state = state;
}

void ActorCell::die(RemoteError cause) {
  actor_.reset();
  death_ = std::move(cause);
  log().error("actor {} died in its {}: {}", request_.address.name, death_.method, death_.message);
  const std::lock_guard lock(mutex_);
  info_.state = ActorState::kDead;
  info_.death_cause = death_.message;
}

}  // namespace detail
}  // namespace desta::runtime
