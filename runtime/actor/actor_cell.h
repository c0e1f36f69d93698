// One actor on its node: the object, its mailbox and the thread that serves it. Private to this
// folder, but for current_actor().
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/actor/messages.h"
#include "runtime/actor/registry.h"

namespace desta::runtime {

class ActorSystem;

// Who runs on this thread.
struct ActorContext {
  ActorSystem* system = nullptr;
  std::string name;
  std::uint64_t id = 0;
};

// For code inside an actor's constructor or method: its own name and the system to call others.
// Throws InternalError outside of one.
[[nodiscard]] const ActorContext& current_actor();

namespace detail {

[[nodiscard]] const ActorContext* current_actor_or_null();

class ActorCell {
 public:
  using Respond = std::function<void(Reply)>;

  // Starts the thread, which makes the object. An error of the constructor kills the actor; its
  // calls then fail with it.
  ActorCell(ActorSystem& system, SpawnRequest request, const ActorType& type);
  ~ActorCell();
  ActorCell(const ActorCell&) = delete;
  ActorCell& operator=(const ActorCell&) = delete;

  // Queues a call; `respond` is called once, on the actor's thread or at once when the mailbox is
  // full. An empty method does nothing and answers when the constructor has finished.
  void call(CallRequest call, Respond respond);
  // Finishes the running call, answers those that wait with an error, ends the thread.
  void stop();
  [[nodiscard]] ActorInfo describe() const;

 private:
  void construct();
  void run(const CallRequest& call, const Respond& respond);
  void after_failure(const RemoteError& error);
  void set_state(ActorState state);
  void die(RemoteError cause);

  const SpawnRequest request_;
  const ActorType& type_;
  const ActorContext context_;
  std::shared_ptr<void> actor_;  // the thread's own, null when dead
  RemoteError death_;            // the thread's own, set when dead

  std::atomic<bool> stopping_ = false;
  std::atomic<int> pending_ = 0;
  mutable std::mutex mutex_;
  ActorInfo info_;

  boost::asio::io_context mailbox_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keep_open_;
  std::thread thread_;
};

}  // namespace detail
}  // namespace desta::runtime
