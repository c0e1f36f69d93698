#include "trainer/partition.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// Four encoder layers up to the last tap, three LLM layers: 1 + 4 + 1 + 3 + 1 = 10 units.
ModelShapes small_shapes() {
  ModelShapes shapes;
  shapes.whisper.d_model = 16;
  shapes.whisper.encoder_layers = 6;
  shapes.whisper.encoder_heads = 2;
  shapes.whisper.encoder_ffn = 32;
  shapes.whisper.max_source_positions = 50;
  shapes.llama.hidden_size = 32;
  shapes.llama.intermediate_size = 48;
  shapes.llama.num_layers = 3;
  shapes.llama.num_heads = 4;
  shapes.llama.num_kv_heads = 2;
  shapes.llama.head_dim = 8;
  shapes.llama.vocab_size = 300;
  shapes.adapter.d_model = 16;
  shapes.adapter.heads = 2;
  shapes.adapter.d_llm = 32;
  shapes.adapter.taps = {1, 3};
  shapes.adapter.queries = 3;
  shapes.adapter.ffn = 24;
  return shapes;
}

// The smallest largest run of all contiguous cuts, by trying every one.
double best_by_trying(const std::vector<Unit>& units, std::size_t begin, std::int64_t runs) {
  double own = 0;
  if (runs == 1) {
    for (std::size_t i = begin; i < units.size(); ++i) {
      own += units[i].work;
    }
    return own;
  }
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t end = begin + 1; end + static_cast<std::size_t>(runs) - 1 <= units.size(); ++end) {
    own += units[end - 1].work;
    best = std::min(best, std::max(own, best_by_trying(units, end, runs - 1)));
  }
  return best;
}

TEST(Partition, TheEncoderCanBeCutByItself) {
  const ModelShapes shapes = small_shapes();
  for (std::int64_t front = 1; front <= 5; ++front) {
    for (std::int64_t rest = 1; rest <= 5; ++rest) {
      const auto parts = partition(shapes, front + rest, {.adapter_stage = front});
      ASSERT_EQ(parts.size(), static_cast<std::size_t>(front + rest));
      EXPECT_EQ(adapter_stage(parts), front);
      EXPECT_FALSE(parts[static_cast<std::size_t>(front)].has_encoder());
      EXPECT_EQ(parts[static_cast<std::size_t>(front) - 1].encoder_end, 4);
      EXPECT_TRUE(parts.back().head);
    }
  }
  EXPECT_THROW((void)partition(shapes, 8, {.adapter_stage = 6}), runtime::ConfigError) << "five units are in front";
  EXPECT_THROW((void)partition(shapes, 8, {.adapter_stage = 2}), runtime::ConfigError) << "five units are behind";
}

TEST(Partition, UnitsEndAtTheLastTap) {
  const auto units = list_units(small_shapes());
  ASSERT_EQ(units.size(), 10u);
  EXPECT_EQ(units.front().kind, UnitKind::kEncoderFront);
  EXPECT_EQ(units[4].kind, UnitKind::kEncoderLayer);
  EXPECT_EQ(units[4].index, 3);  // layers 4 and 5 are read by no tap
  EXPECT_EQ(units[5].kind, UnitKind::kAdapter);
  EXPECT_EQ(units.back().kind, UnitKind::kHead);
}

