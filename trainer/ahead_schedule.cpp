#include "trainer/ahead_schedule.h"

#include <algorithm>
#include <deque>
#include <limits>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// A pass with what it receives and sends.
struct Task {
  Op op;  // kForward or kBackward
  std::int64_t stage;
  std::int64_t microbatch;
};

void check_shape(const ScheduleShape& shape) {
  if (shape.chunks != 2 || shape.first_backward != shape.ranks ||
      (!shape.learning.empty() && shape.learning != std::vector<std::int64_t>{shape.ranks})) {
    throw runtime::ConfigError("pipeline.schedule ahead has the encoder on one half of the stages and what learns "
                               "on the other: set pipeline.chunks to 2 and train.what to adapter");
  }
}

// Which of the encoder's passes a step leaves to the next one's beginning: on rank r the last r `each`.
struct Leftover {
  const ScheduleShape& shape;
  std::int64_t each;

  // Of rank r, microbatches [begin(r), count) are left.
  [[nodiscard]] std::int64_t begin(std::int64_t rank) const {
    return shape.microbatches - std::min(shape.microbatches, each * rank);
  }
  // What stage `stage` receives is there, from the step before.
  [[nodiscard]] bool is_there(std::int64_t stage, std::int64_t microbatch) const {
    return stage > 0 && stage <= shape.ranks && microbatch < begin(stage - 1);
  }
};

// Plays the ranks in time and writes down what each does.
class Player {
 public:
  Player(const Leftover& left, const std::vector<StageCost>& costs)
      : left_(left),
        shape_(left.shape),
        costs_(costs),
        main_(static_cast<std::size_t>(shape_.ranks)),
        ahead_(main_.size()),
        clock_(main_.size(), 0),
        arrives_forward_(static_cast<std::size_t>(shape_.stages()),
                         std::vector<double>(static_cast<std::size_t>(2 * shape_.microbatches), kNever)),
        arrives_backward_(arrives_forward_) {
    schedule_.ranks.resize(main_.size());
    for (std::int64_t rank = 0; rank < shape_.ranks; ++rank) {
      line_up(rank);
    }
  }

  Schedule play() {
    for (;;) {
      // The rank that can begin something first goes first.
      double soonest = kNever;
      std::size_t next = 0;
      for (std::size_t rank = 0; rank < main_.size(); ++rank) {
        if (const double begin = begins(rank); begin < soonest) {
          soonest = begin;
          next = rank;
        }
      }
      if (soonest == kNever) {
        break;
      }
      run(next);
    }
    finish();
    return std::move(schedule_);
  }

 private:
  // One forward, one backward (Narayanan et al. 2019), on the stages from the adapter on; and the encoder.
  void line_up(std::int64_t rank) {
    const auto r = static_cast<std::size_t>(rank);
    const std::int64_t stage = shape_.ranks + rank;
    const std::int64_t count = shape_.microbatches;
    const std::int64_t warm_up = std::min(count, shape_.ranks - 1 - rank);
    std::int64_t forward = 0;
    while (forward < warm_up) {
      main_[r].push_back({Op::kForward, stage, forward++});
    }
    for (std::int64_t backward = 0; backward < count; ++backward) {
      if (forward < count) {
        main_[r].push_back({Op::kForward, stage, forward++});
      }
      main_[r].push_back({Op::kBackward, stage, backward});
    }
    for (std::int64_t m = left_.begin(rank); m < count + left_.begin(rank); ++m) {
      ahead_[r].push_back({Op::kForward, rank, m});
    }
  }

  [[nodiscard]] bool receives(const Task& task) const {
    return task.stage > 0 && !left_.is_there(task.stage, task.microbatch);
  }
  [[nodiscard]] double ready(const Task& task) const {
    const auto stage = static_cast<std::size_t>(task.stage);
    const auto m = static_cast<std::size_t>(task.microbatch);
    if (task.op == Op::kBackward) {
      return task.stage + 1 == shape_.stages() ? 0 : arrives_backward_[stage][m];
    }
    return receives(task) ? arrives_forward_[stage][m] : 0;
  }
  [[nodiscard]] double begins(std::size_t rank) const {
    double begin = kNever;
    for (const auto* queue : {&main_[rank], &ahead_[rank]}) {
      if (!queue->empty()) {
        begin = std::min(begin, std::max(clock_[rank], ready(queue->front())));
      }
    }
    return begin;
  }

