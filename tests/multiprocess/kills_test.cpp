// A hundred kills at random moments over one run, and nothing of it is lost but time.
#include "multiprocess/job_fixture.h"

#include <chrono>

#include "models/safetensors.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::tests {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kKills = 100;
constexpr int kManySteps = 600;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t newest_step(const fs::path& run) {
  const fs::path path = newest(run);
  return path.empty() ? 0 : std::stoll(path.filename().string().substr(5));
}

// Lines of metrics.jsonl that tell of a step: all starts of the run together.
int step_lines(const fs::path& run) { return count_of(read_text(run / "metrics.jsonl"), "\"loss\""); }

// A checkpoint is being written: its folder has not got its name yet.
bool is_saving(const fs::path& run) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", ignored)) {
    if (entry.path().filename().string().starts_with(".step-")) {
      return true;
    }
  }
  return false;
}

class Kills : public JobTest {
 protected:
  // Two stages; a checkpoint every third step, so that there is always one being written or just due.
  static std::string long_run(const fs::path& run) {
    return train(run, 2, 1,
                 fmt::format("--set training.steps={} --set checkpoint.every=3 --set "
                             "checkpoint.keep=4",
                             kManySteps));
  }
};

TEST_F(Kills, AHundredAtRandomMomentsChangeNothing) {
  const fs::path undisturbed = folder_ / "undisturbed";
  auto start = Clock::now();
  ASSERT_EQ(run_command(long_run(undisturbed), 300).code, 0);
  const double undisturbed_seconds = seconds_since(start);
  // Of the steps there are enough for all kills only if a moment is counted in steps, however long they take here.
  const double step_seconds = undisturbed_seconds / kManySteps;
  constexpr double kMostSteps = 2;

  const fs::path run = folder_ / "killed";
  runtime::Random random(2409);
  start = Clock::now();
  int steps_again = 0;
  std::map<std::string, int> kills;
  for (int i = 0; i < kKills; ++i) {
    const int before = step_lines(run);
    Background job(long_run(run));
    // Some while models load, most in the middle of steps, a third while a checkpoint is written.
    const auto wanted = static_cast<int>(random.below(8));
    const bool while_saving = i % 3 == 0;
    const std::chrono::duration<double> moment(random.uniform(0, kMostSteps * step_seconds));
    ASSERT_TRUE(job.wait_until([&] {
      return step_lines(run) - before >= wanted && (!while_saving || is_saving(run));
    })) << "the run ended after " << i << " kills, at step " << newest_step(run);
    if (!while_saving) {
      std::this_thread::sleep_for(moment);
    }
    const auto ranks = job.ranks();
    const auto last = losses_of(run);
    switch (random.below(3)) {
      case 0:
        if (!ranks.empty()) {
          ::kill(ranks[random.below(ranks.size())], SIGKILL);
          ++kills["one rank"];
          (void)job.wait_until([] { return false; });  // the job ends by itself
          ASSERT_TRUE(job.ended()) << "hangs when a rank is gone";
          break;
        }
        [[fallthrough]];
      case 1:
        ++kills["mpirun"];
        job.kill_parent();
        break;
      default:
        ++kills["all at once"];
        job.kill_all();
    }
    // Whole or absent: whatever has a name can be read.
    for (const auto& path : trainer::list_checkpoints(run)) {
      try {
        (void)trainer::read_checkpoint(path);
      } catch (const runtime::Error& error) {
        // Ranks without their mpirun live on for a moment and remove old checkpoints.
        EXPECT_FALSE(fs::exists(path)) << "after kill " << i << ": " << error.what();
      }
    }
    steps_again += last.empty() ? 0 : last.rbegin()->first - static_cast<int>(newest_step(run));
  }
  const auto finished = run_command(long_run(run), 300);
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(finished.output.find("passed over"), std::string::npos) << finished.output;
  expect_same_checkpoint(newest(run), newest(undisturbed));
  EXPECT_EQ(losses_of(run), losses_of(undisturbed));
  const double lost = seconds_since(start) - undisturbed_seconds;
  fmt::print("{} kills ({} of one rank, {} of mpirun, {} of all at once): {:.2f} s lost a kill, {:.2f} "
             "steps of {:.0f} ms done again a kill; undisturbed {:.1f} s\n",
             kKills, kills["one rank"], kills["mpirun"], kills["all at once"], lost / kKills,
             static_cast<double>(steps_again) / kKills, 1000 * undisturbed_seconds / kManySteps,
             undisturbed_seconds);
}

// The same in the precision and shape of real jobs, with what learns on several stages.
TEST_F(Kills, InBfloat16OnTwoReplicasWithLowRankUpdatesToo) {
  const std::string more =
      "--set models.precision=bfloat16 --set train.what=lora --set checkpoint.every=2";
  ASSERT_EQ(run_command(train(folder_ / "whole", 2, 2, more)).code, 0);
  const fs::path run = folder_ / "killed-lora";
  for (const int step : {3, 7}) {
    ASSERT_TRUE(kill_when(train(run, 2, 2, more), [&] { return losses_of(run).contains(step); }));
  }
  ASSERT_EQ(run_command(train(run, 2, 2, more)).code, 0);
  expect_same_checkpoint(newest(run), newest(folder_ / "whole"));
  EXPECT_TRUE(fs::exists(newest(run) / "lora.safetensors"));
}

