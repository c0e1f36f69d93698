// Counting resources: does a need fit into what is free, and what is left of it.
#pragma once

#include <cstddef>
#include <string>

#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

// Fractions of cores and devices are compared with this much room for rounding, so that three
// thirds of a device are one device. Memory is compared to the byte.
inline constexpr double kResourceTolerance = 1e-6;

[[nodiscard]] bool fits(const Resources& need, const Resources& free);

// `free` without `need`, never below zero. Only for a need that fits.
[[nodiscard]] Resources without(const Resources& free, const Resources& need);

// ConfigError that names `who` when an amount is negative or not a number.
void check_resources(const Resources& need, const std::string& who);

// What one node has left.
class ResourceLedger {
 public:
  ResourceLedger() = default;
  explicit ResourceLedger(const Resources& total);

  // Takes all of `need`, or nothing and returns false.
  [[nodiscard]] bool take(const Resources& need);
  // For each need that was taken, once. InternalError when more comes back than was taken.
  void give_back(const Resources& need);

  [[nodiscard]] const Resources& total() const { return total_; }
  [[nodiscard]] const Resources& free() const { return free_; }

 private:
  Resources total_;
  Resources free_;
  std::size_t taken_ = 0;  // needs that are out
};

}  // namespace desta::runtime
