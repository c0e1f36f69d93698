#include "runtime/actor/resources.h"

#include <algorithm>
#include <cmath>

#include "runtime/core/error.h"

namespace desta::runtime {

bool fits(const Resources& need, const Resources& free) {
  return need.cpu <= free.cpu + kResourceTolerance && need.gpu <= free.gpu + kResourceTolerance &&
         need.memory <= free.memory;
}

Resources without(const Resources& free, const Resources& need) {
  return {.cpu = std::max(0.0, free.cpu - need.cpu),
          .gpu = std::max(0.0, free.gpu - need.gpu),
          .memory = free.memory - std::min(free.memory, need.memory)};
}

void check_resources(const Resources& need, const std::string& who) {
  const auto check = [&](double amount, const char* what) {
    if (!std::isfinite(amount) || amount < 0) {
      throw ConfigError("{} asks for {} {}: it must be a number, 0 or more", who, amount, what);
    }
  };
  check(need.cpu, "cpu");
  check(need.gpu, "gpu");
}

ResourceLedger::ResourceLedger(const Resources& total) : total_(total), free_(total) {
  check_resources(total, "a node");
}

bool ResourceLedger::take(const Resources& need) {
  check_resources(need, "an actor");
  if (!fits(need, free_)) {
    return false;
  }
  free_ = without(free_, need);
  ++taken_;
  return true;
}

void ResourceLedger::give_back(const Resources& need) {
  const Resources after{.cpu = free_.cpu + need.cpu,
                        .gpu = free_.gpu + need.gpu,
                        .memory = free_.memory + need.memory};
  // Each need that was taken may have been larger than what was free by the tolerance.
  const double rounding = kResourceTolerance * static_cast<double>(taken_ + 1);
  if (taken_ == 0 || after.cpu > total_.cpu + rounding || after.gpu > total_.gpu + rounding ||
      after.memory > total_.memory) {
    throw InternalError("resources: {} cpu, {} gpu, {} bytes come back that were not taken",
                        need.cpu, need.gpu, need.memory);
  }
  --taken_;
  free_ = {.cpu = std::min(after.cpu, total_.cpu),
           .gpu = std::min(after.gpu, total_.gpu),
           .memory = after.memory};
  if (taken_ == 0) {
    free_ = total_;  // rounding does not add up over the life of a node
  }
}

}  // namespace desta::runtime
