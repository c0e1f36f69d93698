#include "trainer/checkpoint.h"

#include <cmath>
#include <fstream>

#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "support/tiny_job.h"
#include "trainer/frozen_checksums.h"

namespace desta::trainer {
namespace {
namespace fs = std::filesystem;

models::QFormerConfig small_adapter() {
  return {.d_model = 8, .heads = 2, .d_llm = 12, .taps = {0, 1}, .queries = 3, .layers = 1,
          .ffn = 10, .dropout = 0.1};
}

Trial make_trial(std::uint64_t seed = 1) {
  return {0, small_adapter(), {.learning_rate = 0.1, .warmup_steps = 0}, seed, 100, at::kFloat};
}

// One step with a gradient that depends on the step's number.
Trial::StepResult advance(Trial& trial) {
  auto& gradients = trial.parameters().gradients();
  gradients.copy_(at::sin(at::arange(gradients.numel(), at::kFloat) +
                          static_cast<double>(trial.step())));
  return trial.finish_step();
}

void overwrite(const fs::path& path, std::uint64_t offset, char flip) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const char old = static_cast<char>(file.get());
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(old ^ flip));
}

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() : run_(tests::fresh_folder("checkpoint")) {}
  ~CheckpointTest() override { fs::remove_all(run_); }
  fs::path run_;
};

TEST_F(CheckpointTest, ARoundTripIsBitForBitAndGoesOnAsIfNeverStopped) {
  Trial trial = make_trial();
  advance(trial);
  advance(trial);
  const auto path = save_checkpoint(run_, trial, 0);
  EXPECT_EQ(path.filename(), "step-00000002");
  Trial again = make_trial(/*seed=*/1);
  std::vector<std::string> problems;
  EXPECT_EQ(load_newest_checkpoint(run_, again, problems), path);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(again.step(), 2);
  EXPECT_TRUE(at::equal(again.parameters().values(), trial.parameters().values()));
  for (int i = 0; i < 3; ++i) {
    advance(trial);
    advance(again);
    EXPECT_TRUE(at::equal(again.parameters().values(), trial.parameters().values()));
  }
}

TEST_F(CheckpointTest, ASkippedStepMovesThePositionOnlyAndIsKept) {
  Trial trial = make_trial();
  advance(trial);
  const at::Tensor before = trial.parameters().values().clone();
  trial.parameters().gradients().fill_(std::nan(""));
  const auto result = trial.finish_step();
  EXPECT_TRUE(result.skipped);
  EXPECT_EQ(trial.step(), 2);
  EXPECT_TRUE(at::equal(trial.parameters().values(), before));
  EXPECT_EQ(trial.parameters().gradients().abs().sum().item<float>(), 0) << "the NaN is cleared";
  save_checkpoint(run_, trial, 0);
  Trial again = make_trial();
  std::vector<std::string> problems;
  (void)load_newest_checkpoint(run_, again, problems);
  advance(trial);
  advance(again);
  EXPECT_TRUE(at::equal(again.parameters().values(), trial.parameters().values()))
      << "the bias correction's clock did not count the skipped step";
}

TEST_F(CheckpointTest, KeepsTheNewestAndRemovesTheOldest) {
  Trial trial = make_trial();
  for (int i = 0; i < 5; ++i) {
    advance(trial);
    save_checkpoint(run_, trial, 2);
  }
  const auto left = list_checkpoints(run_);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].filename(), "step-00000004");
  EXPECT_EQ(left[1].filename(), "step-00000005");
}

TEST_F(CheckpointTest, HalfWrittenFoldersAreNotCheckpoints) {
  fs::create_directories(run_ / "checkpoints/.step-00000009.123.tmp");
  EXPECT_TRUE(list_checkpoints(run_).empty());
  EXPECT_TRUE(list_checkpoints(run_ / "absent").empty());
}

