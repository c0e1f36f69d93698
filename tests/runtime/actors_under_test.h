// Actors that the tests of the actor system call.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runtime/actor/actor_system.h"
#include "runtime/core/error.h"

namespace desta::runtime::testing {

struct ProbeOptions {
  int start = 0;
  std::vector<std::string> words{};

  template <class Archive>
  void serialize(Archive& archive) {
    archive(start, words);
  }
};

class Probe {
 public:
  explicit Probe(const ProbeOptions& options) : value_(options.start), words_(options.words) {
    if (options.start < 0) {
      throw ModelError("model.safetensors: tensor 'w' is missing");
    }
  }

  int add(int amount) {
    value_ += amount;
    return value_;
  }
  [[nodiscard]] std::vector<std::string> words() const { return words_; }
  void fail(const std::string& kind) {
    value_ = 1'000'000;  // the damage that a restart must undo
    if (kind == "data") {
      throw DataError("corpus.jsonl: record 7 has no transcription");
    }
    if (kind == "transport") {
      throw TransportError("rank 3 did not answer");
    }
    throw std::out_of_range("index 9");
  }
  void append(int number) { numbers_.push_back(number); }
  [[nodiscard]] std::vector<int> numbers() const { return numbers_; }

  // Returns how many threads were in here at most.
  int busy() {
    const int now = ++inside_;
    most_inside_ = std::max(most_inside_, now);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    --inside_;
    return most_inside_;
  }
  void hold() {
    while (!released_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  int add_through(const ActorRef<Probe>& other, int amount) {
    return other.call<&Probe::add>(amount).get();
  }
  int wait_for_self() {
    return current_system().get_actor<Probe>(current_actor().name).call<&Probe::add>(1).get();
  }
  void not_registered() {}

  static inline std::atomic<bool> released_ = false;

 private:
  int value_;
  std::vector<std::string> words_;
  std::vector<int> numbers_;
  std::atomic<int> inside_ = 0;
  int most_inside_ = 0;
};

inline void register_probe() {
  actor_type<Probe>("Probe")
      .constructor<ProbeOptions>()
      .method<&Probe::add>("add")
      .method<&Probe::words>("words")
      .method<&Probe::fail>("fail")
      .method<&Probe::append>("append")
      .method<&Probe::numbers>("numbers")
      .method<&Probe::busy>("busy")
      .method<&Probe::hold>("hold")
      .method<&Probe::add_through>("add_through")
      .method<&Probe::wait_for_self>("wait_for_self");
}

// The message of the E that `action` throws; empty when it throws none.
template <typename E, typename Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

}  // namespace desta::runtime::testing