TEST(Partition, EveryUnitIsOnExactlyOneStageInOrder) {
  const auto shapes = small_shapes();
  std::int64_t all_parameters = 0;
  for (const auto& unit : list_units(shapes)) {
    all_parameters += unit.parameters;
  }
  for (std::int64_t stages = 1; stages <= 10; ++stages) {
    const auto parts = partition(shapes, stages);
    ASSERT_EQ(static_cast<std::int64_t>(parts.size()), stages);
    std::int64_t parameters = 0;
    std::int64_t fronts = 0;
    std::int64_t adapters = 0;
    std::int64_t heads = 0;
    std::int64_t encoder = 0;
    std::int64_t llama = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto& part = parts[i];
      EXPECT_EQ(part.stage, static_cast<std::int64_t>(i));
      EXPECT_FALSE(part.describe().empty()) << "stage " << i << " of " << stages << " is empty";
      parameters += part.parameters;
      fronts += part.encoder_front ? 1 : 0;
      adapters += part.adapter ? 1 : 0;
      heads += part.head ? 1 : 0;
      if (part.encoder_begin < part.encoder_end) {
        EXPECT_EQ(part.encoder_begin, encoder) << "encoder layers follow each other";
        encoder = part.encoder_end;
        EXPECT_EQ(adapters - (part.adapter ? 1 : 0), 0) << "no encoder layer behind the adapter";
      }
      if (part.llama_begin < part.llama_end) {
        EXPECT_EQ(part.llama_begin, llama) << "LLM layers follow each other";
        llama = part.llama_end;
        EXPECT_EQ(adapters, 1) << "no LLM layer before the adapter";
      }
    }
    EXPECT_TRUE(parts.front().encoder_front);
    EXPECT_TRUE(parts.back().head);
    EXPECT_EQ(fronts, 1);
    EXPECT_EQ(adapters, 1);
    EXPECT_EQ(heads, 1);
    EXPECT_EQ(encoder, 4);
    EXPECT_EQ(llama, 3);
    EXPECT_EQ(parameters, all_parameters);
  }
}

TEST(Partition, NoOtherCutHasASmallerLargestStage) {
  const auto shapes = small_shapes();
  const auto units = list_units(shapes);
  for (std::int64_t stages = 1; stages <= 10; ++stages) {
    double largest = 0;
    for (const auto& part : partition(shapes, stages)) {
      largest = std::max(largest, part.work);
    }
    EXPECT_NEAR(largest / best_by_trying(units, 0, stages), 1.0, 1e-12) << stages << " stages";
  }
}

TEST(Partition, MeasuredCostsMoveTheCut) {
  auto shapes = small_shapes();
  LayerCosts costs;
  costs.models = describe(shapes);
  costs.encoder_front = costs.encoder_layer = {.forward = 1e-3};
  costs.adapter = costs.llm_layer = {.forward = 1e-3, .backward = 1e-3};
  costs.head = {.forward = 50e-3};
  shapes.costs = costs;
  const auto parts = partition(shapes, 2);
  EXPECT_EQ(parts.back().describe(), "head") << "which costs more than all the rest";
  EXPECT_NEAR(parts.front().cost.forward, 9e-3, 1e-12);
  EXPECT_NEAR(parts.front().cost.backward, 4e-3, 1e-12);
  shapes.llama.intermediate_size *= 2;
  EXPECT_THROW((void)partition(shapes, 2), runtime::ConfigError) << "measured for other models";
}

TEST(Partition, KeepsTheMemoryLimitOrSaysWhatWouldDo) {
  const auto shapes = small_shapes();
  const auto largest = [&](const MemoryLimit& limit) {
    double bytes = 0;
    for (const auto& part : partition(shapes, 3, {.limit = limit})) {
      bytes = std::max(bytes, memory_of(part.parameters, part.learned, part.cost.kept_bytes,
                                        limit.micro_size * limit.in_flight(part.stage, 3),
                                        shapes.element_bytes));
    }
    return bytes;
  };
  const MemoryLimit none{.micro_size = 4, .microbatches = 8};
  const double unlimited = largest(none);
  // The smallest limit is what the message says.
  MemoryLimit tight = none;
  tight.bytes = 1;
  std::string what;
  try {
    (void)partition(shapes, 3, {.limit = tight});
  } catch (const runtime::ConfigError& error) {
    what = error.what();
  }
  EXPECT_NE(what.find("no cut into 3 stages"), std::string::npos) << what;
  for (tight.bytes = 1000; tight.bytes < unlimited; tight.bytes *= 1.02) {
    try {
      EXPECT_LE(largest(tight), tight.bytes);
      break;
    } catch (const runtime::ConfigError&) {
    }
  }
  EXPECT_LT(tight.bytes, unlimited) << "a slower cut takes less";
  MemoryLimit all = none;
  all.all_at_once = true;
  EXPECT_GT(largest(all), unlimited);
}