  // What learns if it can begin now; else the encoder.
  void run(std::size_t rank) {
    const double now = begins(rank);
    auto& main = main_[rank];
    auto& queue = !main.empty() && ready(main.front()) <= now ? main : ahead_[rank];
    const Task task = queue.front();
    queue.pop_front();
    const auto stage = static_cast<std::size_t>(task.stage);
    const auto m = static_cast<std::size_t>(task.microbatch);
    const auto add = [&](Op op) {
      schedule_.ranks[rank].push_back({op, task.microbatch, task.stage, shape_.trial});
    };
    if (task.op == Op::kForward) {
      clock_[rank] = now + costs_[stage].forward;
      if (receives(task)) {
        add(Op::kReceiveForward);
      }
      add(Op::kForward);
      if (task.stage + 1 < shape_.stages()) {
        add(Op::kSendForward);
        arrives_forward_[stage + 1][m] = clock_[rank] + costs_[stage].send_forward;
      }
      return;
    }
    clock_[rank] = now + costs_[stage].backward;
    if (task.stage + 1 < shape_.stages()) {
      add(Op::kReceiveBackward);
    }
    add(Op::kBackward);
    if (task.stage > shape_.ranks) {
      add(Op::kSendBackward);
      arrives_backward_[stage - 1][m] = clock_[rank] + costs_[stage].send_backward;
    }
  }

  // Gradients cross while the last passes of the encoder run.
  void finish() {
    for (const Op op : {Op::kReduce, Op::kStep}) {
      schedule_.ranks.front().push_back({op, 0, 0, shape_.trial});
    }
    for (std::int64_t rank = 0; rank < shape_.ranks; ++rank) {
      receive_for_next(schedule_.ranks[static_cast<std::size_t>(rank)], left_, rank, shape_.microbatches);
    }
  }

 public:
  // What the next step begins with on this rank; microbatches are counted from `first`.
  static void receive_for_next(RankTable& table, const Leftover& left, std::int64_t rank,
                               std::int64_t first) {
    const auto receive = [&](std::int64_t stage, std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) {
        table.push_back({Op::kReceiveForward, first + m, stage, left.shape.trial});
      }
    };
    if (rank > 0) {
      receive(rank, left.begin(rank), left.begin(rank - 1));
    } else {
      receive(left.shape.ranks, 0, left.begin(left.shape.ranks - 1));
    }
  }

 private:
  const Leftover& left_;
  const ScheduleShape& shape_;
  const std::vector<StageCost>& costs_;
  std::vector<std::deque<Task>> main_;
  std::vector<std::deque<Task>> ahead_;
  std::vector<double> clock_;
  std::vector<std::vector<double>> arrives_forward_;   // at a stage, of a microbatch
  std::vector<std::vector<double>> arrives_backward_;
  Schedule schedule_;
};

Schedule without_next(Schedule table, std::int64_t microbatches) {
  for (RankTable& rank : table.ranks) {
    std::erase_if(rank, [&](const Action& action) { return action.microbatch >= microbatches; });
  }
  return table;
}

Schedule catch_up(const Leftover& left) {
  const ScheduleShape& shape = left.shape;
  Schedule schedule;
  for (std::int64_t rank = 0; rank < shape.ranks; ++rank) {
    RankTable table;
    for (std::int64_t m = 0; m < left.begin(rank); ++m) {
      if (rank > 0) {
        table.push_back({Op::kReceiveForward, m, rank, shape.trial});
      }
      table.push_back({Op::kForward, m, rank, shape.trial});
      table.push_back({Op::kSendForward, m, rank, shape.trial});
    }
    Player::receive_for_next(table, left, rank, 0);
    schedule.ranks.push_back(std::move(table));
  }
  return schedule;
}

}  // namespace

AheadTables ahead_tables(const ScheduleShape& shape, const std::vector<StageCost>& costs) {
  check_shape(shape);
  AheadTables best;
  double shortest = kNever;
  for (std::int64_t each = 0; each <= shape.microbatches; ++each) {
    const Leftover left{shape, each};
    Schedule step = Player(left, costs).play();
    if (const double seconds = simulate(step, costs).step_time; seconds < shortest) {
      shortest = seconds;
      best = {step, without_next(step, shape.microbatches), catch_up(left)};
    }
  }
  return best;
}

}  // namespace desta::trainer
