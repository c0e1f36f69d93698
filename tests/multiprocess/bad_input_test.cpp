// What a person gets wrong, and what a machine does: one line that says where, the right exit code,
// no rank left hanging.
#include "multiprocess/job_fixture.h"

#include "datagen/dataset.h"
#include "models/safetensors.h"

namespace desta::tests {
namespace {

class BadInput : public JobTest {
 protected:
  // A copy of a folder of the job.
  static fs::path copy_of(const std::string& name) {
    static int number = 0;
    const fs::path copy = folder_ / fmt::format("{}-{}", fs::path(name).filename().string(), ++number);
    fs::copy(folder_ / name, copy, fs::copy_options::recursive);
    return copy;
  }
  // Trains on two ranks.
  static Finished train_with(const std::string& more) {
    return run_command(train(folder_ / "bad", 2, 1, more));
  }
};

TEST_F(BadInput, RanksThatDoNotFitTheShapeAreNamedWithTheNumbers) {
  const auto finished = run_command(mpirun(
      2, fmt::format("{} {} --set pipeline.stages=3", bin("desta-train"), config_.string())));
  expect_end(finished, 2, "this job has 2 ranks, but pipeline.stages 3 x data_parallel.replicas 1 = 3");
}

TEST_F(BadInput, AMisspeltKeyEndsEveryRankWithTheSuggestion) {
  const auto finished = train_with("--set optimizer.learning_rat=1");
  expect_end(finished, 2, "unknown key 'optimizer.learning_rat'; did you mean 'optimizer.learning_rate'?");
  EXPECT_EQ(count_of(finished.output, "] error: "), 1) << "said once:\n" << finished.output;
}

TEST_F(BadInput, AGpuThatIsNotThereIsSaid) {
  if (at::hasCUDA()) {
    GTEST_SKIP() << "this machine has one";
  }
  expect_end(train_with("--set models.device=cuda"), 2, "models.device is cuda");
  expect_end(train_with("--set runtime.backend=nccl"), 2, "runtime.backend is nccl");
  expect_end(train_with("--set models.device=tpu"), 2, "'models.device' must be one of auto, cpu, cuda");
}

TEST_F(BadInput, GoingOnWithAnotherSeedIsRefusedAndTheRunIsKept) {
  const fs::path run = folder_ / "identity";
  ASSERT_EQ(run_command(train(run, 2, 1, "--set training.steps=2")).code, 0);
  const auto good = read_text(newest(run) / "adapter.safetensors");
  expect_end(run_command(train(run, 2, 1, "--set run.seed=77")), 2, "this run has 77");
  expect_end(run_command(train(run, 2, 1, "--set adapter.queries=5")), 2, "adapter (queries");
  EXPECT_EQ(newest(run).filename(), "step-00000002");
  EXPECT_EQ(read_text(newest(run) / "adapter.safetensors"), good);
}

TEST_F(BadInput, MissingWeightsAreNamed) {
  const fs::path llm = copy_of("llm");
  fs::remove(llm / "model.safetensors");
  expect_end(train_with("--set models.llm=" + llm.string()), 2, llm.string());
}

TEST_F(BadInput, TruncatedWeightsAreNamed) {
  const fs::path speech = copy_of("speech");
  const fs::path file = speech / "model.safetensors";
  fs::resize_file(file, fs::file_size(file) / 2);
  expect_end(train_with("--set models.speech=" + speech.string()), 2, file.string());
}

TEST_F(BadInput, ATokenizerWithoutTheEndTokenIsNamed) {
  const fs::path llm = copy_of("llm");
  std::string text = read_text(llm / "tokenizer.json");
  for (auto at = text.find("<|eot_id|>"); at != std::string::npos; at = text.find("<|eot_id|>")) {
    text.replace(at, 10, "<|xot_id|>");
  }
  std::ofstream(llm / "tokenizer.json") << text;
  const auto finished = train_with("--set models.llm=" + llm.string());
  expect_end(finished, 2, "<|eot_id|>");
  EXPECT_NE(finished.output.find(llm.string()), std::string::npos) << finished.output;
}

TEST_F(BadInput, AMissingOrCorruptRecordingEndsAllRanksAndIsNamed) {
  const fs::path wav = folder_ / "audio/05.wav";
  const std::string whole = read_text(wav);
  fs::remove(wav);
  expect_end(train_with(""), 2, wav.string());
  std::ofstream(wav) << "this is not audio";
  expect_end(train_with(""), 2, wav.string());
  std::ofstream(wav, std::ios::binary) << whole;
}

TEST_F(BadInput, AShardCutInTheMiddleIsNamed) {
  const fs::path data = copy_of("data");
  const fs::path shard = data / "dataset/train/shard-000001.h5";
  ASSERT_TRUE(fs::exists(shard));
  fs::resize_file(shard, fs::file_size(shard) / 2);
  expect_end(train_with("--set data.folder=" + data.string()), 2, shard.string());
}

TEST_F(BadInput, WeightsWithANaNSkipThreeStepsAndEndTheRun) {
  const fs::path llm = copy_of("llm");
  auto tensors = models::load_safetensors(llm / "model.safetensors");
  tensors.at("model.norm.weight")[0] = std::nan("");
  models::save_safetensors(llm / "model.safetensors", tensors);
  const fs::path run = folder_ / "nan-weights";
  const auto finished = run_command(train(run, 2, 1, "--set models.llm=" + llm.string()));
  expect_end(finished, 1, "steps 1 to 3 were not finite");
  for (int step = 1; step <= 3; ++step) {
    EXPECT_NE(finished.output.find(fmt::format("step {} skipped", step)), std::string::npos);
  }
  const auto checkpoints = trainer::list_checkpoints(run);
  ASSERT_EQ(checkpoints.size(), 2u) << "those of the steps before the last";
  EXPECT_EQ(read_text(checkpoints[0] / "adapter.safetensors"),
            read_text(checkpoints[1] / "adapter.safetensors"))
      << "a skipped step changes nothing";
  for (const auto& [name, tensor] : models::load_safetensors(checkpoints[1] / "adapter.safetensors")) {
    EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
  }
}

TEST_F(BadInput, ALearningRateThatExplodesEndsTheRunAndKeepsTheCheckpoints) {
  const fs::path run = folder_ / "explodes";
  ASSERT_EQ(run_command(train(run, 2, 1, "--set training.steps=2")).code, 0);
  const auto good = read_text(run / "checkpoints/step-00000002/adapter.safetensors");
  const auto finished = run_command(
      train(run, 2, 1, "--set optimizer.learning_rate=1e30 --set checkpoint.every=0"));
  expect_end(finished, 1, "were not finite; lower optimizer.learning_rate");
  EXPECT_GE(count_of(finished.output, " skipped: "), 3) << finished.output;
  EXPECT_EQ(newest(run).filename(), "step-00000002");
  EXPECT_EQ(read_text(newest(run) / "adapter.safetensors"), good);
}

struct Unmount {
  fs::path disk;
  ~Unmount() { ::umount2(disk.c_str(), MNT_DETACH); }
};

TEST_F(BadInput, AFullDiskEndsTheRunWithTheFilesNameAndOlderCheckpointsIntact) {
  const fs::path disk = folder_ / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=512k") != 0) {
    GTEST_SKIP() << "needs the right to mount a tmpfs";
  }
  const Unmount unmount{disk};
  const fs::path run = disk / "run";
  const auto finished = run_command(train(run, 2, 1));
  expect_end(finished, 1, (run / "checkpoints").string());
  const auto checkpoints = trainer::list_checkpoints(run);
  EXPECT_GE(checkpoints.size(), 1u);
  EXPECT_LT(checkpoints.size(), 12u);
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << "left behind: " << entry.path();
  }
  // Where nothing may be written at all, nothing is lost either.
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=64m"), 0);
  const auto read_only = run_command(train(run, 2, 1));
  expect_end(read_only, 1, run.string());
  EXPECT_NE(read_only.output.find("Read-only file system"), std::string::npos) << read_only.output;
  EXPECT_EQ(trainer::list_checkpoints(run), checkpoints);
  // With room again, the same command goes on from the newest one.
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  const auto again = run_command(train(run, 2, 1));
  expect_end(again, 0, "resuming from " + checkpoints.back().string());
  EXPECT_EQ(again.output.find("passed over"), std::string::npos) << again.output;
}

TEST_F(BadInput, FewerRowsThanABatchIsBadInput) {
  expect_end(train_with("--set batch.global_size=32"), 2, "24 rows are fewer than batch.global_size (32)");
}

}  // namespace
}  // namespace desta::tests
