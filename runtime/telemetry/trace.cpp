#include "runtime/telemetry/trace.h"

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "runtime/core/atomic_file.h"

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

void Trace::record(Event event) {
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
  nlohmann::json events = nlohmann::json::array();
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t thread = 0; thread < threads_.size(); ++thread) {
      const std::lock_guard own_lock(threads_[thread]->mutex);
      if (!threads_[thread]->name.empty()) {
        events.push_back({{"ph", "M"},
                          {"name", "thread_name"},
                          {"pid", process_},
                          {"tid", thread},
                          {"args", {{"name", threads_[thread]->name}}}});
      }
      for (const Event& event : threads_[thread]->events) {
        events.push_back({{"ph", "X"},
                          {"name", event.name},
                          {"cat", event.category.empty() ? "desta" : event.category},
                          {"pid", process_},
                          {"tid", thread},
                          {"ts", event.begin_us},
                          {"dur", event.duration_us}});
      }
    }
  }
  write_file_atomically(path, nlohmann::json{{"traceEvents", std::move(events)}}.dump());
}

}  // namespace desta::runtime
