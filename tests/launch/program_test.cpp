#include <gtest/gtest.h>

#include <fstream>

#include "desta_version.h"
#include "multiprocess/command.h"
#include "support/tiny_job.h"

namespace desta::tests {
namespace {

const std::vector<std::string> kPrograms = {"desta-train", "desta-datagen", "desta-eval", "desta-chat"};

std::string program(const std::string& name) { return std::string(DESTA_BIN) + "/" + name; }

TEST(Program, HelpNamesEveryOptionThatScriptsRelyOn) {
  for (const auto& name : kPrograms) {
    const auto help = run_command(program(name) + " --help");
    EXPECT_EQ(help.code, 0) << help.output;
    for (const char* option : {"--help", "--version", "--set", "--dry-run"}) {
      EXPECT_NE(help.output.find(option), std::string::npos) << name << " " << option;
    }
  }
}

TEST(Program, VersionIsOneLine) {
  for (const auto& name : kPrograms) {
    const auto version = run_command(program(name) + " --version");
    EXPECT_EQ(version.code, 0);
    EXPECT_EQ(version.output, std::string(DESTA_VERSION) + "\n") << name;
  }
}

TEST(Program, AWrongCommandLineIsBadInput) {
  for (const auto& name : kPrograms) {
    const auto nothing = run_command(program(name));
    EXPECT_EQ(nothing.code, 2) << name;
    EXPECT_NE(nothing.output.find("required"), std::string::npos) << nothing.output;
    EXPECT_EQ(run_command(program(name) + " --no-such-option").code, 2) << name;
  }
}

class ConfiguredProgram : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fresh_folder("program");
    config_ = write_tiny_config(folder_);
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }
  // The command of each program with the configuration.
  static std::string command(const std::string& name, const std::string& config) {
    return name == "desta-chat"
               ? fmt::format("{} --audio {}/audio/00.wav --config {}", program(name), folder_.string(), config)
               : program(name) + " " + config;
  }
  static inline std::filesystem::path folder_;
  static inline std::filesystem::path config_;
};

TEST_F(ConfiguredProgram, AMisspeltKeyEndsWithCodeTwoAndTheSuggestion) {
  for (const auto& name : kPrograms) {
    const auto result =
        run_command(command(name, config_.string()) + " --set optimizer.learning_rat=1");
    EXPECT_EQ(result.code, 2) << name;
    EXPECT_NE(result.output.find("unknown key 'optimizer.learning_rat'; did you mean "
                                 "'optimizer.learning_rate'?"),
              std::string::npos)
        << result.output;
  }
}

TEST_F(ConfiguredProgram, AMissingConfigurationEndsWithCodeTwoAndItsName) {
  for (const auto& name : kPrograms) {
    const auto result = run_command(command(name, "/absent/job.yaml"));
    EXPECT_EQ(result.code, 2) << name;
    EXPECT_NE(result.output.find("/absent/job.yaml"), std::string::npos) << result.output;
  }
}