struct Damage {
  std::string name;
  std::function<void(const fs::path&)> apply;
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class DamagedCheckpointTest : public CheckpointTest,
                              public ::testing::WithParamInterface<Damage> {};

// Both promises of a damaged newest checkpoint: it is named, and the one before is taken, from which
// the run goes on as if the newest had never been.
TEST_P(DamagedCheckpointTest, IsNamedAndTheOneBeforeIsTaken) {
  Trial trial = make_trial();
  advance(trial);
  const auto good = save_checkpoint(run_, trial, 0);
  const at::Tensor values = trial.parameters().values().clone();
  advance(trial);
  const auto bad = save_checkpoint(run_, trial, 0);
  GetParam().apply(bad);
  Trial alone = make_trial();
  try {
    alone.load(bad);
    FAIL() << "loaded";
  } catch (const runtime::ModelError& error) {
    EXPECT_NE(std::string(error.what()).find(bad.string()), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
  }
  EXPECT_EQ(alone.step(), 0);
  EXPECT_TRUE(at::equal(alone.parameters().values(), make_trial().parameters().values()))
      << "a failed load changes nothing";

  Trial again = make_trial();
  std::vector<std::string> problems;
  EXPECT_EQ(load_newest_checkpoint(run_, again, problems), good);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems.front().find("step-00000002"), std::string::npos) << problems.front();
  EXPECT_EQ(again.step(), 1);
  EXPECT_TRUE(at::equal(again.parameters().values(), values));
  advance(again);
  EXPECT_TRUE(at::equal(again.parameters().values(), trial.parameters().values()))
      << "optimiser state came from the good one too";
}

void truncate_to(const fs::path& path, double share) {
  fs::resize_file(path, static_cast<std::uintmax_t>(share * static_cast<double>(fs::file_size(path))));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DamagedCheckpointTest,
    ::testing::Values(
        Damage{"AdapterCutInTheMiddle",
               [](const fs::path& p) { truncate_to(p / "adapter.safetensors", 0.5); }},
        Damage{"AdapterEmpty", [](const fs::path& p) { truncate_to(p / "adapter.safetensors", 0); }},
        Damage{"AdapterMissing", [](const fs::path& p) { fs::remove(p / "adapter.safetensors"); }},
        Damage{"OneBitOfTheAdapter",
               [](const fs::path& p) {
                 const auto file = p / "adapter.safetensors";
                 overwrite(file, fs::file_size(file) - 100, 1);
               }},
        Damage{"OneBitOfTheOptimizer",
               [](const fs::path& p) {
                 const auto file = p / "optimizer.safetensors";
                 overwrite(file, fs::file_size(file) - 100, 1);
               }},
        Damage{"OptimizerCutInTheMiddle",
               [](const fs::path& p) { truncate_to(p / "optimizer.safetensors", 0.5); }},
        Damage{"OptimizerMissing", [](const fs::path& p) { fs::remove(p / "optimizer.safetensors"); }},
        Damage{"StateMissing", [](const fs::path& p) { fs::remove(p / "state.json"); }},
        Damage{"StateCut", [](const fs::path& p) { truncate_to(p / "state.json", 0.5); }},
        Damage{"StateWithoutItsStep",
               [](const fs::path& p) { std::ofstream(p / "state.json") << R"({"seed": 1})"; }},
        Damage{"StateWithAnotherChecksum",
               [](const fs::path& p) {
                 auto state = nlohmann::json::parse(runtime::read_file(p / "state.json"));
                 state["adapter_checksum"] = "0123456789abcdef";
                 std::ofstream(p / "state.json") << state.dump();
               }}),
    [](const auto& info) { return info.param.name; });

TEST_F(CheckpointTest, WhenAllAreDamagedTheTrialStartsAsNew) {
  Trial trial = make_trial();
  advance(trial);
  const auto path = save_checkpoint(run_, trial, 0);
  overwrite(path / "adapter.safetensors", fs::file_size(path / "adapter.safetensors") - 100, 1);
  Trial again = make_trial();
  std::vector<std::string> problems;
  EXPECT_TRUE(load_newest_checkpoint(run_, again, problems).empty());
  EXPECT_EQ(problems.size(), 1u);
  EXPECT_EQ(again.step(), 0);
  EXPECT_TRUE(at::equal(again.parameters().values(), make_trial().parameters().values()));
}

TEST_F(CheckpointTest, AnotherShapeOfAdapterIsAModelErrorNamingTheTensor) {
  Trial trial = make_trial();
  const auto path = save_checkpoint(run_, trial, 0);
  auto config = small_adapter();
  config.queries = 4;
  Trial other(0, config, {}, 1, 100, at::kFloat);
  try {
    other.load(path);
    FAIL();
  } catch (const runtime::ModelError& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("3"), std::string::npos) << error.what();
  }
}

