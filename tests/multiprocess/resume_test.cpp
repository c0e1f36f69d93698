// A run that is killed and started again ends where one that was never stopped ends.
#include "multiprocess/job_fixture.h"

#include <regex>
#include <sstream>

#include "models/safetensors.h"

namespace desta::tests {
namespace {

class Resume : public JobTest {
 protected:
  // The run that nothing stopped, on two stages.
  static const fs::path& unstopped() {
    static const fs::path run = [] {
      const fs::path folder = folder_ / "unstopped";
      const auto finished = run_command(train(folder, 2, 1));
      EXPECT_EQ(finished.code, 0) << finished.output;
      return folder;
    }();
    return run;
  }
};

TEST_F(Resume, KilledAgainAndAgainARunEndsWithTheSameBytes) {
  const fs::path run = folder_ / "killed";
  // A checkpoint at every second step only, so that finished steps are lost too.
  const std::string command = train(run, 2, 1, "--set checkpoint.every=2");
  int kills = 0;
  for (const int step : {1, 3, 5, 8}) {
    ASSERT_TRUE(kill_when(command, [&] { return losses_of(run).contains(step); }))
        << "the run ended before step " << step;
    EXPECT_NE(newest(run).filename(), "step-00000012") << "killed too late to prove anything";
    ++kills;
  }
  EXPECT_EQ(kills, 4);
  const auto finished = run_command(command);
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_NE(finished.output.find("resuming from"), std::string::npos) << finished.output;
  expect_same_checkpoint(newest(run), newest(unstopped()));
  EXPECT_EQ(losses_of(run), losses_of(unstopped()));
}

// What a run says of itself at its end, and what its checkpoint holds.
TEST_F(Resume, AWholeRunCountsItsBytesAndKeepsWhatIsFrozen) {
  const fs::path run = folder_ / "counted";
  const auto finished = run_command(train(run, 2, 2));
  ASSERT_EQ(finished.code, 0) << finished.output;
  nlohmann::json last;
  std::istringstream lines(read_text(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    last = nlohmann::json::parse(line);
  }
  EXPECT_GT(last.at("frozen_tensors_unchanged"), 0);
  const std::int64_t adapter = last.at("adapter_bytes");
  const std::int64_t sent = last.at("replica_bytes_sent");
  // Two ranks, each 2 (n-1)/n = 1 time the adapter a step, but for whole elements.
  EXPECT_NEAR(static_cast<double>(sent), 2.0 * kSteps * static_cast<double>(adapter), 64.0 * kSteps);
  // Resident memory is the shard and an overhead that does not grow with the model.
  const std::regex overhead("overhead ([0-9.]+) MB");
  int ranks = 0;
  for (auto at = std::sregex_iterator(finished.output.begin(), finished.output.end(), overhead);
       at != std::sregex_iterator(); ++at, ++ranks) {
    EXPECT_LT(std::stod((*at)[1]), 400.0) << "README states 400 MB";
  }
  EXPECT_EQ(ranks, 4);
  // The optimiser knows the adapter's tensors and no others.
  const auto adapter_tensors = models::load_safetensors(newest(run) / "adapter.safetensors");
  const auto moments = models::load_safetensors(newest(run) / "optimizer.safetensors");
  EXPECT_EQ(moments.size(), 2 * adapter_tensors.size());
  for (const auto& [name, tensor] : moments) {
    EXPECT_TRUE(adapter_tensors.contains(name.substr(name.find('.') + 1))) << name;
  }
}

TEST_F(Resume, WithoutDropoutToo) {
  const std::string plain = "--set adapter.dropout=0";
  const auto whole = run_command(train(folder_ / "plain", 2, 1, plain));
  ASSERT_EQ(whole.code, 0) << whole.output;
  const fs::path run = folder_ / "plain-killed";
  ASSERT_TRUE(kill_when(train(run, 2, 1, plain), [&] { return losses_of(run).contains(3); }));
  ASSERT_EQ(run_command(train(run, 2, 1, plain)).code, 0);
  expect_same_checkpoint(newest(run), newest(folder_ / "plain"));
  EXPECT_NE(read_text(newest(run) / "adapter.safetensors"),
            read_text(newest(unstopped()) / "adapter.safetensors"))
      << "dropout matters";
}

TEST_F(Resume, AFinishedRunIsLeftAsItIs) {
  const auto before = read_text(unstopped() / "metrics.jsonl");
  const auto finished = run_command(train(unstopped(), 2, 1));
  expect_end(finished, 0, "all 12 steps are done already");
  EXPECT_EQ(read_text(unstopped() / "metrics.jsonl"), before);
}

TEST_F(Resume, ADamagedNewestCheckpointIsNamedAndTheOneBeforeIsTaken) {
  const fs::path run = folder_ / "damaged";
  for (const char* step : {"step-00000006", "step-00000007"}) {
    fs::create_directories(run / "checkpoints");
    fs::copy(unstopped() / "checkpoints" / step, run / "checkpoints" / step,
             fs::copy_options::recursive);
  }
  const fs::path file = run / "checkpoints/step-00000007/adapter.safetensors";
  fs::resize_file(file, fs::file_size(file) / 2);
  const auto finished = run_command(train(run, 2, 1));
  expect_end(finished, 0, file.string());
  EXPECT_NE(finished.output.find("step-00000006 at step 6 of 12"), std::string::npos) << finished.output;
  expect_same_checkpoint(newest(run), newest(unstopped()));
}

// From step 4 of the two-stage run on, on other shapes of the world.
TEST_F(Resume, AnotherShapeGivesTheSameLosses) {
  const auto expected = losses_of(unstopped());
  ASSERT_EQ(expected.size(), 12u);
  const std::vector<std::pair<int, int>> shapes = {{1, 1}, {1, 2}, {3, 1}};
  for (const auto& [stages, replicas] : shapes) {
    const fs::path run = folder_ / fmt::format("shape-{}-{}", stages, replicas);
    fs::create_directories(run / "checkpoints");
    fs::copy(unstopped() / "checkpoints/step-00000004", run / "checkpoints/step-00000004",
             fs::copy_options::recursive);
    const auto finished = run_command(train(run, stages, replicas));
    ASSERT_EQ(finished.code, 0) << finished.output;
    const auto losses = losses_of(run);
    ASSERT_EQ(losses.size(), 8u) << "steps 5 to 12";
    for (const auto& [step, loss] : losses) {
      EXPECT_NEAR(loss / expected.at(step), 1.0, 1e-4)
          << stages << " stages x " << replicas << ", step " << step;
    }
  }
}

// One rank dies, the others must not wait for ever; what it left is enough to go on.
TEST_F(Resume, ALostRankEndsTheJobAndTheNextStartGoesOn) {
  const fs::path run = folder_ / "lost";
  {
    Background job(train(run, 2, 1));
    ASSERT_TRUE(job.wait_until([&] { return losses_of(run).contains(4); }));
    const auto ranks = job.ranks();
    ASSERT_EQ(ranks.size(), 2u);
    ASSERT_EQ(::kill(ranks.back(), SIGKILL), 0);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(job.wait_until([] { return false; })) << "hangs";
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
    ASSERT_TRUE(job.ended());
    EXPECT_NE(job.code(), 0);
  }
  ASSERT_EQ(run_command(train(run, 2, 1)).code, 0);
  expect_same_checkpoint(newest(run), newest(unstopped()));
}

TEST_F(Resume, AnotherScheduleGivesTheSameLossesAndATraceCanBeHad) {
  const fs::path run = folder_ / "gpipe";
  const auto finished =
      run_command(train(run, 2, 1, "--set pipeline.schedule=gpipe --set run.trace=true"));
  ASSERT_EQ(finished.code, 0) << finished.output;
  for (const auto& [step, loss] : losses_of(run)) {
    EXPECT_NEAR(loss / losses_of(unstopped()).at(step), 1.0, 1e-4) << "step " << step;
  }
  for (const char* file : {"trace.json", "trace-rank1.json"}) {
    const auto trace = nlohmann::json::parse(read_text(run / file));
    const auto& events = trace.is_array() ? trace : trace.at("traceEvents");
    std::map<std::string, int> names;
    for (const auto& event : events) {
      ++names[event.value("name", "")];
    }
    EXPECT_EQ(names["forward"], kSteps * 4) << file << ": four microbatches a step";
    EXPECT_EQ(names["backward"], kSteps * 4) << file;
  }
}

// The encoder works a step ahead; neither validation nor being killed in between confuses the steps.
TEST_F(Resume, WorkingAheadGivesTheSameLosses) {
  const std::string ahead = "--set pipeline.schedule=ahead --set pipeline.chunks=2";
  const fs::path run = folder_ / "ahead";
  const auto finished = run_command(train(run, 2, 1, ahead));
  ASSERT_EQ(finished.code, 0) << finished.output;
  ASSERT_EQ(losses_of(run).size(), losses_of(unstopped()).size());
  for (const auto& [step, loss] : losses_of(run)) {
    EXPECT_NEAR(loss / losses_of(unstopped()).at(step), 1.0, 1e-4) << "step " << step;
  }
  const fs::path killed = folder_ / "ahead-killed";
  ASSERT_TRUE(kill_when(train(killed, 2, 1, ahead), [&] { return losses_of(killed).contains(5); }));
  ASSERT_EQ(run_command(train(killed, 2, 1, ahead)).code, 0);
  expect_same_checkpoint(newest(killed), newest(run));
  const fs::path validated = folder_ / "ahead-validated";
  fs::create_directories(folder_ / "data-ahead/dataset");
  for (const char* name : {"train", "validation"}) {
    fs::copy(folder_ / "data/dataset/train", folder_ / "data-ahead/dataset" / name);
  }
  const auto looked = run_command(train(
      validated, 2, 1,
      fmt::format("{} --set data.folder={} --set data.validation_manifest={} --set training.validate_every=1",
                  ahead, (folder_ / "data-ahead").string(), (folder_ / "manifest.jsonl").string())));
  ASSERT_EQ(looked.code, 0) << looked.output;
  EXPECT_NE(looked.output.find("validation loss"), std::string::npos);
  expect_same_checkpoint(newest(validated), newest(run));
}

TEST_F(Resume, RecomputingChangesNoBit) {
  for (const auto& [stages, replicas] : {std::pair(1, 1), std::pair(3, 2)}) {
    const auto run_with = [&](const std::string& recompute) {
      const fs::path run = folder_ / fmt::format("recompute-{}-{}-{}", recompute, stages, replicas);
      const auto finished = run_command(
          train(run, stages, replicas, "--set pipeline.schedule=gpipe --set pipeline.recompute=" + recompute));
      EXPECT_EQ(finished.code, 0) << finished.output;
      return run;
    };
    const fs::path again = run_with("true");
    const fs::path kept = run_with("false");
    expect_same_checkpoint(newest(again), newest(kept));
    EXPECT_EQ(losses_of(again), losses_of(kept));
  }
}

TEST_F(Resume, FillingChangesNoBit) {
  for (const auto& [stages, replicas] : {std::pair(2, 1), std::pair(3, 2), std::pair(8, 1)}) {
    const auto run_with = [&](const std::string& fill) {
      const fs::path run = folder_ / fmt::format("fill-{}-{}-{}", fill, stages, replicas);
      const auto finished = run_command(
          train(run, stages, replicas, "--set run.trace=true --set pipeline.fill=" + fill));
      EXPECT_EQ(finished.code, 0) << finished.output;
      EXPECT_EQ(read_text(run / "trace.json").find("look ahead") != std::string::npos, fill == "true");
      return run;
    };
    const fs::path filled = run_with("true");
    const fs::path waiting = run_with("false");
    expect_same_checkpoint(newest(filled), newest(waiting));
    EXPECT_EQ(losses_of(filled), losses_of(waiting));
  }
}

TEST_F(Resume, TheCutChangesNoBit) {
  const auto run_with = [&](const std::string& name, const std::string& settings) {
    const fs::path run = folder_ / ("cut-" + name);
    const auto finished = run_command(train(run, 2, 1, settings));
    EXPECT_EQ(finished.code, 0) << finished.output;
    return run;
  };
  for (const std::string begin : {"encoder 0", "adapter", "llm 1", "head"}) {
    const std::string cut = fmt::format("--set 'pipeline.cut=[{}]'", begin);
    expect_end(run_command(train(folder_ / "plan", 2, 1, cut + " --dry-run")), 0, "stage 1: " + begin);
    const fs::path run = run_with(begin.substr(0, begin.find(' ')), cut);
    expect_same_checkpoint(newest(run), newest(unstopped()));
    EXPECT_EQ(losses_of(run), losses_of(unstopped())) << begin;
  }
  // Nothing is measured where the cut is told.
  const fs::path told = run_with("told", "--set pipeline.costs=measured --set 'pipeline.cut=[adapter]'");
  EXPECT_FALSE(fs::exists(told / "layer_costs.json"));
  expect_same_checkpoint(newest(told), newest(unstopped()));
}

TEST_F(Resume, ARunGoesOnWithTheCostsThatItHasMeasured) {
  const fs::path run = folder_ / "measured";
  const fs::path costs = run / "layer_costs.json";
  const std::string settings = "--set pipeline.costs=measured";
  expect_end(run_command(train(run, 2, 1, settings + " --set training.steps=6")), 0, "costs of layers measured on");
  const std::string found = read_text(costs);
  const auto on = run_command(train(run, 2, 1, settings));
  ASSERT_EQ(on.code, 0) << on.output;
  EXPECT_EQ(on.output.find("costs of layers measured on"), std::string::npos) << on.output;
  EXPECT_EQ(read_text(costs), found);
  // Those of other models are measured anew; what is no such file is named.
  const auto dry = [&](const std::string& more) {
    return run_command(train(run, 2, 1, settings + " --dry-run " + more));
  };
  EXPECT_EQ(dry("").output.find("info: costs of layers measured on"), std::string::npos);
  expect_end(dry("--set adapter.queries=7"), 0, "info: costs of layers measured on");
  EXPECT_EQ(read_text(costs), found) << "a dry run writes nothing";
  std::ofstream(costs) << "{";
  expect_end(dry(""), 2, costs.string());
}

// The loss on held-out rows, here the training rows in order, on three shapes.
TEST_F(Resume, TheValidationLossDoesNotDependOnTheShape) {
  const fs::path data = folder_ / "data-validation";
  fs::create_directories(data / "dataset");
  for (const char* name : {"train", "validation"}) {
    fs::copy(folder_ / "data/dataset/train", data / "dataset" / name);
  }
  std::vector<double> losses;
  std::vector<std::int64_t> tokens;
  const std::vector<std::pair<int, int>> shapes = {{1, 1}, {2, 1}, {1, 2}};
  for (const auto& [stages, replicas] : shapes) {
    const fs::path run = folder_ / fmt::format("validation-{}-{}", stages, replicas);
    // Microbatches of 4 make 6 of them, 2 a step: no shape divides them as another does.
    const auto finished = run_command(
        train(run, stages, replicas,
              fmt::format("--set data.folder={} --set data.validation_manifest={} --set "
                          "training.steps=2 --set training.validate_every=1 --set batch.micro_size=4",
                          data.string(), (folder_ / "manifest.jsonl").string())));
    ASSERT_EQ(finished.code, 0) << finished.output;
    std::ifstream in(run / "metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains("validation_loss") && json["step"] == 1) {
        losses.push_back(json["validation_loss"]);
        tokens.push_back(json["response_tokens"]);
      }
    }
  }
  ASSERT_EQ(losses.size(), 3u);
  // Every row's response with its end token: what one epoch of training counts.
  std::int64_t epoch = 0;
  std::ifstream in(unstopped() / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line);
    epoch += json.contains("loss") && json["step"] <= 3 ? json["response_tokens"].get<std::int64_t>() : 0;
  }
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(tokens[i], epoch);
    EXPECT_NEAR(losses[i] / losses[0], 1.0, 1e-5);
  }
}

TEST_F(Resume, TheLossFalls) {
  const auto losses = losses_of(unstopped());
  EXPECT_LT(losses.at(12), losses.at(1));
}

}  // namespace
}  // namespace desta::tests
