#include "trainer/checkpoint_writer.h"

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

fs::path save(const fs::path& run, const Trial& trial, const CheckpointOptions& options = {.keep = 0},
              const RunIdentity& identity = {}) {
  std::vector<TrialState> parts(1);
  trial.copy_to(parts[0]);
  return write_checkpoint(run, parts, options, identity);
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
  const auto path = save(run_, trial);
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
  save(run_, trial);
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
    save(run_, trial, {.keep = 2});
  }
  const auto left = list_checkpoints(run_);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].filename(), "step-00000004");
  EXPECT_EQ(left[1].filename(), "step-00000005");
}

TEST_F(CheckpointTest, EveryMthStepStaysBesideTheNewest) {
  Trial trial = make_trial();
  for (int i = 0; i < 8; ++i) {
    advance(trial);
    save(run_, trial, {.keep = 2, .keep_every = 3});
  }
  std::vector<std::string> names;
  for (const auto& path : list_checkpoints(run_)) {
    names.push_back(path.filename());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"step-00000003", "step-00000006", "step-00000007",
                                             "step-00000008"}));
}

TEST_F(CheckpointTest, WhatAKilledWriterLeftIsSweptUp) {
  const fs::path folder = run_ / "checkpoints";
  fs::create_directories(folder / ".step-00000001.123.tmp");
  fs::create_directories(folder / ".step-00000000.removed");
  Trial trial = make_trial();
  advance(trial);
  const auto path = save(run_, trial);
  sweep_up(run_);
  sweep_up(run_ / "absent");
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(folder)) {
    left.push_back(entry.path());
  }
  EXPECT_EQ(left, std::vector<fs::path>{path});
}

TEST_F(CheckpointTest, AFolderThatCannotBeWrittenIsNamedAndTheOneBeforeStays) {
  Trial trial = make_trial();
  advance(trial);
  const auto good = save(run_, trial);
  advance(trial);
  // In the way of the folder that a save makes: root may write where permissions forbid it.
  const fs::path blocked = run_ / "blocked";
  std::ofstream(blocked) << "a file";
  try {
    (void)save(blocked, trial);
    FAIL();
  } catch (const runtime::InternalError& error) {
    EXPECT_NE(std::string(error.what()).find(blocked.string()), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
  }
  EXPECT_NO_THROW((void)read_checkpoint(good));
}

// The trial goes on while its copy is written.
TEST_F(CheckpointTest, TheWriterSavesTheMomentItWasGiven) {
  Trial trial = make_trial();
  CheckpointWriter writer(run_, {.keep = 0}, {});
  std::vector<at::Tensor> moments;
  for (int i = 0; i < 3; ++i) {
    advance(trial);
    writer.buffer().resize(1);
    trial.copy_to(writer.buffer().front());
    writer.start();
    moments.push_back(trial.parameters().values().clone());
  }
  advance(trial);
  writer.wait();
  const auto outcomes = writer.take_outcomes();
  ASSERT_EQ(outcomes.size(), 3u);
  const auto all = list_checkpoints(run_);
  ASSERT_EQ(all.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(outcomes[i].problem, "");
    EXPECT_EQ(outcomes[i].path, all[i].string());
    Trial again = make_trial();
    const Checkpoint read = read_checkpoint(all[i]);
    again.restore(read.position, read.values, read.first, read.second);
    EXPECT_TRUE(at::equal(again.parameters().values(), moments[i])) << i;
  }
  EXPECT_TRUE(writer.take_outcomes().empty()) << "told once";
}

TEST_F(CheckpointTest, AFailedSaveIsToldAndTheNextOneTried) {
  const fs::path run = run_ / "run";
  std::ofstream(run) << "in the way";
  CheckpointWriter writer(run, {.keep = 0}, {});
  Trial trial = make_trial();
  writer.buffer().resize(1);
  trial.copy_to(writer.buffer().front());
  writer.start();
  writer.wait();
  auto outcomes = writer.take_outcomes();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_NE(outcomes[0].problem.find(run.string()), std::string::npos) << outcomes[0].problem;
  fs::remove(run);
  writer.start();
  writer.wait();
  outcomes = writer.take_outcomes();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].problem, "");
}

TEST_F(CheckpointTest, SkippedStepsInARowAreCountedAcrossAResume) {
  Trial trial = make_trial();
  for (int i = 0; i < 2; ++i) {
    trial.parameters().gradients().fill_(std::nan(""));
    trial.finish_step();
  }
  save(run_, trial);
  Trial again = make_trial();
  std::vector<std::string> problems;
  (void)load_newest_checkpoint(run_, again, problems);
  EXPECT_EQ(again.skipped_in_a_row(), 2);
  advance(again);
  EXPECT_EQ(again.skipped_in_a_row(), 0);
}

TEST_F(CheckpointTest, AnotherScheduleIsTakenButKnown) {
  Trial trial = make_trial();
  advance(trial);
  EXPECT_EQ(trial.schedule_before(), "") << "from the beginning";
  save(run_, trial);
  std::vector<std::string> problems;
  Trial same = make_trial();
  (void)load_newest_checkpoint(run_, same, problems);
  EXPECT_EQ(same.schedule_before(), same.schedule());
  Trial longer(0, small_adapter(), {.learning_rate = 0.1, .warmup_steps = 0}, 1, 200, at::kFloat);
  (void)load_newest_checkpoint(run_, longer, problems);
  EXPECT_NE(longer.schedule_before(), longer.schedule());
  EXPECT_NE(longer.schedule().find("200 steps"), std::string::npos) << longer.schedule();
}

