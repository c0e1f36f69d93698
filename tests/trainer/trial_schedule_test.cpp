#include "trainer/trial_schedule.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "runtime/core/error.h"
#include "trainer/schedule_table.h"
#include "trainer/simulator.h"
#include "trainer/trial_set.h"

namespace desta::trainer {
namespace {

ScheduleShape shape_of(std::int64_t ranks, std::int64_t chunks, std::int64_t first_backward) {
  return {.ranks = ranks, .chunks = chunks, .microbatches = 0, .first_backward = first_backward,
          .learning = {}, .trial = 0};
}

// What one trial does, by itself.
Schedule part_of(const Schedule& schedule, std::int64_t trial) {
  Schedule part;
  for (const RankTable& table : schedule.ranks) {
    part.ranks.emplace_back();
    for (Action action : table) {
      if (action.trial == trial) {
        action.trial = 0;
        part.ranks.back().push_back(action);
      }
    }
  }
  return part;
}

TEST(TrialSchedule, OneTrialsTableIsTheSchedulesOwn) {
  for (const std::string name : {"1f1b", "gpipe", "interleaved"}) {
    ScheduleShape shape = shape_of(3, name == "interleaved" ? 2 : 1, 1);
    const TrialShare only{.trial = 0, .microbatches = 5, .stream = 0};
    const Schedule found = schedule_trials(name, shape, {&only, 1});
    shape.microbatches = 5;
    EXPECT_EQ(to_csv(found), to_csv(make_schedule(name, shape))) << name;
  }
}

// Each trial that hears for itself has a whole table of its own in the common one, and nothing waits for ever.
TEST(TrialSchedule, EachTrialTrainsAsItWouldAlone) {
  for (const std::string name : {"1f1b", "gpipe", "interleaved"}) {
    for (std::int64_t ranks = 1; ranks <= 4; ++ranks) {
      for (std::int64_t first = 0; first < ranks; ++first) {
        const std::vector<TrialShare> shares = {{0, 4, 0}, {1, 2, 1}, {2, 3, 2}};
        ScheduleShape shape = shape_of(ranks, name == "interleaved" ? 2 : 1, first);
        const Schedule schedule = schedule_trials(name, shape, shares);
        for (const TrialShare& share : shares) {
          shape.microbatches = share.microbatches;
          EXPECT_NO_THROW(check_schedule(part_of(schedule, share.trial), shape, "part"))
              << name << ", " << ranks << " ranks, adapter on " << first << ", trial " << share.trial;
        }
        const std::vector<StageCost> costs(static_cast<std::size_t>(shape.stages()));
        EXPECT_NO_THROW((void)simulate(schedule, costs)) << name;
      }
    }
  }
}

// Gradients are added up in the order of a trial alone: sums of floating point depend on it.
TEST(TrialSchedule, BackwardPassesOfATrialKeepTheirOrder) {
  for (const std::string name : {"1f1b", "gpipe", "interleaved"}) {
    const std::vector<TrialShare> shares = {{0, 4, 0}, {1, 4, 1}};
    ScheduleShape shape = shape_of(2, name == "interleaved" ? 2 : 1, 0);
    const Schedule together = schedule_trials(name, shape, shares);
    shape.microbatches = 4;
    const Schedule alone = make_schedule(name, shape);
    for (std::size_t rank = 0; rank < 2; ++rank) {
      for (std::int64_t stage = 0; stage < shape.stages(); ++stage) {
        const auto order = [&](const Schedule& schedule) {
          std::vector<std::int64_t> microbatches;
          for (const Action& action : schedule.ranks[rank]) {
            if (action.op == Op::kBackward && action.stage == stage) {
              microbatches.push_back(action.microbatch);
            }
          }
          return microbatches;
        };
        EXPECT_EQ(order(part_of(together, 1)), order(alone)) << name << ", stage " << stage;
      }
    }
  }
}

TEST(TrialSchedule, WhatSeveralHearIsHeardOnce) {
  const std::vector<TrialShare> shares = {{0, 2, 0}, {1, 2, 0}, {2, 2, 2}};
  const Schedule schedule = schedule_trials("1f1b", shape_of(3, 1, 1), shares);
  std::multiset<std::tuple<std::int64_t, std::string, std::int64_t>> front;  // trial, op, microbatch
  for (const Action& action : schedule.ranks[0]) {
    front.emplace(action.trial, std::string(name_of(action.op)), action.microbatch);
  }
  EXPECT_EQ(front, (decltype(front){{0, "forward", 0}, {0, "send-forward", 0}, {0, "forward", 1},
                                    {0, "send-forward", 1}, {2, "forward", 0}, {2, "send-forward", 0},
                                    {2, "forward", 1}, {2, "send-forward", 1}}));
  std::map<std::int64_t, int> received;
  std::map<std::int64_t, int> forwards;
  std::set<std::int64_t> heard;  // microbatches of stream 0 that are there
  for (const Action& action : schedule.ranks[1]) {
    received[action.trial] += action.op == Op::kReceiveForward ? 1 : 0;
    forwards[action.trial] += action.op == Op::kForward ? 1 : 0;
    if (action.op == Op::kForward && action.trial == 0) {
      heard.insert(action.microbatch);
    }
    if (action.op == Op::kForward && action.trial == 1) {
      EXPECT_TRUE(heard.contains(action.microbatch)) << "the one that hears comes first";
    }
  }
  EXPECT_EQ(received, (std::map<std::int64_t, int>{{0, 2}, {1, 0}, {2, 2}}));
  EXPECT_EQ(forwards, (std::map<std::int64_t, int>{{0, 2}, {1, 2}, {2, 2}}));
}

TEST(TrialSchedule, TrialsFillOneAnothersBubbles) {
  const std::vector<StageCost> even(4);
  std::vector<TrialShare> shares = {{0, 4, 0}};
  const double alone = simulate(schedule_trials("1f1b", shape_of(4, 1, 0), shares), even).bubble();
  EXPECT_NEAR(alone, 3.0 / (4 + 3), 1e-9);  // (p - 1) / (m + p - 1)
  for (std::int64_t trial = 1; trial < 8; ++trial) {
    shares.push_back({trial, 4, trial});
  }
  const double together = simulate(schedule_trials("1f1b", shape_of(4, 1, 0), shares), even).bubble();
  EXPECT_NEAR(together, 3.0 / (8 * 4 + 3), 1e-9);
}

TEST(TrialSchedule, TextAndTableNameTheTrial) {
  const std::vector<TrialShare> shares = {{0, 1, 0}, {1, 1, 1}};
  const Schedule schedule = schedule_trials("1f1b", shape_of(1, 1, 0), shares);
  EXPECT_EQ(to_text(schedule), "rank 0 | F0:0 B0:0 F1:0 B1:0\n");
  EXPECT_EQ(to_csv(schedule),
            "rank,stage,op,microbatch,trial\n0,0,forward,0,0\n0,0,backward,0,0\n0,0,reduce,0,0\n0,0,step,0,0\n"
            "0,0,forward,0,1\n0,0,backward,0,1\n0,0,reduce,0,1\n0,0,step,0,1\n");
}

TrainingOptions options_in(const std::string& folder) {
  TrainingOptions options;
  options.folder = folder;
  return options;
}

TEST(TrialSet, WhatTrialsMustShareIsNamed) {
  const auto refused = [](const std::function<void(TrainingOptions&)>& change, const std::string& text) {
    TrainingOptions other = options_in("runs/b");
    change(other);
    try {
      (void)TrialSet({options_in("runs/a"), other});
      ADD_FAILURE() << "accepted: " << text;
    } catch (const runtime::ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  };
  refused([](auto& o) { o.models.llm = "elsewhere"; },
          "runs/a and runs/b cannot share one job: models.llm is 'models/stand-ins/llm' and 'elsewhere'");
  refused([](auto& o) { o.adapter.taps = {1}; }, "adapter.taps is '' and '1'");
  refused([](auto& o) { o.pipeline.stages = 2; }, "pipeline.stages is '1' and '2'");
  refused([](auto& o) { o.folder = "runs/a"; }, "two trials have run.folder runs/a");
  TrainingOptions lora = options_in("runs/a");
  lora.train.what = "lora";
  TrainingOptions other = lora;
  other.folder = "runs/b";
  EXPECT_NO_THROW((void)TrialSet(lora));
  EXPECT_THROW((void)TrialSet({lora, other}), runtime::ConfigError);
  TrainingOptions own = options_in("runs/a");
  own.pipeline.schedule = "mine.csv";
  other = own;
  other.folder = "runs/b";
  EXPECT_THROW((void)TrialSet({own, other}), runtime::ConfigError);
}

TEST(TrialSet, TrialsWithTheSameRowsAreKnown) {
  TrainingOptions first = options_in("a");
  TrainingOptions same = options_in("b");
  same.optimizer.learning_rate = 1;
  same.adapter.queries = 3;
  TrainingOptions seed = options_in("c");
  seed.seed = 2;
  TrainingOptions seed_too = options_in("d");
  seed_too.seed = 2;
  TrainingOptions batch = options_in("e");
  batch.batch.micro_size = 2;
  const TrialSet trials({first, seed, same, batch, seed_too});
  EXPECT_EQ(trials.first_with_same_rows(0), 0u);
  EXPECT_EQ(trials.first_with_same_rows(1), 1u);
  EXPECT_EQ(trials.first_with_same_rows(2), 0u);
  EXPECT_EQ(trials.first_with_same_rows(3), 3u);
  EXPECT_EQ(trials.first_with_same_rows(4), 1u);
  EXPECT_EQ(trials.streams(), 3u);
}

TEST(TrialSet, MicrobatchesThatAreCutOtherwiseAreNotTheSame) {
  const TrainingOptions tokens = options_in("a");
  TrainingOptions longer = options_in("b");
  longer.batch.max_text_tokens += 1;
  TrainingOptions rows = options_in("c");
  rows.batch.cut = "rows";
  TrainingOptions longer_rows = longer;
  longer_rows.folder = "d";
  longer_rows.batch.cut = "rows";
  const TrialSet trials({tokens, longer, rows, longer_rows});
  EXPECT_EQ(trials.first_with_same_rows(1), 1u) << "responses that are cut elsewhere are dealt otherwise";
  EXPECT_EQ(trials.first_with_same_rows(2), 2u);
  EXPECT_EQ(trials.first_with_same_rows(3), 2u);
}

}  // namespace
}  // namespace desta::trainer
