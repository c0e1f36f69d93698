#include "runtime/actor/thread_scheduler.h"

#include <algorithm>
#include <utility>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/future.h"
#include "runtime/core/log.h"
#include "runtime/transport/transport.h"

namespace desta::runtime::detail {
namespace {

// How long a lane waits in its thread's slot before another may take it: a little longer than the
// method calls that hand over to each other.
constexpr std::chrono::microseconds kStealAfter{5};
// A queue that does not move for so long gets one more thread.
constexpr std::chrono::milliseconds kStarvation{10};
// How long a thread looks on without letting others have the core: longer than an answer of another
// rank takes (4 us, bench/actors.sh).
constexpr std::chrono::microseconds kKeepCore{15};
// How long stop() waits for threads that sit in a method.
constexpr std::chrono::milliseconds kStopPatience{1000};

// A short pause between two looks: of the core at first, then for other threads of this core.
void relax(bool others) {
  if (others) {
    std::this_thread::yield();
    return;
  }
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadScheduler::Worker {
  explicit Worker(ThreadScheduler& scheduler) : scheduler(scheduler) {}
  ThreadScheduler& scheduler;
  std::atomic<Lane*> slot = nullptr;
  std::atomic<Clock::rep> slot_since = 0;
  bool waits = false;  // inside wait(): what it schedules is for others
  std::atomic<bool> ended = false;
  std::thread thread;
};

namespace {

thread_local void* this_worker = nullptr;

}  // namespace

// While it lives, the pool does not count on this thread.
class ThreadScheduler::Blocked {
 public:
  explicit Blocked(ThreadScheduler& scheduler)
      : scheduler_(scheduler), worker_(static_cast<Worker*>(this_worker)) {
    if (worker_ != nullptr) {
      ++scheduler_.blocked_;
      if (!scheduler_.queue_.empty()) {
        scheduler_.wake_one();
      }
    }
  }
  ~Blocked() {
    if (worker_ != nullptr) {
      --scheduler_.blocked_;
    }
  }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  ThreadScheduler& scheduler_;
  Worker* worker_;
};

ThreadScheduler::ThreadScheduler(int threads, std::chrono::nanoseconds spin)
    : threads_(std::max(threads, 1)), spin_(spin) {}

ThreadScheduler::~ThreadScheduler() { (void)stop(); }

void ThreadScheduler::start(Transport& transport) { transport_ = &transport; }

bool ThreadScheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    const std::lock_guard timers_lock(timers_mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  timers_changed_.notify_all();
  if (transport_ != nullptr) {
    transport_->wake();
  }
  if (timer_thread_.joinable()) {
    timer_thread_.join();
  }
  const auto deadline = Clock::now() + kStopPatience;
  bool all = true;
  for (const auto& worker : workers_) {
    while (!worker->ended && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (!worker->thread.joinable()) {
      continue;
    }
    if (worker->ended) {
      worker->thread.join();
    } else {
      worker->thread.detach();
      all = false;
    }
  }
  for (const auto& own : own_threads_) {
    all = own->end(deadline) && all;
  }
  // Lanes that had no turn any more: their actors have ended, and see that now.
  for (const auto& worker : workers_) {
    if (Lane* lane = worker->slot.exchange(nullptr); lane != nullptr) {
      lane->activate();
    }
  }
  while (Lane* lane = pop()) {
    lane->activate();
  }
  return all;
}

std::shared_ptr<void> ThreadScheduler::make_thread(const std::string& name) {
  auto own = std::make_shared<OwnThread>(name);
  const std::lock_guard lock(mutex_);
  std::erase_if(own_threads_, [](const auto& other) { return other->ended(); });
  own_threads_.push_back(own);
  // A ticket: the thread quits when nobody holds one. The thread itself may be the last to let go.
  return std::shared_ptr<void>(own.get(),
                               [own](void*) { own->quit(); });
}

void ThreadScheduler::schedule(Lane& lane) {
  if (lane.thread != nullptr) {
    static_cast<OwnThread*>(lane.thread.get())->push(lane);
    return;
  }
  auto* self = static_cast<Worker*>(this_worker);
  if (self != nullptr && &self->scheduler == this && !self->waits &&
      self->slot.load(std::memory_order_relaxed) == nullptr) {
    self->slot_since.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
    self->slot.store(&lane);
    watch_for_starvation();
  } else {
    push(lane);
  }
  if (looking_ == 0) {
    wake_one();
  }
}

void ThreadScheduler::push(Lane& lane) {
  queue_.push(lane);
  if (sleeping_ == 0 && running_ - blocked_ >= threads_) {
    watch_for_starvation();
  }
}

void ThreadScheduler::watch_for_starvation() {
  if (watching_ || stopping_ || watching_.exchange(true)) {
    return;
  }
  after(kStarvation, [this, pops = queue_.pops()] {
    const std::lock_guard lock(mutex_);
    watching_ = false;
    bool more = false;
    const auto now = Clock::now();
    for (const auto& worker : workers_) {
      const Clock::time_point since{Clock::duration(worker->slot_since.load())};
      more = more || worker->slot.load() != nullptr;
      if (now - since < kStarvation) {
        continue;
      }
      // Its thread stays in a method and does not come to it.
      if (Lane* lane = worker->slot.exchange(nullptr); lane != nullptr) {
        queue_.push(*lane);
      }
    }
    if (!queue_.empty() && queue_.pops() == pops && !stopping_) {
      add_worker();
    }
    if (more || !queue_.empty()) {
      watch_for_starvation();
    }
  });
}

void ThreadScheduler::wake_one() {
  if (sleeping_ == 0 && running_ - blocked_ >= threads_) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (sleeping_ > wakeups_) {
    ++wakeups_;
    if (sleeping_ - at_transport_ > 0) {
      wake_.notify_one();
    } else {
      transport_->wake();
    }
  } else if (sleeping_ == 0 && running_ - blocked_ < threads_) {
    add_worker();
  }
}

void ThreadScheduler::add_worker() {
  if (stopping_) {
    return;
  }
  const auto ended = std::ranges::find_if(workers_, [](const auto& one) { return one->ended.load(); });
  Worker* worker = nullptr;
  if (ended != workers_.end()) {
    worker = ended->get();
    worker->thread.join();
    worker->ended = false;
  } else if (worker_count_ < kMostWorkers) {
    worker = workers_.emplace_back(std::make_unique<Worker>(*this)).get();
    known_workers_[worker_count_] = worker;
    ++worker_count_;
  } else {
    return;
  }
  ++running_;
  worker->thread = std::thread([this, worker] { run(*worker); });
}

void ThreadScheduler::run(Worker& self) {
  this_worker = &self;
  name_this_thread("desta-actors");
  while (Lane* lane = find_work(self)) {
    lane->activate();
  }
  --running_;
  self.ended = true;
}

// Null when the thread is to end.
Lane* ThreadScheduler::find_work(Worker& self) {
  while (!stopping_) {
    // The queue has its turn too when a slot is filled again and again.
    if (Lane* lane = self.slot.exchange(nullptr); lane != nullptr) {
      return lane;
    }
    if (Lane* lane = pop(); lane != nullptr) {
      if (!queue_.empty() && looking_ == 0) {
        wake_one();  // one wake may stand for several lanes
      }
      return lane;
    }
    if (Lane* lane = look_on(self); lane != nullptr) {
      return lane;
    }
    if (!sleep(self)) {
      return nullptr;
    }
  }
  return self.slot.exchange(nullptr);
}

Lane* ThreadScheduler::pop() {
  Lane* lane = queue_.pop();
  if (lane != nullptr && !queue_.empty()) {
    watch_for_starvation();
  }
  return lane;
}

Lane* ThreadScheduler::steal(Clock::time_point now) {
  const std::size_t count = worker_count_;
  for (std::size_t index = 0; index < count; ++index) {
    Worker* other = known_workers_[index];
    if (other == nullptr || other->slot.load(std::memory_order_relaxed) == nullptr) {
      continue;
    }
    const Clock::time_point since{Clock::duration(other->slot_since.load())};
    if (now - since > kStealAfter) {
      if (Lane* lane = other->slot.exchange(nullptr); lane != nullptr) {
        return lane;
      }
    }
  }
  return nullptr;
}

// Looks for work for a moment.
Lane* ThreadScheduler::look_on(Worker& self) {
  ++looking_;
  bool attends = transport_->try_attend();
  Lane* lane = nullptr;
  auto now = Clock::now();
  auto until = now + spin_;
  while (lane == nullptr && now < until && !stopping_) {
    if (attends && transport_->poll()) {
      until = Clock::now() + spin_;
    }
    attends = attends || transport_->try_attend();
    lane = self.slot.exchange(nullptr);
    lane = lane != nullptr ? lane : pop();
    lane = lane != nullptr ? lane : steal(now);
    if (lane == nullptr) {
      now = Clock::now();
      relax(until - now < spin_ - kKeepCore);
    }
  }
  if (attends) {
    transport_->leave();
  }
  --looking_;
  if (lane != nullptr && !queue_.empty()) {
    wake_one();
  }
  return lane;
}

// True when there may be work; false when this thread cannot sleep there.
bool ThreadScheduler::sleep_at_transport(std::unique_lock<std::mutex>& lock) {
  bool slept = false;
  while (at_transport_ == 0 && queue_.empty() && !stopping_) {
    at_transport_ = 1;
    lock.unlock();
    const auto how = transport_->try_sleep();
    // What no ring has told of is looked for without staying on.
    const bool came = how == Transport::Slept::kInVain && transport_->try_attend() && [this] {
      const bool handled = transport_->poll();
      transport_->leave();
      return handled;
    }();
    lock.lock();
    at_transport_ = 0;
    slept = how != Transport::Slept::kNo;
    if (!slept || came || how == Transport::Slept::kRung || wakeups_ > 0) {
      break;
    }
  }
  return slept;
}

// False when the thread is to end.
bool ThreadScheduler::sleep(Worker& self) {
  std::unique_lock lock(mutex_);
  ++sleeping_;
  // Work may have come since the last look; those who brought it saw a thread that was looking.
  bool found = !queue_.empty() || self.slot.load() != nullptr;
  for (std::size_t index = 0; index < worker_count_ && !found; ++index) {
    found = known_workers_[index].load()->slot.load() != nullptr;
  }
  if (!found && sleep_at_transport(lock)) {
    found = true;
  }
  if (!found) {
    const auto woken = [this] { return wakeups_ > 0 || !queue_.empty() || stopping_; };
    if (running_ - blocked_ > threads_) {
      if (!wake_.wait_for(lock, std::chrono::seconds(5), woken)) {
        --sleeping_;
        return running_ - blocked_ <= threads_ || stopping_;
      }
    } else {
      wake_.wait(lock, woken);
    }
  }
  wakeups_ = std::max(wakeups_ - 1, 0);
  --sleeping_;
  return true;
}

void ThreadScheduler::after(std::chrono::nanoseconds delay, std::function<void()> action) {
  const std::lock_guard lock(timers_mutex_);
  if (stopping_) {
    return;
  }
  const auto entry = timers_.emplace(Clock::now() + delay, std::move(action));
  if (!timer_thread_.joinable()) {
    timer_thread_ = std::thread([this] { run_timers(); });
  } else if (entry == timers_.begin()) {
    timers_changed_.notify_one();
  }
}

void ThreadScheduler::run_timers() {
  name_this_thread("desta-timers");
  std::unique_lock lock(timers_mutex_);
  while (!stopping_) {
    if (timers_.empty()) {
      timers_changed_.wait(lock);
      continue;
    }
    const auto first = timers_.begin();
    if (first->first > Clock::now()) {
      timers_changed_.wait_until(lock, first->first);
      continue;
    }
    const auto action = std::move(first->second);
    timers_.erase(first);
    lock.unlock();
    action();
    lock.lock();
  }
}

bool ThreadScheduler::wait(std::span<FutureBase* const> futures, Deadline deadline) {
  auto* self = static_cast<Worker*>(this_worker);
  const bool waited = self != nullptr && std::exchange(self->waits, true);
  if (self != nullptr) {
    // What this thread was going to run next is for others now.
    if (Lane* lane = self->slot.exchange(nullptr); lane != nullptr) {
      push(*lane);
      wake_one();
    }
  }
  bool done = false;
  {
    bool attends = transport_->try_attend();
    auto now = Clock::now();
    auto until = now + spin_;
    while (!(done = find_done(futures).has_value()) && now < until) {
      if (attends && transport_->poll()) {
        now = Clock::now();
        until = now + spin_;
        if (deadline.has_value() && now > *deadline) {
          break;
        }
        continue;
      }
      attends = attends || transport_->try_attend();
      now = Clock::now();
      relax(until - now < spin_ - kKeepCore);
    }
    if (attends) {
      transport_->leave();
    }
  }
  if (!done) {
    struct Bell {
      std::mutex mutex;
      std::condition_variable rung;
      bool done = false;
    };
    const auto bell = std::make_shared<Bell>();
    std::vector<std::uint64_t> numbers;
    numbers.reserve(futures.size());
    for (FutureBase* future : futures) {
      numbers.push_back(future->on_done([bell] {
        {
          const std::lock_guard lock(bell->mutex);
          bell->done = true;
        }
        bell->rung.notify_one();
      }));
      if (numbers.back() == 0) {
        break;
      }
    }
    {
      const Blocked blocked(*this);
      std::unique_lock lock(bell->mutex);
      const auto rung = [&] { return bell->done; };
      if (deadline.has_value()) {
        done = bell->rung.wait_until(lock, *deadline, rung);
      } else {
        bell->rung.wait(lock, rung);
        done = true;
      }
    }
    for (std::size_t index = 0; index < numbers.size(); ++index) {
      if (numbers[index] != 0) {
        futures[index]->forget(numbers[index]);
      }
    }
  }
  if (self != nullptr) {
    self->waits = waited;
  }
  return done;
}

bool ThreadScheduler::wait_until(const std::function<bool()>& condition, Deadline deadline) {
  const Blocked blocked(*this);
  std::chrono::microseconds pause{20};
  while (!condition()) {
    if (deadline.has_value() && Clock::now() >= *deadline) {
      return false;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(1000));
  }
  return true;
}

}  // namespace desta::runtime::detail
