#include "runtime/telemetry/trace.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "runtime/core/atomic_file.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

double microseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

Trace::Span::Span(Trace& trace, std::string name, std::string category)
    : trace_(trace.enabled() ? &trace : nullptr) {
  if (trace_ != nullptr) {
    name_ = std::move(name);
    category_ = std::move(category);
    begin_ = Clock::now();
  }
}

Trace::Span::~Span() {
  if (trace_ != nullptr) {
    trace_->record({std::move(name_), std::move(category_), microseconds(begin_ - trace_->start_),
                    microseconds(Clock::now() - begin_)});
  }
}

Trace::ThreadLog& Trace::own_log() {
  // Weak, so that a new Trace at the address of an old one does not find the old one's list.
  thread_local std::unordered_map<const Trace*, std::weak_ptr<ThreadLog>> logs;
  std::weak_ptr<ThreadLog>& known = logs[this];
  std::shared_ptr<ThreadLog> own = known.lock();
  if (own == nullptr) {
    own = std::make_shared<ThreadLog>();
    known = own;
    const std::lock_guard lock(mutex_);
    threads_.push_back(own);
  }
  return *own;
}

std::uint64_t Trace::left_out() const {
  const std::uint64_t seen = seen_;
  return seen > most_events_ ? seen - most_events_ : 0;
}

void Trace::record(Event event) {
  if (const std::uint64_t before = seen_.fetch_add(1); before >= most_events_) {
    if (before == most_events_) {
      log().warn("the trace of process {} is full after {} events: what comes now is only counted",
                 process_, most_events_);
    }
    return;
  }
  ThreadLog& own = own_log();
  const std::lock_guard lock(own.mutex);
  own.events.push_back(std::move(event));
}

void Trace::name_thread(std::string name) {
  ThreadLog& own = own_log();
  const std::lock_guard lock(own.mutex);
  own.name = std::move(name);
}

void Trace::write(const std::filesystem::path& path) const {
  // Event by event: as one tree of values they would take many times the memory.
  std::string text = "{\"traceEvents\":[";
  const auto add = [&text](const nlohmann::json& event) {
    text += text.back() == '[' ? "\n" : ",\n";
    text += event.dump();
  };
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t thread = 0; thread < threads_.size(); ++thread) {
      const std::lock_guard own_lock(threads_[thread]->mutex);
      if (!threads_[thread]->name.empty()) {
        add({{"ph", "M"},
             {"name", "thread_name"},
             {"pid", process_},
             {"tid", thread},
             {"args", {{"name", threads_[thread]->name}}}});
      }
      for (const Event& event : threads_[thread]->events) {
        add({{"ph", "X"},
             {"name", event.name},
             {"cat", event.category.empty() ? "desta" : event.category},
             {"pid", process_},
             {"tid", thread},
             {"ts", event.begin_us},
             {"dur", event.duration_us}});
      }
    }
  }
  text += fmt::format("\n],\"otherData\":{{\"eventsLeftOut\":{}}}}}\n", left_out());
  write_file_atomically(path, text);
}

}  // namespace desta::runtime
