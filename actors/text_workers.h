// Writes a supply's texts on generator actors, beside whatever else the job does: each that is free gets the
// next ones, and what a lost worker had goes to another.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>

#include "actors/generator_pool.h"
#include "actors/row_supply.h"

namespace desta::actors {

class TextWorkers {
 public:
  // Begins at once, on a thread of its own, and ends when the supply is complete. Texts go out `at_once` a
  // call. `alone`: nobody else writes for the supply, so losing the last generator is an error. All must live
  // as long as this.
  TextWorkers(GeneratorPool& pool, RowSupply& supply, std::size_t at_once, bool alone);
  // Calls under way are waited for, and what they bring is kept.
  ~TextWorkers();
  TextWorkers(const TextWorkers&) = delete;
  TextWorkers& operator=(const TextWorkers&) = delete;

  // Throws what has ended the thread, if an error has.
  void check();

 private:
  void work();
  void work_until_told();

  GeneratorPool& pool_;
  RowSupply& supply_;
  std::size_t at_once_;
  bool alone_;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace desta::actors
