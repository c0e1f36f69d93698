#include "trainer/trial_schedule.h"

#include <algorithm>
#include <map>
#include <vector>

#include "trainer/schedule_table.h"

namespace desta::trainer {
namespace {

struct Turn {
  const TrialShare* share;
  std::int64_t microbatch;
};

// Whose turn each microbatch of the common table is.
std::vector<Turn> take_turns(std::span<const TrialShare> shares) {
  std::vector<Turn> turns;
  for (std::int64_t m = 0, more = 1; more > 0; ++m) {
    more = 0;
    for (const TrialShare& share : shares) {
      if (m < share.microbatches) {
        turns.push_back({&share, m});
        ++more;
      }
    }
  }
  return turns;
}

// What is heard already needs neither passes in front of what learns nor a message to it.
bool is_done_for_another(const Action& action, const TrialShare& share, std::int64_t first_backward) {
  return share.stream != share.trial &&
         (action.stage < first_backward ||
          (action.stage == first_backward && action.op == Op::kReceiveForward));
}

RankTable rename(const RankTable& common, const std::vector<Turn>& turns,
                 std::int64_t first_backward) {
  std::map<std::int64_t, std::size_t> last_backward;  // of a trial, in the common table
  for (std::size_t i = 0; i < common.size(); ++i) {
    if (common[i].op == Op::kBackward) {
      last_backward[turns[static_cast<std::size_t>(common[i].microbatch)].share->trial] = i;
    }
  }
  std::vector<Action> ends;  // reduce and step
  std::ranges::copy_if(common, std::back_inserter(ends), [](const Action& action) {
    return action.op == Op::kReduce || action.op == Op::kStep;
  });
  RankTable table;
  for (std::size_t i = 0; i < common.size(); ++i) {
    Action action = common[i];
    if (action.op == Op::kReduce || action.op == Op::kStep) {
      continue;
    }
    const Turn& turn = turns[static_cast<std::size_t>(action.microbatch)];
    action.trial = turn.share->trial;
    action.microbatch = turn.microbatch;
    if (!is_done_for_another(action, *turn.share, first_backward)) {
      table.push_back(action);
    }
    if (action.op == Op::kBackward && last_backward.at(action.trial) == i) {
      for (Action end : ends) {
        end.trial = action.trial;
        table.push_back(end);
      }
    }
  }
  return table;
}

}  // namespace

Schedule schedule_trials(const std::string& name, ScheduleShape shape,
                         std::span<const TrialShare> shares) {
  const std::vector<Turn> turns = take_turns(shares);
  shape.microbatches = static_cast<std::int64_t>(turns.size());
  Schedule schedule = make_schedule(name, shape);
  if (shares.size() > 1 || shares.front().trial != shape.trial) {
    for (RankTable& table : schedule.ranks) {
      table = rename(table, turns, shape.first_backward);
    }
  }
  return schedule;
}

}  // namespace desta::trainer
