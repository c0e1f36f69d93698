// A schedule is data: one table of actions per rank of a pipeline, made by a pure function or read from a
// file, checked and timed without any rank, executed as it stands. The models are cut into stages; a
// rank holds one of them, or several, with `ranks` stages from one to the next (stage s is on rank
// s % ranks).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace desta::trainer {

enum class Op : std::uint8_t {
  kReceiveForward,   // activations from the stage before
  kForward,
  kSendForward,      // activations to the stage behind
  kReceiveBackward,  // gradient from the stage behind
  kBackward,
  kSendBackward,     // gradient to the stage before
  kReduce,           // the adapter's gradients, over replicas
  kStep,             // the optimiser
};
[[nodiscard]] std::string_view name_of(Op op);

struct Action {
  Op op;
  std::int64_t microbatch = 0;
  std::int64_t stage = 0;
  std::int64_t trial = 0;
  friend bool operator==(const Action&, const Action&) = default;
};

using RankTable = std::vector<Action>;

struct Schedule {
  std::vector<RankTable> ranks;
};

struct ScheduleShape {
  std::int64_t ranks = 1;
  std::int64_t chunks = 1;                    // stages a rank
  std::int64_t microbatches = 1;
  std::int64_t first_backward = 0;            // stages before it have no backward pass
  std::vector<std::int64_t> learning = {};    // stages on which something learns; empty: that one
  std::int64_t trial = 0;

  [[nodiscard]] std::int64_t stages() const { return ranks * chunks; }
  [[nodiscard]] bool learns_on(std::int64_t rank) const;
};

// The names that training_schedule() knows.
inline constexpr std::string_view kSchedules[] = {"1f1b", "gpipe", "interleaved", "ahead"};

// "gpipe": all forwards, then all backwards (Huang et al. 2019). "1f1b": one forward, one backward
// (Narayanan et al. 2019). "interleaved": one forward, one backward, over several stages a rank, a
// group of `ranks` microbatches at a time (Narayanan et al. 2021); the only one for several stages a
// rank but for "ahead", which is made for this shape of work (ahead_schedule.h). Stages before the first that
// learns only feed it: their passes lead the table. Ends with reduce and step on the ranks where something
// learns. Throws ConfigError for another name, or one that does
// not fit the shape.
[[nodiscard]] Schedule training_schedule(std::string_view kind, const ScheduleShape& shape);

// Forward passes only: for the loss on held-out rows.
[[nodiscard]] Schedule evaluation_schedule(const ScheduleShape& shape);

// Throws ConfigError when the table would not train as `shape` says: a pass is missing or there twice, a
// rank does the work of another, a receive or a send is missing or out of its place, a backward stands
// before its forward, reduce and step are not at the end, or the ranks would wait for one another for
// ever. `name` is put in front of the message.
void check_schedule(const Schedule& schedule, const ScheduleShape& shape, const std::string& name);

}  // namespace desta::trainer