TEST_F(CheckpointTest, ARunMayStartFromWhatAnotherHasLearned) {
  Trial teacher = make_trial();
  advance(teacher);
  save(run_, teacher);
  Trial pupil = make_trial(/*seed=*/2);
  pupil.start_from(read_parameters(run_));
  EXPECT_TRUE(at::equal(pupil.parameters().values(), teacher.parameters().values()));
  EXPECT_EQ(pupil.step(), 0);
  EXPECT_THROW((void)read_parameters(run_ / "absent"), runtime::ConfigError);
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
  const auto good = save(run_, trial);
  const at::Tensor values = trial.parameters().values().clone();
  advance(trial);
  const auto bad = save(run_, trial);
  GetParam().apply(bad);
  try {
    (void)read_checkpoint(bad);
    FAIL() << "loaded";
  } catch (const runtime::ModelError& error) {
    EXPECT_NE(std::string(error.what()).find(bad.string()), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "one line";
  }

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
        Damage{"IdentityMissing", [](const fs::path& p) { fs::remove(p / "identity.json"); }},
        Damage{"ChecksumsMissing", [](const fs::path& p) { fs::remove(p / "checksums.xxh64"); }},
        Damage{"ChecksumsEmpty", [](const fs::path& p) { truncate_to(p / "checksums.xxh64", 0); }},
        Damage{"AFileTooMany", [](const fs::path& p) { std::ofstream(p / "extra") << "1"; }},
        // Each file is whole, but they are of two moments.
        Damage{"AnotherStepsAdapter",
               [](const fs::path& p) {
                 fs::copy_file(p.parent_path() / "step-00000001/adapter.safetensors",
                               p / "adapter.safetensors", fs::copy_options::overwrite_existing);
               }}),
    [](const auto& info) { return info.param.name; });

// Not one byte of any file may differ, and none may be missing at the end.
TEST_F(CheckpointTest, NoFlippedByteAndNoTruncationIsEverLoaded) {
  Trial trial = make_trial();
  advance(trial);
  const auto path = save(run_, trial);
  EXPECT_NO_THROW((void)read_checkpoint(path));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    files.push_back(entry.path());
  }
  EXPECT_EQ(files.size(), 5u);
  for (const auto& file : files) {
    const std::string whole = runtime::read_file(file);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      overwrite(file, at, static_cast<char>(1U << (at % 8)));
      EXPECT_THROW((void)read_checkpoint(path), runtime::ModelError) << file << " byte " << at;
      overwrite(file, at, static_cast<char>(1U << (at % 8)));
    }
    for (std::size_t size = 0; size < whole.size(); ++size) {
      std::ofstream(file, std::ios::binary) << whole.substr(0, size);
      EXPECT_THROW((void)read_checkpoint(path), runtime::ModelError) << file << " cut to " << size;
    }
    std::ofstream(file, std::ios::binary) << whole;
  }
  EXPECT_NO_THROW((void)read_checkpoint(path)) << "all is as it was";
}

TEST_F(CheckpointTest, WhenAllAreDamagedTheTrialStartsAsNew) {
  Trial trial = make_trial();
  advance(trial);
  const auto path = save(run_, trial);
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
  const auto path = save(run_, trial);
  auto config = small_adapter();
  config.queries = 4;
  Trial other(0, config, {}, 1, 100, at::kFloat);
  std::vector<std::string> problems;
  EXPECT_TRUE(load_newest_checkpoint(run_, other, problems).empty());
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems.front().find(path.string()), std::string::npos) << problems.front();
  EXPECT_NE(problems.front().find("3"), std::string::npos) << problems.front();
}

TEST_F(CheckpointTest, AnotherIdentityIsRefusedAndNothingIsLost) {
  Trial trial = make_trial();
  advance(trial);
  const RunIdentity identity = {{"run.seed", "1"}, {"batch.global_size", "16"}};
  const auto path = save(run_, trial, {.keep = 0}, identity);
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

// Their hash alone tells nobody that it was the filters.
TEST_F(CheckpointTest, OfOtherRowsItIsSaidWhatMakesThem) {
  Trial trial = make_trial();
  advance(trial);
  const auto path = save(run_, trial, {}, {{kRowsOfIdentity, "00ff"}});
  std::vector<std::string> problems;
  try {
    (void)load_newest_checkpoint(run_, trial, problems, {{kRowsOfIdentity, "ff00"}});
    FAIL();
  } catch (const runtime::ConfigError& error) {
    EXPECT_EQ(error.what(), path.string() +
                                ": was trained on other rows (hash 00ff, now ff00): the dataset has changed since, or "
                                "data, filters, or what rows are made with; set it back, or give this run a "
                                "run.folder of its own");
  }
}

TEST_F(CheckpointTest, SavingOverADamagedCheckpointReplacesIt) {
  Trial trial = make_trial();
  advance(trial);
  const auto path = save(run_, trial);
  fs::remove(path / "state.json");
  save(run_, trial);
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
