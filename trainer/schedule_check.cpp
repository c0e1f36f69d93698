// What makes a table one that trains.
#include <fmt/format.h>

#include <map>
#include <set>
#include <tuple>

#include "runtime/core/error.h"
#include "trainer/schedule.h"
#include "trainer/simulator.h"

namespace desta::trainer {
namespace {

class Checker {
 public:
  Checker(const Schedule& schedule, const ScheduleShape& shape, const std::string& name)
      : schedule_(schedule), shape_(shape), name_(name) {}

  void run() {
    for (std::int64_t rank = 0; rank < shape_.ranks; ++rank) {
      check_rank(rank);
    }
    for (std::int64_t stage = 0; stage < shape_.stages(); ++stage) {
      for (std::int64_t m = 0; m < shape_.microbatches; ++m) {
        require(Op::kForward, stage, m, true);
        require(Op::kReceiveForward, stage, m, stage > 0);
        require(Op::kSendForward, stage, m, stage + 1 < shape_.stages());
        const bool backward = stage >= shape_.first_backward;
        require(Op::kBackward, stage, m, backward);
        require(Op::kReceiveBackward, stage, m, backward && stage + 1 < shape_.stages());
        require(Op::kSendBackward, stage, m, stage > shape_.first_backward);
      }
    }
    try {
      (void)simulate(schedule_,
                     std::vector<StageCost>(static_cast<std::size_t>(shape_.stages())));
    } catch (const runtime::ConfigError& error) {
      fail("{}", error.what());
    }
  }

 private:
  using Key = std::tuple<Op, std::int64_t, std::int64_t>;  // op, stage, microbatch

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw runtime::ConfigError("{}: {}", name_, fmt::format(format, std::forward<Args>(args)...));
  }

  void check_rank(std::int64_t rank) {
    const RankTable& table = schedule_.ranks[static_cast<std::size_t>(rank)];
    const std::size_t last = shape_.learns_on(rank) ? 2 : 0;
    if (table.size() < last) {
      fail("rank {} has no reduce and step", rank);
    }
    for (std::size_t i = 0; i < table.size(); ++i) {
      const Action& action = table[i];
      const bool ends = action.op == Op::kReduce || action.op == Op::kStep;
      const Op wanted = i + 2 == table.size() ? Op::kReduce : Op::kStep;
      if (last == 2 && i + 2 >= table.size() ? action.op != wanted : ends) {
        fail("rank {}: {}", rank,
             last == 2 ? "its last two actions are to be reduce and step, and no others such"
                       : "nothing learns there, so it has neither reduce nor step");
      }
      if (ends) {
        continue;
      }
      if (action.stage >= shape_.stages() || action.stage % shape_.ranks != rank) {
        fail("rank {} has no stage {}", rank, action.stage);
      }
      if (action.microbatch >= shape_.microbatches) {
        fail("microbatch {} of {}: they count from 0", action.microbatch, shape_.microbatches);
      }
      check_order(rank, action);
    }
  }

  void check_order(std::int64_t rank, const Action& action) {
    const auto behind = [&](Op op) {
      if (!seen_.contains({op, action.stage, action.microbatch})) {
        fail("rank {}: '{} {}' of stage {} stands before its '{}'", rank, name_of(action.op),
             action.microbatch, action.stage, name_of(op));
      }
    };
    switch (action.op) {
      case Op::kForward:
        if (action.stage > 0) {
          behind(Op::kReceiveForward);
        }
        break;
      case Op::kSendForward:
        behind(Op::kForward);
        break;
      case Op::kBackward:
        behind(Op::kForward);
        if (action.stage + 1 < shape_.stages()) {
          behind(Op::kReceiveBackward);
        }
        break;
      case Op::kSendBackward:
        behind(Op::kBackward);
        break;
      default:
        break;
    }
    if (!seen_.insert({action.op, action.stage, action.microbatch}).second) {
      fail("rank {}: '{} {}' of stage {} is there twice", rank, name_of(action.op),
           action.microbatch, action.stage);
    }
  }

  void require(Op op, std::int64_t stage, std::int64_t microbatch, bool wanted) const {
    const bool there = seen_.contains({op, stage, microbatch});
    if (there != wanted) {
      fail("rank {}: '{} {}' of stage {} {}", stage % shape_.ranks, name_of(op), microbatch, stage,
           wanted ? "is missing" : "has nothing to do");
    }
  }

  const Schedule& schedule_;
  const ScheduleShape& shape_;
  const std::string& name_;
  std::set<Key> seen_;
};

}  // namespace

void check_schedule(const Schedule& schedule, const ScheduleShape& shape, const std::string& name) {
  Checker(schedule, shape, name).run();
}

}  // namespace desta::trainer
