#include "runtime/actor/deterministic.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/node_core.h"
#include "runtime/core/random.h"

namespace desta::runtime {

using detail::FutureBase;
using detail::Lane;

namespace {

// Heartbeats never end: a wait that takes longer than this is one for ever.
constexpr std::chrono::hours kLongestWait{1};

}  // namespace

class DeterministicCluster::World {
 public:
  World(int nodes, std::uint64_t seed, std::vector<ActorSystemOptions> options) : random_(seed) {
    options.resize(static_cast<std::size_t>(nodes));
    for (int index = 0; index < nodes; ++index) {
      places_.push_back(std::make_unique<Place>(*this, index, nodes));
    }
    for (int index = 0; index < nodes; ++index) {
      Place& place = at(index);
      place.system.emplace(place.transport, place.scheduler,
                           std::move(options[static_cast<std::size_t>(index)]));
    }
  }

  ~World() {
    ending_ = true;
    timers_.clear();
    channels_.clear();
    for (const auto& place : places_) {
      place->alive = true;  // enough to end in order
      place->scheduler.unbury();
    }
    for (const auto& place : places_) {
      place->system.reset();
    }
  }

  [[nodiscard]] ActorSystem& node(int index) { return at(index).system.value(); }

  bool step(bool timers) {
    std::vector<std::function<void()>> choices;
    std::vector<std::string> names;
    for (auto& [channel, queue] : channels_) {
      if (!queue.empty()) {
        choices.emplace_back([this, channel = channel] { deliver(channel); });
        names.push_back(fmt::format("message {} -> {}", channel.first, channel.second));
      }
    }
    for (const auto& place : places_) {
      for (std::size_t lane = 0; lane < place->scheduler.runnable.size(); ++lane) {
        choices.emplace_back([place = place.get(), lane] { place->scheduler.run(lane); });
        names.push_back(fmt::format("node {} runs lane {}", place->index, lane));
      }
    }
    if (!pending_losses_.empty()) {
      choices.emplace_back([this] { tell_of_loss(); });
      names.push_back(fmt::format("the loss of node {} is noticed", pending_losses_.front()));
    }
    if (choices.empty()) {
      return timers && fire_timer();
    }
    const std::size_t choice = random_.below(choices.size());
    history_.push_back(names[choice]);
    choices[choice]();
    return true;
  }

  void run_for(std::chrono::nanoseconds duration) {
    const auto until = now_ + duration;
    while (step(false) || (!timers_.empty() && timers_.begin()->first <= until && fire_timer())) {
    }
    now_ = until;
  }

  void kill(int index) {
    Place& place = at(index);
    place.alive = false;
    for (auto& [channel, queue] : channels_) {
      if (channel.second == index) {
        queue.clear();
      } else if (channel.first == index) {
        queue.resize(random_.below(queue.size() + 1));  // the last of it is lost
      }
    }
    place.scheduler.buried.swap(place.scheduler.runnable);
    std::erase_if(timers_, [&](const auto& timer) { return timer.second.place == index; });
    pending_losses_.push_back(index);
  }

  [[nodiscard]] const std::vector<std::string>& history() const { return history_; }

 private:
  struct Place;

  class WorldTransport final : public Transport {
   public:
    WorldTransport(World& world, int node, int nodes) : world_(world), node_(node), nodes_(nodes) {}
    [[nodiscard]] int node() const override { return node_; }
    [[nodiscard]] int node_count() const override { return nodes_; }
    void start(Handler handler) override { handler_ = std::move(handler); }
    void stop() override {}
    void send(Message message) override {
      if (message.to < 0 || message.to >= nodes_) {
        throw TransportError("there is no node {}: the job has {}", message.to, nodes_);
      }
      if (world_.at(node_).alive && world_.at(message.to).alive && !world_.ending_) {
        world_.channels_[{node_, message.to}].push_back(std::move(message));
      }
    }
    void receive(Message message) { handler_(std::move(message)); }

   private:
    World& world_;
    const int node_;
    const int nodes_;
    Handler handler_;
  };