TEST_F(CheckpointTest, AnotherIdentityIsRefusedAndNothingIsLost) {
  Trial trial = make_trial();
  advance(trial);
  const RunIdentity identity = {{"run.seed", "1"}, {"batch.global_size", "16"}};
  const auto path = save_checkpoint(run_, trial, 0, identity);
  Trial again = make_trial();
  std::vector<std::string> problems;
  EXPECT_EQ(load_newest_checkpoint(run_, again, problems, identity), path);
  Trial other = make_trial();
  try {
    (void)load_newest_checkpoint(run_, other, problems,
                                 {{"run.seed", "2"}, {"batch.global_size", "16"}});
    FAIL();
  } catch (const runtime::ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find(path.string()), std::string::npos) << text;
    EXPECT_NE(text.find("run.seed 1, this run has 2"), std::string::npos) << text;
  }
  EXPECT_EQ(other.step(), 0);
  EXPECT_EQ(list_checkpoints(run_).size(), 1u);
}

TEST_F(CheckpointTest, SavingOverADamagedCheckpointReplacesIt) {
  Trial trial = make_trial();
  advance(trial);
  const auto path = save_checkpoint(run_, trial, 0);
  fs::remove(path / "state.json");
  save_checkpoint(run_, trial, 0);
  Trial again = make_trial();
  std::vector<std::string> problems;
  EXPECT_EQ(load_newest_checkpoint(run_, again, problems), path);
  EXPECT_TRUE(problems.empty());
}

TEST(Trial, DropoutDependsOnSeedStepAndMicrobatchAlone) {
  const std::vector<at::Tensor> taps = {at::ones({2, 5, 8}), at::full({2, 5, 8}, 0.5)};
  Trial one = make_trial();
  Trial two = make_trial();
  EXPECT_TRUE(at::equal(one.forward(taps, 3), two.forward(taps, 3)));
  EXPECT_TRUE(at::equal(one.forward(taps, 3), two.forward(taps, 3))) << "asked twice";
  EXPECT_FALSE(at::equal(one.forward(taps, 3), one.forward(taps, 4)));
  EXPECT_TRUE(at::equal(one.infer(taps), two.infer(taps)));
  const at::Tensor before = one.forward(taps, 0);
  one.parameters().gradients().fill_(std::nan(""));
  one.finish_step();  // nothing but the step changes
  EXPECT_FALSE(at::equal(one.forward(taps, 0), before));
}

TEST(FrozenChecksums, NoticeOneChangedByte) {
  models::TensorMap tensors = {{"a", at::arange(1000, at::kFloat)}, {"b", at::ones({3, 3})}};
  FrozenChecksums frozen;
  frozen.take("llm", tensors);
  EXPECT_EQ(frozen.tensors(), 2u);
  EXPECT_EQ(frozen.bytes(), 4u * 1009u);
  EXPECT_TRUE(frozen.changed().empty());
  auto* bytes = static_cast<unsigned char*>(tensors.at("a").data_ptr());
  bytes[1234] ^= 1;
  EXPECT_EQ(frozen.changed(), std::vector<std::string>{"llm/a"});
  bytes[1234] ^= 1;
  EXPECT_TRUE(frozen.changed().empty());
}

TEST(FrozenChecksums, NoticeATensorThatLearns) {
  models::TensorMap tensors = {{"a", at::ones({4})}, {"b", at::ones({4})}};
  FrozenChecksums frozen;
  frozen.take("speech", tensors);
  tensors.at("b").requires_grad_(true);
  EXPECT_EQ(frozen.changed(), std::vector<std::string>{"speech/b"});
  tensors.at("b").requires_grad_(false);
  tensors.at("a").mutable_grad() = at::zeros({4});
  EXPECT_EQ(frozen.changed(), std::vector<std::string>{"speech/a"});
}

}  // namespace
}  // namespace desta::trainer