TEST_F(ConfiguredProgram, ADryRunPrintsThePlanAndTouchesNothing) {
  const auto config = config_.string();
  const auto train = run_command(program("desta-train") + " --dry-run " + config +
                                 " --set pipeline.stages=3 --set data_parallel.replicas=2");
  EXPECT_EQ(train.code, 0) << train.output;
  EXPECT_NE(train.output.find("3 stages x 2 replicas = 6 ranks"), std::string::npos) << train.output;
  EXPECT_NE(train.output.find("adapter"), std::string::npos);
  EXPECT_NE(train.output.find("bubble"), std::string::npos);
  const auto data = run_command(program("desta-datagen") + " --dry-run " + config);
  EXPECT_EQ(data.code, 0) << data.output;
  EXPECT_NE(data.output.find("manifest.jsonl"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(ConfiguredProgram, ADryRunMeasuresLayersForLaterRuns) {
  const auto profile = folder_ / "costs.json";
  const auto command = program("desta-train") + " --dry-run " + config_.string() + " --set pipeline.stages=2";
  const auto measured = run_command(command + " --profile " + profile.string());
  EXPECT_EQ(measured.code, 0) << measured.output;
  EXPECT_NE(measured.output.find("samples/s"), std::string::npos) << measured.output;
  const auto again = run_command(command + " --set pipeline.costs=" + profile.string());
  EXPECT_EQ(again.code, 0) << again.output;
  const auto plan = [](const std::string& output) { return output.substr(output.find("2 stages x")); };
  EXPECT_EQ(plan(again.output), plan(measured.output)) << "the same costs, the same plan";
  const auto other = run_command(command + " --set adapter.queries=7 --set pipeline.costs=" +
                                 profile.string());
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.output.find("measured for other models"), std::string::npos) << other.output;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(ConfiguredProgram, ADryRunPlansForAClusterThatIsNotThere) {
  const auto command = program("desta-train") + " --dry-run " + config_.string() +
                       " --set pipeline.stages=3 --set data_parallel.replicas=2 --cluster ";
  const auto plan = run_command(command + DESTA_SOURCE_DIR "/configs/clusters/64xh100.yaml");
  EXPECT_EQ(plan.code, 0) << plan.output;
  EXPECT_NE(plan.output.find("6 ranks of 64 x H100 SXM's 64"), std::string::npos) << plan.output;
  EXPECT_NE(plan.output.find("samples/s"), std::string::npos) << plan.output;
  const auto small = folder_ / "small.yaml";
  const auto refused = [&](const std::string& text, const std::string& message) {
    std::ofstream(small) << text;
    const auto result = run_command(command + small.string());
    EXPECT_EQ(result.code, 2);
    EXPECT_NE(result.output.find(message), std::string::npos) << result.output;
  };
  refused("nodes: 1\nranks_per_node: 4\n", "small has 4 ranks, but pipeline.stages 3 x");
  refused("ranks_per_node: 8\nmemory_gib: 0.00001\n", "no cut into 3 stages");
  refused("ranks_per_node: 8\nmemory: 80\n", "unknown key 'memory'; did you mean 'memory_gib'?");
  refused("network: {gbytes_per_second: 0}\n", "'network.gbytes_per_second' must be more than 0");
}

TEST_F(ConfiguredProgram, ADryRunWritesItsTableWhichIsASchedule) {
  const auto table = folder_ / "table.csv";
  const auto picture = folder_ / "step.svg";
  const auto command = program("desta-train") + " --dry-run " + config_.string() +
                       " --set pipeline.stages=2 --set pipeline.chunks=2";
  const auto written = run_command(command + " --set pipeline.schedule=interleaved --schedule-csv " +
                                   table.string() + " --timeline " + picture.string());
  EXPECT_EQ(written.code, 0) << written.output;
  EXPECT_NE(written.output.find("stage 1, chunk 1:"), std::string::npos) << written.output;
  EXPECT_GT(std::filesystem::file_size(picture), 1000u);
  const auto read = run_command(command + " --set pipeline.schedule=" + table.string());
  EXPECT_EQ(read.code, 0) << read.output;
  const auto bubble = [](const std::string& output) { return output.substr(output.find(": bubble")); };
  EXPECT_EQ(bubble(read.output), bubble(written.output));
  const auto other = run_command(command + " --set pipeline.stages=3 --set pipeline.schedule=" +
                                 table.string());
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.output.find(table.string() + ": "), std::string::npos) << other.output;
}

TEST_F(ConfiguredProgram, MoreStagesThanUnitsEndsWithCodeTwoAndTheNumbers) {
  const auto result =
      run_command(program("desta-train") + " --dry-run " + config_.string() + " --set pipeline.stages=40");
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.output.find("pipeline.stages x pipeline.chunks is 40 but these models have 11 units"),
            std::string::npos)
      << result.output;
}

TEST_F(ConfiguredProgram, EvaluationAndChatWithoutACheckpointSayWhatToDo) {
  for (const std::string name : {"desta-eval", "desta-chat"}) {
    const auto result = run_command(command(name, config_.string()));
    EXPECT_EQ(result.code, 2) << name;
    EXPECT_NE(result.output.find("holds no whole checkpoint"), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("--adapter"), std::string::npos) << result.output;
  }
}

}  // namespace
}  // namespace desta::tests
