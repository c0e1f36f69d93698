// The tiny job and the real programs, for tests that watch them from outside.
#pragma once

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "multiprocess/command.h"
#include "support/tiny_job.h"
#include "trainer/checkpoint.h"

namespace desta::tests {
namespace fs = std::filesystem;

inline constexpr int kSteps = 12;

// Steps and losses of a run's metrics.jsonl; a step done again after a kill counts as it was last.
inline std::map<int, double> losses_of(const fs::path& run) {
  std::map<int, double> losses;
  std::ifstream in(run / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("loss")) {
      losses[json["step"]] = json["loss"].is_number() ? json["loss"].get<double>() : NAN;
    }
  }
  return losses;
}

inline fs::path newest(const fs::path& run) {
  const auto all = trainer::list_checkpoints(run);
  return all.empty() ? fs::path() : all.back();
}

// The files of two checkpoints are the same to the byte.
inline void expect_same_checkpoint(const fs::path& one, const fs::path& other) {
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(one)) {
    files.insert(entry.path().filename().string());
  }
  for (const auto& entry : fs::directory_iterator(other)) {
    files.insert(entry.path().filename().string());
  }
  EXPECT_TRUE(files.contains("adapter.safetensors")) << one;
  for (const auto& file : files) {
    EXPECT_EQ(read_text(one / file) == read_text(other / file), true)
        << file << " of " << one << " and " << other;
  }
}

class JobTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fresh_folder("job");
    config_ = write_tiny_config(folder_);
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  [[nodiscard]] static std::string bin(const std::string& name) {
    return std::string(DESTA_BIN) + "/" + name;
  }
  // desta-train on `stages` x `replicas` ranks into run folder `run`, twelve steps.
  [[nodiscard]] static std::string train(const fs::path& run, int stages, int replicas,
                                         const std::string& more = "") {
    return mpirun(stages * replicas,
                  fmt::format("{} {} --set run.folder={} --set pipeline.stages={} --set "
                              "data_parallel.replicas={} --set training.steps={} {}",
                              bin("desta-train"), config_.string(), run.string(), stages, replicas,
                              kSteps, more));
  }
  // A job ends with this code and its output has the text.
  static void expect_end(const Finished& finished, int code, const std::string& text) {
    EXPECT_EQ(finished.code, code) << finished.output;
    EXPECT_NE(finished.output.find(text), std::string::npos)
        << "wanted: " << text << "\n" << finished.output;
  }

  static inline fs::path folder_;
  static inline fs::path config_;
};

}  // namespace desta::tests
