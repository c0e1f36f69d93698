// Several trials in one job: each ends where it would have ended alone.
#include <fmt/ranges.h>

#include "multiprocess/job_fixture.h"

namespace desta::tests {
namespace {

class Together : public JobTest {
 protected:
  // What makes a trial: its name and the settings in which it differs.
  struct Variant {
    std::string name;
    std::string settings;
  };
  // The first three have the same rows, the fourth has others; the second ends early, the third has another
  // number of speech vectors.
  static inline const std::vector<Variant> kVariants = {
      {"plain", ""},
      {"short", "--set optimizer.learning_rate=0.003 --set training.steps=5"},
      {"queries", "--set adapter.queries=6 --set optimizer.weight_decay=0.1"},
      {"seed", "--set run.seed=7 --set checkpoint.every=2"}};

  // Ranks and further settings of a job.
  struct Shape {
    int stages = 1;
    int replicas = 1;
    std::string settings = "";
  };

  // The run of a trial in a job of its own, which has its whole configuration too. Made when first asked for.
  static fs::path alone(const Variant& variant, const Shape& shape) {
    const fs::path run = folder_ / fmt::format("alone-{}-{}x{}-{:x}", variant.name, shape.stages, shape.replicas,
                                               std::hash<std::string>()(shape.settings));
    if (!fs::exists(run)) {
      const auto finished = run_command(
          train(run, shape.stages, shape.replicas, variant.settings + " " + shape.settings));
      EXPECT_EQ(finished.code, variant.name == "hopeless" ? 1 : 0) << finished.output;
    }
    return run;
  }
  // Where the trial goes when it is one of several.
  static fs::path run_of(const std::string& job, const Variant& variant) {
    return folder_ / job / variant.name;
  }
  static void expect_as_alone(const std::string& job, const Variant& variant, const Shape& shape) {
    expect_same_checkpoint(newest(run_of(job, variant)), newest(alone(variant, shape)));
    EXPECT_EQ(losses_of(run_of(job, variant)), losses_of(alone(variant, shape))) << variant.name;
  }
  static std::string together(const std::string& job, const std::vector<Variant>& variants,
                              const Shape& shape, const std::string& more = "") {
    std::vector<std::string> configs;
    for (const Variant& variant : variants) {
      const std::string old = alone(variant, shape).string();
      std::string text = read_text(fs::path(old) / "config.yaml");
      const auto at = text.find(old);
      EXPECT_NE(at, std::string::npos) << text;
      text.replace(at, old.size(), run_of(job, variant).string());
      const fs::path config = folder_ / fmt::format("{}-{}.yaml", job, variant.name);
      std::ofstream(config) << text;
      configs.push_back(config.string());
    }
    return mpirun(shape.stages * shape.replicas,
                  fmt::format("{} {} {}", bin("desta-train"), fmt::join(configs, " "), more));
  }
};

TEST_F(Together, EachTrialEndsWithTheBytesThatItHasAlone) {
  for (const Shape& shape : {Shape{1, 1}, Shape{2, 1}, Shape{3, 2}}) {
    const std::string job = fmt::format("job-{}x{}", shape.stages, shape.replicas);
    const auto finished = run_command(together(job, kVariants, shape));
    ASSERT_EQ(finished.code, 0) << finished.output;
    EXPECT_NE(finished.output.find("4 trials on one copy of the models, 2 of them with rows of their own"),
              std::string::npos)
        << finished.output;
    for (const Variant& variant : kVariants) {
      expect_as_alone(job, variant, shape);
    }
    EXPECT_EQ(newest(run_of(job, kVariants[1])).filename(), "step-00000005");
  }
}

TEST_F(Together, SchedulesCacheAndFillingChangeNoBit) {
  const std::vector<Variant> variants = {kVariants[0], kVariants[2], kVariants[3]};
  int number = 0;
  for (const std::string& settings :
       {std::string("--set pipeline.schedule=gpipe"),
        std::string("--set pipeline.schedule=interleaved --set pipeline.chunks=2"),
        std::string("--set pipeline.fill=false --set batch.share_prefix=false"),
        fmt::format("--set data.features={}", (folder_ / "features").string())}) {
    const Shape shape{2, 1, settings};
    const std::string job = fmt::format("other-{}", number++);
    const auto finished = run_command(together(job, variants, shape));
    ASSERT_EQ(finished.code, 0) << finished.output;
    for (const Variant& variant : variants) {
      expect_as_alone(job, variant, shape);
    }
  }
}

TEST_F(Together, KilledTogetherTheyGoOnEachFromItsOwnCheckpoint) {
  const Shape shape{2, 1};
  const std::string command = together("killed", kVariants, shape);
  for (const int step : {3, 8}) {
    ASSERT_TRUE(kill_when(command, [&] { return losses_of(run_of("killed", kVariants[0])).contains(step); }))
        << "the job ended before step " << step;
  }
  const auto finished = run_command(command);
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_NE(finished.output.find("seed: resuming from"), std::string::npos) << finished.output;
  for (const Variant& variant : kVariants) {
    expect_as_alone("killed", variant, shape);
  }
}

TEST_F(Together, ATrialThatFailsIsNamedAndTheOthersGoOn) {
  const Variant hopeless{"hopeless", "--set optimizer.learning_rate=1e30 --set optimizer.warmup_steps=0"};
  const auto finished = run_command(together("failing", {hopeless, kVariants[0]}, {1, 1}));
  expect_end(finished, 1, "hopeless: steps ");
  EXPECT_NE(finished.output.find("were not finite"), std::string::npos) << finished.output;
  expect_as_alone("failing", kVariants[0], {1, 1});
}

TEST_F(Together, TrialsThatCannotShareAJobAreRefused) {
  const auto finished = run_command(
      fmt::format("{} {} {}", bin("desta-train"), config_.string(), config_.string()));
  expect_end(finished, 2, "two trials have run.folder");
}

TEST_F(Together, ADryRunPlansThemAll) {
  const auto finished = run_command(together("planned", {kVariants[0], kVariants[3]}, {1, 1}, "--dry-run"));
  expect_end(finished, 0, "with 8 microbatches of 2 trials");
  EXPECT_FALSE(fs::exists(folder_ / "planned"));
}

}  // namespace
}  // namespace desta::tests
