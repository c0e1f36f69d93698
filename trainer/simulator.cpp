#include "trainer/simulator.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// A message by its sender: trial, stage, direction, microbatch.
using Message = std::tuple<std::int64_t, std::int64_t, Op, std::int64_t>;

class Player {
 public:
  Player(const Schedule& schedule, const std::vector<StageCost>& costs, double finish)
      : schedule_(schedule),
        costs_(costs),
        finish_(finish),
        next_(schedule.ranks.size(), 0),
        clock_(schedule.ranks.size(), 0),
        in_flight_(schedule.ranks.size(), 0),
        bytes_(schedule.ranks.size(), 0) {
    result_.busy.assign(schedule.ranks.size(), 0);
    result_.peak_in_flight.assign(schedule.ranks.size(), 0);
    result_.peak_bytes.assign(schedule.ranks.size(), 0);
    result_.timeline.resize(schedule.ranks.size());
  }

  Simulation play() {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t rank = 0; rank < next_.size(); ++rank) {
        while (next_[rank] < schedule_.ranks[rank].size() && run(rank)) {
          ++next_[rank];
          moved = true;
        }
      }
    }
    for (std::size_t rank = 0; rank < next_.size(); ++rank) {
      if (next_[rank] < schedule_.ranks[rank].size()) {
        const Action& action = schedule_.ranks[rank][next_[rank]];
        throw runtime::ConfigError(
            "the schedule never finishes: rank {} waits for ever at '{} {}' of stage {}", rank,
            name_of(action.op), action.microbatch, action.stage);
      }
      result_.step_time = std::max(result_.step_time, clock_[rank]);
    }
    return std::move(result_);
  }

 private:
  // False when the action must wait.
  bool run(std::size_t rank) {
    const Action& action = schedule_.ranks[rank][next_[rank]];
    const auto stage = static_cast<std::size_t>(action.stage);
    const double begin = clock_[rank];
    double end = begin;
    switch (action.op) {
      case Op::kReceiveForward:
      case Op::kReceiveBackward: {
        const bool forward = action.op == Op::kReceiveForward;
        const auto message = arrives_.find({action.trial, action.stage + (forward ? -1 : 1),
                                            forward ? Op::kSendForward : Op::kSendBackward,
                                            action.microbatch});
        if (message == arrives_.end()) {
          return false;
        }
        end = clock_[rank] = std::max(begin, message->second);
        break;
      }
      case Op::kSendForward:
      case Op::kSendBackward:
        end = begin + (action.op == Op::kSendForward ? costs_[stage].send_forward
                                                     : costs_[stage].send_backward);
        arrives_[{action.trial, action.stage, action.op, action.microbatch}] = end;
        break;
      case Op::kForward:
        end = work(rank, costs_[stage].forward);
        // A stage without a backward pass keeps nothing.
        if (costs_[stage].backward > 0) {
          keep(rank, 1, costs_[stage].kept_bytes);
        }
        break;
      case Op::kBackward:
        end = work(rank, costs_[stage].backward);
        keep(rank, -1, -costs_[stage].kept_bytes);
        break;
      case Op::kReduce:
        end = work(rank, finish_);
        break;
      case Op::kStep:
        break;
    }
    result_.timeline[rank].push_back({action, begin, end});
    return true;
  }

  double work(std::size_t rank, double seconds) {
    result_.busy[rank] += seconds;
    return clock_[rank] += seconds;
  }

  void keep(std::size_t rank, std::int64_t count, double bytes) {
    in_flight_[rank] += count;
    bytes_[rank] += bytes;
    result_.peak_in_flight[rank] = std::max(result_.peak_in_flight[rank], in_flight_[rank]);
    result_.peak_bytes[rank] = std::max(result_.peak_bytes[rank], bytes_[rank]);
  }

  const Schedule& schedule_;
  const std::vector<StageCost>& costs_;
  double finish_;
  std::vector<std::size_t> next_;
  std::vector<double> clock_;
  std::vector<std::int64_t> in_flight_;
  std::vector<double> bytes_;
  std::map<Message, double> arrives_;
  Simulation result_;
};

}  // namespace

double Simulation::bubble() const {
  const double work = std::accumulate(busy.begin(), busy.end(), 0.0);
  const double all = step_time * static_cast<double>(busy.size());
  return all > 0 ? 1.0 - work / all : 0.0;
}

Simulation simulate(const Schedule& schedule, const std::vector<StageCost>& costs, double finish) {
  return Player(schedule, costs, finish).play();
}

}  // namespace desta::trainer