  class WorldScheduler final : public detail::Scheduler {
   public:
    WorldScheduler(World& world, int place) : world_(world), place_(place) {}
    void start(Transport& /*transport*/) override {}
    // Lanes that had no turn any more: their actors have ended, and see that now.
    [[nodiscard]] bool stop() override {
      while (!runnable.empty()) {
        run(0);
      }
      return true;
    }
    void unbury() {
      runnable.insert(runnable.end(), buried.begin(), buried.end());
      buried.clear();
    }
    [[nodiscard]] std::shared_ptr<void> make_thread(const std::string& /*name*/) override {
      return nullptr;
    }
    void schedule(Lane& lane) override {
      (world_.at(place_).alive ? runnable : buried).push_back(&lane);
    }
    void after(std::chrono::nanoseconds delay, std::function<void()> action) override {
      if (world_.at(place_).alive && !world_.ending_) {
        world_.timers_.emplace(world_.now_ + delay, Timer{place_, std::move(action)});
      }
    }
    [[nodiscard]] Clock::time_point now() const override { return world_.now_; }
    [[nodiscard]] bool wait(std::span<FutureBase* const> futures, Deadline deadline) override {
      return wait_until([&] { return detail::find_done(futures).has_value(); }, deadline);
    }
    [[nodiscard]] bool wait_until(const std::function<bool()>& condition,
                                  Deadline deadline) override {
      const auto given_up = world_.now_ + kLongestWait;
      while (!condition()) {
        if (world_.step(false)) {
          continue;
        }
        const bool timer_first = !world_.timers_.empty() &&
                                 (!deadline.has_value() ||
                                  world_.timers_.begin()->first <= *deadline);
        if (timer_first && world_.now_ < given_up && world_.fire_timer()) {
          continue;
        }
        if (deadline.has_value()) {
          world_.now_ = std::max(world_.now_, *deadline);
          return condition();
        }
        if (world_.ending_) {
          return false;
        }
        throw InternalError("deadlock: node {} waits for what can never come", place_);
      }
      return true;
    }
    void run(std::size_t index) {
      Lane* lane = runnable[index];
      runnable.erase(runnable.begin() + static_cast<std::ptrdiff_t>(index));
      lane->activate();
    }
    std::deque<Lane*> runnable;
    std::deque<Lane*> buried;  // that were to run when the node was killed

   private:
    World& world_;
    const int place_;
  };

  struct Place {
    Place(World& world, int index, int nodes)
        : index(index), transport(world, index, nodes), scheduler(world, index) {}
    const int index;
    bool alive = true;
    WorldTransport transport;
    WorldScheduler scheduler;
    std::optional<ActorSystem> system;
  };
  struct Timer {
    int place;
    std::function<void()> action;
  };

  [[nodiscard]] Place& at(int index) { return *places_.at(static_cast<std::size_t>(index)); }

  void deliver(std::pair<int, int> channel) {
    auto& queue = channels_.at(channel);
    Message message = std::move(queue.front());
    queue.pop_front();
    at(channel.second).transport.receive(std::move(message));
  }

  bool fire_timer() {
    if (timers_.empty()) {
      return false;
    }
    const auto first = timers_.begin();
    now_ = std::max(now_, first->first);
    history_.push_back(fmt::format("a timer of node {}", first->second.place));
    const auto action = std::move(first->second.action);
    timers_.erase(first);
    action();
    return true;
  }

  void tell_of_loss() {
    const int lost = pending_losses_.front();
    // What it sent before comes first, as on a connection.
    for (auto& [channel, queue] : channels_) {
      while (channel.first == lost && !queue.empty()) {
        deliver(channel);
      }
    }
    pending_losses_.pop_front();
    at(0).system->node_lost(lost, "its process is gone");
  }

  Random random_;
  bool ending_ = false;
  detail::Scheduler::Clock::time_point now_{};
  std::vector<std::unique_ptr<Place>> places_;
  std::map<std::pair<int, int>, std::deque<Message>> channels_;
  std::multimap<detail::Scheduler::Clock::time_point, Timer> timers_;
  std::deque<int> pending_losses_;
  std::vector<std::string> history_;
};

DeterministicCluster::DeterministicCluster(int nodes, std::uint64_t seed,
                                           std::vector<ActorSystemOptions> options)
    : world_(std::make_unique<World>(nodes, seed, std::move(options))) {}

DeterministicCluster::~DeterministicCluster() = default;

ActorSystem& DeterministicCluster::node(int index) { return world_->node(index); }

bool DeterministicCluster::step(bool timers) { return world_->step(timers); }

void DeterministicCluster::run_until_idle(std::uint64_t limit) {
  for (std::uint64_t steps = 0; world_->step(false); ++steps) {
    if (steps >= limit) {
      throw InternalError("the cluster is not idle after {} steps", limit);
    }
  }
}

void DeterministicCluster::run_for(std::chrono::nanoseconds duration) { world_->run_for(duration); }

void DeterministicCluster::kill(int index) { world_->kill(index); }

const std::vector<std::string>& DeterministicCluster::history() const { return world_->history(); }

}  // namespace desta::runtime
