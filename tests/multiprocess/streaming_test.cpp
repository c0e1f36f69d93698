// Training on a dataset that the same job writes: by the training ranks themselves, or by others.
#include "multiprocess/job_fixture.h"

#include "datagen/dataset.h"

namespace desta::tests {
namespace {

class Streaming : public JobTest {
 protected:
  using Texts = std::map<std::string, std::string>;  // responses by row

  static Texts texts_of(const fs::path& data) {
    Texts texts;
    const auto dataset = datagen::Dataset::open(data / "dataset/train");
    for (std::size_t i = 0; i < dataset.size(); ++i) {
      EXPECT_TRUE(texts.emplace(dataset.id(i), dataset.row(i).response).second) << "twice";
    }
    return texts;
  }
  // What desta-datagen writes.
  static const Texts& expected() {
    static const Texts texts = [] {
      const fs::path data = folder_ / "made-before";
      const auto finished = run_command(
          mpirun(1, fmt::format("{} {} --set data.folder={}", bin("desta-datagen"), config_.string(),
                                data.string())));
      EXPECT_EQ(finished.code, 0) << finished.output;
      return texts_of(data);
    }();
    return texts;
  }
  struct Step {
    int epoch = 0;
    std::vector<std::string> rows;
    friend bool operator==(const Step&, const Step&) = default;
  };
  static std::vector<Step> record_of(const fs::path& run) {
    std::vector<Step> steps;
    std::ifstream in(run / "stream.jsonl");
    for (std::string line; std::getline(in, line);) {
      const auto json = nlohmann::json::parse(line, nullptr, false);
      if (!json.is_discarded()) {
        EXPECT_EQ(json["step"], steps.size());
        steps.push_back({json["epoch"], json["rows"]});
      }
    }
    return steps;
  }
  static std::string stream(const std::string& name, const std::string& placement, int stages,
                            int replicas, const std::string& more = "", int writers = 0) {
    return mpirun(stages * replicas + writers,
                  fmt::format("{} {} --set run.folder={} --set data.folder={} --set pipeline.stages={} --set "
                              "data_parallel.replicas={} --set training.steps={} --set generation.placement={} "
                              "--set generation.start_rows=8 --set generation.ahead_rows=16 "
                              "--set generation.batch_size=3 --set generation.groups=2 {}",
                              bin("desta-train"), config_.string(), run_of(name).string(),
                              data_of(name).string(), stages, replicas, kSteps, placement, more));
  }
  static fs::path run_of(const std::string& name) { return folder_ / name / "run"; }
  static fs::path data_of(const std::string& name) { return folder_ / name / "data"; }

