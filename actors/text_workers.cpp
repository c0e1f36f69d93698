#include "actors/text_workers.h"

#include <chrono>
#include <deque>
#include <vector>

#include "actors/work_pool.h"
#include "runtime/actor/errors.h"
#include "runtime/actor/future.h"

namespace desta::actors {
namespace {

constexpr std::chrono::milliseconds kLookForWork{20};

std::vector<datagen::TextRequest> requests_of(const std::vector<trainer::TextOrder>& orders) {
  std::vector<datagen::TextRequest> requests;
  for (const auto& order : orders) {
    requests.push_back({order.text, order.seed});
  }
  return requests;
}

}  // namespace

TextWorkers::TextWorkers(GeneratorPool& pool, RowSupply& supply, std::size_t at_once, bool alone)
    : pool_(pool), supply_(supply), at_once_(at_once), alone_(alone), thread_([this] { work(); }) {}

TextWorkers::~TextWorkers() {
  stopping_ = true;
  thread_.join();
}

void TextWorkers::check() {
  const std::lock_guard lock(mutex_);
  if (error_ != nullptr) {
    std::rethrow_exception(error_);
  }
}

void TextWorkers::work() {
  try {
    work_until_told();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    error_ = std::current_exception();
  }
}

void TextWorkers::work_until_told() {
  struct Call {
    std::size_t worker;
    std::vector<trainer::TextOrder> orders;
  };
  std::vector<runtime::Future<std::vector<std::string>>> running;
  std::vector<Call> calls;  // of `running`
  std::deque<std::size_t> idle;
  std::size_t known = 0;
  while (!running.empty() || (!stopping_ && !supply_.is_complete())) {
    for (const std::size_t total = pool_.count(); known < total; ++known) {
      idle.push_back(known);
    }
    while (!idle.empty() && !stopping_) {
      auto orders = supply_.take(at_once_);
      if (orders.empty()) {
        break;
      }
      running.push_back(pool_[idle.front()].call<&GeneratorActor::answer>(requests_of(orders)));
      calls.push_back({idle.front(), std::move(orders)});
      idle.pop_front();
    }
    if (running.empty()) {
      std::this_thread::sleep_for(kLookForWork);
      continue;
    }
    if (!runtime::wait(running, runtime::WaitFor::kAny, kLookForWork)) {
      continue;
    }
    const std::size_t ready = runtime::wait_any(running);
    const auto future = running[ready];
    const Call call = std::move(calls[ready]);
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(ready));
    calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(ready));
    const std::size_t others = running.size() + idle.size() + (alone_ ? 0 : 1);
    try {
      const auto answers = future.get();
      std::vector<trainer::WrittenText> texts;
      for (std::size_t i = 0; i < answers.size(); ++i) {
        texts.push_back({call.orders[i].number, answers[i], {}, 0});
      }
      supply_.accept(texts);
      idle.push_back(call.worker);
    } catch (const runtime::ActorDied& error) {
      supply_.give_back(call.orders);
      retire(error, others);
    } catch (const runtime::ActorUnavailable& error) {
      supply_.give_back(call.orders);
      retire(error, others);
    }
  }
}

}  // namespace desta::actors