TEST(Partition, StagesBeginWhereTheUserSays) {
  const auto shapes = small_shapes();
  const auto parts = partition(shapes, 4, {.begins = {"encoder 1", "adapter", "llm 2"}});
  std::vector<std::string> described;
  std::ranges::transform(parts, std::back_inserter(described), &StagePart::describe);
  EXPECT_EQ(described, (std::vector<std::string>{"encoder front, encoder 0", "encoder 1-3", "adapter, llm 0-1",
                                                 "llm 2, head"}));
  const auto names = [&](const CutRules& rules, const std::string& message) {
    try {
      (void)partition(shapes, 3, rules);
      FAIL() << "nothing was refused where '" << message << "' was expected";
    } catch (const runtime::ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  };
  names({.begins = {"adapter"}}, "pipeline.cut names 1 units, but pipeline.stages x pipeline.chunks is 3");
  names({.begins = {"adapter", "lm 2"}}, "pipeline.cut has 'lm 2', but these models' units are encoder front, encoder 0");
  names({.begins = {"adapter", "llm 3"}}, "pipeline.cut has 'llm 3'");
  names({.begins = {"adapter", "encoder 1"}}, "'encoder 1' where a unit behind 'adapter' belongs");
  names({.begins = {"encoder front", "adapter"}}, "'encoder front' where a unit behind 'encoder front' belongs");
  names({.begins = {"adapter", "adapter"}}, "'adapter' where a unit behind 'adapter' belongs");
  names({.limit = {.bytes = 1000, .micro_size = 4, .microbatches = 8}, .begins = {"adapter", "llm 1"}},
        "pipeline.cut does not keep all stages within 0.00 GiB");
  names({.adapter_stage = 1, .begins = {"encoder 1", "adapter"}}, "pipeline.cut begins stage 1 with 'encoder 1'");
  EXPECT_EQ(adapter_stage(partition(shapes, 3, {.adapter_stage = 2, .begins = {"encoder 1", "adapter"}})), 2);
}

TEST(Partition, TextsHaveRoomWhereTheLlmIsOffTheStageThatSetsThePace) {
  auto shapes = small_shapes();
  LayerCosts costs;
  costs.models = describe(shapes);
  costs.encoder_front = costs.encoder_layer = costs.head = {.forward = 1};
  costs.adapter = {.forward = 1, .backward = 1};
  costs.llm_layer = {.forward = 0.5, .backward = 0.5};
  shapes.costs = costs;
  const auto last_stage = [&](double texts) { return partition(shapes, 2, {.texts = texts}).back().describe(); };
  EXPECT_EQ(last_stage(0), "adapter, llm 0-2, head") << "5 and 6 units of time a sample";
  // A text takes 2.5, for which 5 and 6 have no gap, while 7 and 4 have one of 3.
  EXPECT_EQ(last_stage(1), "llm 0-2, head");
  EXPECT_EQ(last_stage(2), "llm 0-2, head") << "3 of 5 fit";
  // One text for eight epochs is not worth a slower pace.
  EXPECT_EQ(last_stage(0.125), "adapter, llm 0-2, head");
}

TEST(Partition, MoreStagesThanUnitsIsAnErrorWithTheNumbers) {
  for (const std::int64_t stages : {0, 11}) {
    try {
      (void)partition(small_shapes(), stages);
      FAIL() << stages << " stages were cut";
    } catch (const runtime::ConfigError& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find("pipeline.stages x pipeline.chunks is " + std::to_string(stages)), std::string::npos) << what;
      EXPECT_NE(what.find("10 units"), std::string::npos) << what;
      EXPECT_NE(what.find("4 encoder layers"), std::string::npos) << what;
      EXPECT_NE(what.find("3 LLM layers"), std::string::npos) << what;
      EXPECT_NE(what.find("use 1 to 10"), std::string::npos) << what;
    }
  }
}

}  // namespace
}  // namespace desta::trainer