  static void expect_whole(const std::string& name) {
    EXPECT_EQ(texts_of(data_of(name)), expected());
    const auto record = record_of(run_of(name));
    ASSERT_EQ(record.size(), static_cast<std::size_t>(kSteps));
    std::map<int, std::set<std::string>> seen;  // by epoch
    for (const Step& step : record) {
      EXPECT_EQ(step.rows.size(), 8U);
      for (const auto& row : step.rows) {
        EXPECT_TRUE(seen[step.epoch].insert(row).second) << "twice in an epoch: " << row;
      }
    }
    EXPECT_EQ(seen.size(), 4U) << "24 rows are three steps an epoch";
  }
};

TEST_F(Streaming, TrainingRanksWriteWhatTheyLearnFrom) {
  for (const auto& [stages, replicas, more] :
       {std::tuple{1, 1, ""}, std::tuple{2, 1, ""}, std::tuple{3, 2, ""},
        std::tuple{2, 1, "--set pipeline.chunks=2 --set pipeline.schedule=interleaved"}}) {
    const std::string name = fmt::format("colocated-{}x{}-{}", stages, replicas, std::string(more).size());
    const auto finished = run_command(stream(name, "colocated", stages, replicas, more), 120);
    ASSERT_EQ(finished.code, 0) << finished.output;
    expect_whole(name);
    EXPECT_EQ(losses_of(run_of(name)).size(), static_cast<std::size_t>(kSteps));
  }
}

TEST_F(Streaming, OtherRanksWriteThem) {
  const auto finished = run_command(stream("dedicated", "dedicated", 2, 1, "--set generation.ranks=2", 2), 120);
  ASSERT_EQ(finished.code, 0) << finished.output;
  expect_whole("dedicated");
}

// Nobody writes until a worker comes; one is killed, and another writes what it had.
TEST_F(Streaming, WorkersThatJoinWriteThem) {
  const std::string name = "joined";
  const fs::path socket = fs::temp_directory_path() / fmt::format("streaming-{}", ::getpid());
  const fs::path token = run_of(name) / "join.token";
  Background job(stream(name, "workers", 2, 1, fmt::format("--set runtime.join=unix:{}", socket.string())));
  ASSERT_TRUE(job.wait_until([&] { return fs::exists(token) && fs::exists(socket); })) << job.output();
  const std::string worker = fmt::format("{} {} --join unix:{} --token-file {}", bin("desta-datagen"),
                                         config_.string(), socket.string(), token.string());
  {
    Background killed(worker);
    (void)job.wait_until([&] { return losses_of(run_of(name)).size() >= 1; });
    killed.kill_all();
  }
  Background other(worker);
  while (!job.ended()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(job.code(), 0) << job.output();
  expect_whole(name);
}

// Writing takes nothing from the training but time: with the same rows for each step, and nothing to write,
// each loss is the same to the bit.
TEST_F(Streaming, WritingDoesNotTouchTheTraining) {
  auto finished = run_command(stream("disturbed", "colocated", 2, 1), 120);
  ASSERT_EQ(finished.code, 0) << finished.output;
  fs::create_directories(run_of("quiet"));
  fs::create_directories(data_of("quiet"));
  fs::copy(data_of("disturbed"), data_of("quiet"), fs::copy_options::recursive);
  fs::copy(run_of("disturbed") / "stream.jsonl", run_of("quiet") / "stream.jsonl");
  finished = run_command(stream("quiet", "colocated", 2, 1), 120);
  expect_end(finished, 0, "24 rows are planned, 24 of them are there");
  EXPECT_EQ(losses_of(run_of("quiet")), losses_of(run_of("disturbed")));
  expect_same_checkpoint(newest(run_of("quiet")), newest(run_of("disturbed")));
  EXPECT_EQ(record_of(run_of("quiet")), record_of(run_of("disturbed")));
}

TEST_F(Streaming, AKilledRunGoesOnWithTheSameRows) {
  const std::string slow = "--set generation.batch_size=1 --set generation.groups=1 --set checkpoint.every=3";
  const std::string command = stream("killed", "colocated", 2, 1, slow);
  const auto steps = [&] { return losses_of(run_of("killed")).size(); };
  std::vector<Step> before;
  std::map<int, double> losses;
  for (const std::size_t count : {2, 7}) {
    ASSERT_TRUE(kill_when(command, [&] { return steps() >= count; }));
    const auto record = record_of(run_of("killed"));
    ASSERT_GE(record.size(), before.size());
    EXPECT_TRUE(std::equal(before.begin(), before.end(), record.begin())) << "a recorded step has changed";
    before = record;
    for (const auto& [step, loss] : losses_of(run_of("killed"))) {
      EXPECT_TRUE(!losses.contains(step) || losses[step] == loss) << "step " << step;
      losses[step] = loss;
    }
  }
  const auto finished = run_command(command, 120);
  ASSERT_EQ(finished.code, 0) << finished.output;
  expect_whole("killed");
  const auto record = record_of(run_of("killed"));
  EXPECT_TRUE(std::equal(before.begin(), before.end(), record.begin()));
  for (const auto& [step, loss] : losses_of(run_of("killed"))) {
    EXPECT_TRUE(!losses.contains(step) || losses[step] == loss) << "step " << step;
  }
}

TEST_F(Streaming, ValidationRowsAreWrittenFirst) {
  const auto finished = run_command(
      stream("validated", "colocated", 2, 1,
             fmt::format("--set data.validation_manifest={} --set training.validate_every=6",
                         (folder_ / "manifest.jsonl").string())),
      120);
  expect_end(finished, 0, "step 6: validation loss");
  expect_whole("validated");
  EXPECT_EQ(datagen::Dataset::open(data_of("validated") / "dataset/validation").size(), 24U);
}

TEST_F(Streaming, RefusesWhatDoesNotGoTogether) {
  expect_end(run_command(stream("bad", "colocated", 2, 1, "--set pipeline.schedule=ahead --set pipeline.chunks=2")),
             2, "pipeline.schedule ahead knows all rows beforehand");
  expect_end(run_command(stream("bad", "colocated", 1, 1, "--set train.what=lora")), 2, "use dedicated ranks");
  expect_end(run_command(stream("bad", "dedicated", 1, 1)), 2, "generation.ranks");
  expect_end(run_command(stream("bad", "dedicated", 1, 1, "--set generation.ranks=2", 1)), 2,
             "generation.ranks 2 = 3");
  expect_end(run_command(stream("bad", "workers", 1, 1)), 2, "workers can join only where runtime.join says");
  expect_end(run_command(stream("bad", "colocated", 1, 1, "--set generation.ahead_rows=15")), 2,
             "twice batch.global_size");
}

// Another configuration's rows are not those that the run began with.
TEST_F(Streaming, ARunFolderOfOtherRowsIsRefused) {
  ASSERT_EQ(run_command(stream("other", "colocated", 1, 1, "--set training.steps=2")).code, 0);
  expect_end(run_command(stream("other", "colocated", 1, 1, "--set generation.temperature=0.5")), 2,
             "use another run.folder");
}

}  // namespace
}  // namespace desta::tests
