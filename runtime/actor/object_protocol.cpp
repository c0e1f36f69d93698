#include "runtime/actor/object_protocol.h"

#include <exception>
#include <utility>

#include "runtime/actor/actor_system.h"
#include "runtime/actor/directory.h"
#include "runtime/actor/node_agent.h"

namespace desta::runtime::detail {
namespace {

ObjectLost lost(ObjectId id) {
  return ObjectLost(fmt::format("object {} of node {} is lost: its node is gone, or it was freed",
                                number_of(id), owner_of(id)),
                    ErrorKind::kTransport);
}

FoundObject located(const ObjectStore& objects, ObjectId id) {
  const auto segment = objects.segment(id);
  auto value = objects.value(id);
  if (!segment.has_value() || !value.has_value()) {
    return {};
  }
  return {true, {{}, {}, std::move(value->inner)}, *segment};
}

// The answer of a node that may be lost meanwhile; empty when it was.
template <typename R>
Task<std::optional<R>> unless_lost(Future<R> answer) {
  try {
    co_return co_await answer;
  } catch (const ActorDied&) {
  } catch (const ActorUnavailable&) {
  }
  co_return std::nullopt;
}

// Where the object lies on `keeper`: its owner, or the one that keeps objects for the host.
Future<FoundObject> ask_where(NodeCore& core, int keeper, ObjectId id, std::uint64_t size) {
  const auto agent = agent_ref(core, keeper);
  return keeper == owner_of(id) ? agent.call<&NodeAgent::locate_object>(id)
                                : agent.call<&NodeAgent::keep_object>(id, size);
}

}  // namespace

void send_notice(NodeCore& core, const ObjectNotice& notice) {
  const auto agent = agent_ref(core, notice.to);
  switch (notice.kind) {
    case ObjectNotice::Kind::kHold:
      (void)agent.call<&NodeAgent::hold_object>(notice.object, core.node())
          .then([&objects = core.objects(), notice](bool here) {
            objects.registered(notice.object, notice.generation, here);
          });
      return;
    case ObjectNotice::Kind::kRelease:
      (void)agent.call<&NodeAgent::release_object>(notice.object, core.node());
      return;
    case ObjectNotice::Kind::kReceived:
      (void)agent.call<&NodeAgent::objects_received>(
          MessageKey{core.node(), notice.request, notice.reply});
      return;
    case ObjectNotice::Kind::kDrop:
      (void)agent.call<&NodeAgent::drop_object>(notice.object);
      return;
  }
}

bool NodeAgent::hold_object(ObjectId id, int holder) {
  return core_.objects().add_holder(id, holder);
}

void NodeAgent::release_object(ObjectId id, int holder) {
  core_.objects().remove_holder(id, holder);
}

void NodeAgent::objects_received(const MessageKey& message) { core_.objects().received(message); }

void NodeAgent::drop_object(ObjectId id) { core_.objects().drop(id); }

FoundObject NodeAgent::fetch_object(ObjectId id, int node) {
  auto value = core_.objects().value_for(id, node);
  return value.has_value() ? FoundObject{true, std::move(*value), {}} : FoundObject{};
}

FoundObject NodeAgent::locate_object(ObjectId id) { return located(core_.objects(), id); }

Task<FoundObject> NodeAgent::keep_object(ObjectId id, std::uint64_t size) {
  co_await bring_object(id, size);
  co_return located(core_.objects(), id);
}

Task<void> NodeAgent::bring_object(ObjectId id, std::uint64_t size) {
  while (core_.objects().state(id) != ObjectStore::State::kHere) {
    if (core_.objects().state(id) == ObjectStore::State::kLost) {
      throw lost(id);
    }
    if (core_.stopping()) {
      throw TransportError("the actor system is shutting down");
    }
    if (const auto found = on_their_way_.find(id); found != on_their_way_.end()) {
      const Future<void> other = found->second;
      co_await other;
      continue;
    }
    const boost::intrusive_ptr<FutureState<void>> done(
        new FutureState<void>(core_.scheduler(), nullptr, nullptr));
    on_their_way_.emplace(id, Future<void>(done));
    std::exception_ptr failure;
    try {
      co_await bring_from_elsewhere(id, size);
    } catch (...) {
      failure = std::current_exception();
    }
    on_their_way_.erase(id);
    if (done->claim()) {
      done->set({});
    }
    if (failure) {
      std::rethrow_exception(failure);
    }
  }
}

Task<void> NodeAgent::bring_from_elsewhere(ObjectId id, std::uint64_t size) {
  ObjectStore& objects = core_.objects();
  const int owner = owner_of(id);
  int keeper = -1;
  while (size > kMostInline && keeper != core_.node()) {
    const int before = keeper;
    keeper = co_await directory_ref(core_).call<&Directory::object_keeper>(core_.node(), owner);
    if (keeper == core_.node() || keeper == before) {
      break;  // it is for us to fetch it, or it stays hidden from us
    }
    // A variable, for GCC 12 ends some temporaries of an expression with co_await twice.
    Future<FoundObject> asked = ask_where(core_, keeper, id, size);
    auto told = co_await unless_lost(std::move(asked));
    if (!told.has_value()) {
      continue;  // another keeps for the host now
    }
    if (!told->found) {
      throw lost(id);
    }
    if (auto value = open_segment(told->segment); value.has_value()) {
      value->inner = std::move(told->value.inner);
      objects.add(id, std::move(*value), false);
      co_return;
    }
  }
  Future<FoundObject> asked =
      agent_ref(core_, owner).call<&NodeAgent::fetch_object>(id, core_.node());
  auto fetched = co_await unless_lost(std::move(asked));
  if (!fetched.has_value() || !fetched->found) {
    throw lost(id);
  }
  if (size > kMostInline && keeper == core_.node()) {
    objects.keep_for_host(id, std::move(fetched->value));
  } else {
    objects.add(id, std::move(fetched->value), true);
  }
}

}  // namespace desta::runtime::detail
