#include "trainer/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

class TableBuilder {
 public:
  TableBuilder(const ScheduleShape& shape, std::int64_t stage) : shape_(shape), stage_(stage) {}

  void forward(std::int64_t microbatch) {
    if (stage_ > 0) {
      add(Op::kReceiveForward, microbatch);
    }
    add(Op::kForward, microbatch);
    if (stage_ + 1 < shape_.stages) {
      add(Op::kSendForward, microbatch);
    }
  }
  void backward(std::int64_t microbatch) {
    if (stage_ + 1 < shape_.stages) {
      add(Op::kReceiveBackward, microbatch);
    }
    add(Op::kBackward, microbatch);
    if (stage_ > shape_.first_backward) {
      add(Op::kSendBackward, microbatch);
    }
  }
  void finish() {
    const auto& learning = shape_.learning;
    if (learning.empty() ? stage_ == shape_.first_backward
                         : std::find(learning.begin(), learning.end(), stage_) != learning.end()) {
      add(Op::kReduce, 0);
      add(Op::kStep, 0);
    }
  }
  [[nodiscard]] StageTable take() { return std::move(table_); }

 private:
  void add(Op op, std::int64_t microbatch) { table_.push_back({op, microbatch, shape_.trial}); }

  const ScheduleShape& shape_;
  std::int64_t stage_;
  StageTable table_;
};

// Where an action's input comes from: (stage, op, microbatch) of the matching send.
using Message = std::tuple<std::int64_t, Op, std::int64_t>;

}  // namespace

std::string_view name_of(Op op) {
  switch (op) {
    case Op::kReceiveForward:
      return "receive-forward";
    case Op::kForward:
      return "forward";
    case Op::kSendForward:
      return "send-forward";
    case Op::kReceiveBackward:
      return "receive-backward";
    case Op::kBackward:
      return "backward";
    case Op::kSendBackward:
      return "send-backward";
    case Op::kReduce:
      return "reduce";
    case Op::kStep:
      return "step";
  }
  return "";
}

std::string Schedule::to_text() const {
  std::string text;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) {
    for (const auto& action : stages[stage]) {
      text += fmt::format("stage {}: {} {}\n", stage, name_of(action.op), action.microbatch);
    }
  }
  return text;
}

Schedule training_schedule(std::string_view kind, const ScheduleShape& shape) {
  if (kind != "gpipe" && kind != "1f1b") {
    throw runtime::ConfigError("pipeline.schedule '{}' is not known; use 1f1b or gpipe", kind);
  }
  Schedule schedule;
  for (std::int64_t stage = 0; stage < shape.stages; ++stage) {
    TableBuilder table(shape, stage);
    if (stage < shape.first_backward) {
      for (std::int64_t m = 0; m < shape.microbatches; ++m) {
        table.forward(m);
      }
    } else {
      // 1F1B lets a stage run ahead by as many microbatches as there are stages behind it.
      const std::int64_t ahead = kind == "gpipe"
                                     ? shape.microbatches
                                     : std::min(shape.microbatches, shape.stages - 1 - stage);
      std::int64_t done = 0;
      for (; done < ahead; ++done) {
        table.forward(done);
      }
      for (std::int64_t m = 0; m < shape.microbatches; ++m) {
        if (done < shape.microbatches) {
          table.forward(done++);
        }
        table.backward(m);
      }
    }
    table.finish();
    schedule.stages.push_back(table.take());
  }
  return schedule;
}

Schedule evaluation_schedule(const ScheduleShape& shape) {
  Schedule schedule;
  for (std::int64_t stage = 0; stage < shape.stages; ++stage) {
    TableBuilder table(shape, stage);
    for (std::int64_t m = 0; m < shape.microbatches; ++m) {
      table.forward(m);
    }
    schedule.stages.push_back(table.take());
  }
  return schedule;
}

double Simulation::bubble() const {
  double work = 0;
  for (const double time : busy) {
    work += time;
  }
  const double all = step_time * static_cast<double>(busy.size());
  return all > 0 ? 1.0 - work / all : 0.0;
}

Simulation simulate(const Schedule& schedule, const std::vector<StageCost>& costs) {
  const std::size_t stages = schedule.stages.size();
  Simulation result;
  result.busy.assign(stages, 0);
  result.peak_in_flight.assign(stages, 0);
  std::vector<std::size_t> next(stages, 0);
  std::vector<double> clock(stages, 0);
  std::vector<std::int64_t> in_flight(stages, 0);
  std::map<Message, double> sent;
  bool moved = true;
  while (moved) {
    moved = false;
    for (std::size_t s = 0; s < stages; ++s) {
      const auto stage = static_cast<std::int64_t>(s);
      while (next[s] < schedule.stages[s].size()) {
        const Action& action = schedule.stages[s][next[s]];
        const bool receives_forward = action.op == Op::kReceiveForward;
        if (receives_forward || action.op == Op::kReceiveBackward) {
          const Message key = receives_forward
                                  ? Message{stage - 1, Op::kSendForward, action.microbatch}
                                  : Message{stage + 1, Op::kSendBackward, action.microbatch};
          const auto message = sent.find(key);
          if (message == sent.end()) {
            break;
          }
          clock[s] = std::max(clock[s], message->second);
        } else if (action.op == Op::kSendForward || action.op == Op::kSendBackward) {
          sent[{stage, action.op, action.microbatch}] = clock[s];
        } else if (action.op == Op::kForward || action.op == Op::kBackward) {
          const bool forward = action.op == Op::kForward;
          const double cost = forward ? costs[s].forward : costs[s].backward;
          clock[s] += cost;
          result.busy[s] += cost;
          in_flight[s] += forward ? 1 : -1;
          result.peak_in_flight[s] = std::max(result.peak_in_flight[s], in_flight[s]);
        }
        ++next[s];
        moved = true;
      }
    }
  }
  for (std::size_t s = 0; s < stages; ++s) {
    if (next[s] < schedule.stages[s].size()) {
      const Action& action = schedule.stages[s][next[s]];
      throw runtime::InternalError("the schedule never finishes: stage {} waits at '{} {}'", s,
                                   name_of(action.op), action.microbatch);
    }
    result.step_time = std::max(result.step_time, clock[s]);
  }
  return result;
}

}  // namespace desta::trainer
