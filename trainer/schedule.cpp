#include "trainer/schedule.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/core/error.h"
#include "trainer/ahead_schedule.h"

namespace desta::trainer {
namespace {

class TableBuilder {
 public:
  explicit TableBuilder(const ScheduleShape& shape) : shape_(shape) {}

  void forward(std::int64_t stage, std::int64_t microbatch) {
    if (microbatch >= shape_.microbatches) {
      return;
    }
    if (stage > 0) {
      add(Op::kReceiveForward, stage, microbatch);
    }
    add(Op::kForward, stage, microbatch);
    if (stage + 1 < shape_.stages()) {
      add(Op::kSendForward, stage, microbatch);
    }
  }
  void backward(std::int64_t stage, std::int64_t microbatch) {
    if (microbatch >= shape_.microbatches) {
      return;
    }
    if (stage + 1 < shape_.stages()) {
      add(Op::kReceiveBackward, stage, microbatch);
    }
    add(Op::kBackward, stage, microbatch);
    if (stage > shape_.first_backward) {
      add(Op::kSendBackward, stage, microbatch);
    }
  }
  void finish(std::int64_t rank) {
    if (shape_.learns_on(rank)) {
      add(Op::kReduce, rank, 0);
      add(Op::kStep, rank, 0);
    }
  }
  [[nodiscard]] RankTable take() { return std::move(table_); }

 private:
  void add(Op op, std::int64_t stage, std::int64_t microbatch) {
    table_.push_back({op, microbatch, stage, shape_.trial});
  }

  const ScheduleShape& shape_;
  RankTable table_;
};

struct Pass {
  std::int64_t stage;
  std::int64_t microbatch;
};

// A rank's forward passes in the order of the interleaved schedule: a group of `ranks` microbatches
// through one stage, then through the next. With one stage a rank, simply one after the other. The last
// group is always whole: microbatches that are not there keep their places, and the table leaves them
// out. What is left of a table that ends cannot wait for ever; one made of a short group could.
std::vector<Pass> passes_in_order(const ScheduleShape& shape, std::int64_t rank, bool backward) {
  std::vector<Pass> passes;
  for (std::int64_t group = 0; group < shape.microbatches; group += shape.ranks) {
    for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) {
      const auto stage = (backward ? shape.chunks - 1 - chunk : chunk) * shape.ranks + rank;
      for (std::int64_t i = 0; i < shape.ranks && (!backward || stage >= shape.first_backward); ++i) {
        passes.push_back({stage, group + i});
      }
    }
  }
  return passes;
}

// Forward passes that a rank makes before its first backward pass.
std::int64_t warm_up(std::string_view kind, const ScheduleShape& shape, std::int64_t rank) {
  if (kind == "gpipe") {
    return shape.microbatches;
  }
  if (shape.chunks == 1) {
    return shape.ranks - 1 - rank;  // as many as there are stages behind
  }
  return 2 * (shape.ranks - 1 - rank) + (shape.chunks - 1) * shape.ranks;
}

void check_kind(std::string_view kind, const ScheduleShape& shape) {
  if (std::ranges::find(kSchedules, kind) == std::end(kSchedules)) {
    throw runtime::ConfigError("pipeline.schedule '{}' is not known; use {} or the path of a .csv file",
                               kind, fmt::join(kSchedules, ", "));
  }
  if (shape.chunks > 1 && kind != "interleaved" && kind != kAhead) {
    throw runtime::ConfigError("pipeline.schedule {} has one stage a rank, but pipeline.chunks is {}; set "
                               "it to 1 or the schedule to interleaved",
                               kind, shape.chunks);
  }
}

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

bool ScheduleShape::learns_on(std::int64_t rank) const {
  const auto here = [&](std::int64_t stage) { return stage % ranks == rank; };
  return learning.empty() ? here(first_backward) : std::ranges::any_of(learning, here);
}

Schedule training_schedule(std::string_view kind, const ScheduleShape& shape) {
  check_kind(kind, shape);
  if (kind == kAhead) {
    return ahead_tables(shape, std::vector<StageCost>(static_cast<std::size_t>(shape.stages()))).step;
  }
  Schedule schedule;
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    TableBuilder table(shape);
    const std::vector<Pass> forwards = passes_in_order(shape, rank, false);
    const std::vector<Pass> backwards = passes_in_order(shape, rank, true);
    auto next = forwards.begin();
    const auto forward = [&] {
      if (next != forwards.end()) {
        table.forward(next->stage, next->microbatch);
        ++next;
      }
    };
    // What has no backward pass waits for nobody behind it.
    std::int64_t ahead = backwards.empty() ? static_cast<std::int64_t>(forwards.size())
                                           : warm_up(kind, shape, rank);
    for (; ahead > 0; --ahead) {
      forward();
    }
    for (const Pass& pass : backwards) {
      // Passes of stages without a backward pass come along with those that have one.
      for (bool made = false; !made && next != forwards.end();) {
        made = next->stage >= shape.first_backward;
        forward();
      }
      table.backward(pass.stage, pass.microbatch);
    }
    while (next != forwards.end()) {
      forward();
    }
    table.finish(rank);
    schedule.ranks.push_back(table.take());
  }
  return schedule;
}

Schedule evaluation_schedule(const ScheduleShape& shape) {
  Schedule schedule;
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    TableBuilder table(shape);
    for (const Pass& pass : passes_in_order(shape, rank, false)) {
      table.forward(pass.stage, pass.microbatch);
    }
    schedule.ranks.push_back(table.take());
  }
  return schedule;
}

}  // namespace desta::trainer