// What a lossy wire format has left out of the steps so far goes on too.
TEST_F(Kills, InEveryWireFormat) {
  for (const std::string wire : {"bfloat16", "powersgd"}) {
    const std::string more =
        "--set checkpoint.every=2 --set data_parallel.powersgd_rank=1 --set data_parallel.wire=" + wire;
    const fs::path whole = folder_ / ("whole-" + wire);
    ASSERT_EQ(run_command(train(whole, 1, 2, more)).code, 0);
    const fs::path run = folder_ / ("killed-" + wire);
    for (const int step : {3, 7}) {
      ASSERT_TRUE(kill_when(train(run, 1, 2, more), [&] { return losses_of(run).contains(step); }));
    }
    ASSERT_EQ(run_command(train(run, 1, 2, more)).code, 0);
    expect_same_checkpoint(newest(run), newest(whole));
    EXPECT_TRUE(fs::exists(newest(run) / "reduction.safetensors"));
  }
}

// What learns on several stages has one gradient norm to be clipped by, and one checkpoint for any
// shape. Clipping bites at every step here.
TEST_F(Kills, WhatLearnsOnSeveralStagesGoesOnOnAnyShape) {
  for (const std::string what : {"lora", "encoder"}) {
    const std::string more = "--set train.what=" + what + " --set train.encoder_layers=2 --set optimizer.clip_norm=0.01";
    const fs::path whole = folder_ / ("shapes-" + what);
    ASSERT_EQ(run_command(train(whole, 2, 1, more)).code, 0);
    const auto expected = losses_of(whole);
    const std::vector<std::pair<int, int>> shapes = {{1, 1}, {7, 1}, {1, 2}};
    for (const auto& [stages, replicas] : shapes) {
      const fs::path other = folder_ / fmt::format("{}-{}-{}", what, stages, replicas);
      fs::create_directories(other / "checkpoints");
      fs::copy(whole / "checkpoints/step-00000004", other / "checkpoints/step-00000004",
               fs::copy_options::recursive);
      ASSERT_EQ(run_command(train(other, stages, replicas, more)).code, 0);
      const auto losses = losses_of(other);
      ASSERT_EQ(losses.size(), 8u);
      for (const auto& [step, loss] : losses) {
        EXPECT_NEAR(loss / expected.at(step), 1.0, 1e-4)
            << what << " on " << stages << " stages x " << replicas << ", step " << step;
      }
    }
  }
}

// desta-eval hears and answers with all that was learned, not with the adapter alone. A dozen steps
// change too little to be heard in random models, so what was learned is disturbed.
TEST_F(Kills, AnEvaluationTakesWhatLiesBesideTheAdapter) {
  for (const std::string what : {"lora", "encoder"}) {
    const fs::path run = folder_ / ("heard-" + what);
    ASSERT_EQ(run_command(train(run, 1, 1, "--set train.what=" + what)).code, 0);
    const fs::path learned = newest(run) / (what + ".safetensors");
    models::TensorMap tensors = models::load_safetensors(learned);
    for (auto& [name, tensor] : tensors) {
      tensor.add_(at::sin(at::arange(tensor.numel(), at::kFloat)).view(tensor.sizes()));
    }
    const auto answers = [&](const std::string& folder, bool beside) {
      const fs::path adapter = folder_ / (folder + what) / "adapter.safetensors";
      fs::create_directories(adapter.parent_path());
      fs::copy(newest(run) / "adapter.safetensors", adapter);
      if (beside) {
        models::save_safetensors(adapter.parent_path() / learned.filename(), tensors,
                                 models::SafetensorsFile(learned).metadata());
      }
      const auto finished =
          run_command(fmt::format("{} {} --set run.folder={} --adapter {}", bin("desta-eval"),
                                  config_.string(), run.string(), adapter.string()));
      EXPECT_EQ(finished.code, 0) << finished.output;
      return read_text(run / "answers.jsonl");
    };
    EXPECT_FALSE(answers("alone-", false) == answers("beside-", true)) << what;
  }
}

TEST_F(Kills, EncoderLayersThatLearnAreSavedAndTakenUpAgain) {
  const std::string more = "--set train.what=encoder --set train.encoder_layers=2";
  ASSERT_EQ(run_command(train(folder_ / "encoder", 2, 1, more)).code, 0);
  const fs::path run = folder_ / "encoder-killed";
  ASSERT_TRUE(kill_when(train(run, 2, 1, more), [&] { return losses_of(run).contains(4); }));
  ASSERT_EQ(run_command(train(run, 2, 1, more)).code, 0);
  expect_same_checkpoint(newest(run), newest(folder_ / "encoder"));
  const auto learned = models::load_safetensors(newest(run) / "encoder.safetensors");
  const auto frozen = models::load_safetensors(folder_ / "speech/model.safetensors");
  for (const auto& [name, tensor] : learned) {
    EXPECT_FALSE(at::equal(tensor, frozen.at(name))) << name << " has not learned";
  }
  // What one run has learned, another may start from; another choice of what learns is refused.
  const auto onward = run_command(train(folder_ / "onward", 1, 1,
                                        more + " --set train.start_from=" + run.string()));
  ASSERT_EQ(onward.code, 0) << onward.output;
  EXPECT_LT(losses_of(folder_ / "onward").at(1), losses_of(folder_ / "encoder").at(1));
  expect_end(run_command(train(run, 2, 1, "--set train.what=lora")), 2, "train.what");
}

TEST_F(Kills, ASecondJobInTheSameRunFolderWaitsForTheFirstToEnd) {
  const fs::path run = folder_ / "shared";
  Background first(train(run, 1, 1, "--set training.steps=100000 --set checkpoint.keep=2"));
  ASSERT_TRUE(first.wait_until([&] { return losses_of(run).contains(2); }));
  Background second(train(run, 1, 1, "--set checkpoint.keep=2"));
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_FALSE(second.ended());
  EXPECT_FALSE(first.ended());
  first.kill_all();
  (void)second.wait_until([] { return false; });
  EXPECT_TRUE(second.ended());
  EXPECT_EQ(second.code(), 0) << "all its steps are done already";
}

}  // namespace
}  // namespace desta::tests
