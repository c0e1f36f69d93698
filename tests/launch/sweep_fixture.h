// A folder with a base configuration, for tests that write sweep files and what trials leave.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "launch/sweep_plan.h"
#include "multiprocess/command.h"
#include "runtime/core/error.h"
#include "support/tiny_job.h"

namespace desta::tests {
namespace fs = std::filesystem;

class SweepTest : public ::testing::Test {
 protected:
  SweepTest() : folder_(fresh_folder("sweep")) {
    write("base.yaml",
          "data: {folder: d, train_manifest: m.jsonl, seed: 5}\n"
          "training: {steps: 10}\n"
          "adapter: {queries: 4}\n");
  }
  ~SweepTest() override { fs::remove_all(folder_); }

  fs::path write(const fs::path& name, const std::string& text) const {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }
  // A sweep file with `text` behind its name, base and folder: line 4 is the first of it.
  [[nodiscard]] fs::path sweep(const std::string& text) const {
    return write("sweep.yaml", "name: a sweep\nbase: base.yaml\nfolder: " +
                                   (folder_ / "state").string() + "\n" + text);
  }
  [[nodiscard]] launch::Plan plan(const std::string& text,
                                  const std::vector<std::string>& overrides = {}) const {
    return launch::make_plan(launch::read_sweep_file(sweep(text)), overrides);
  }
  // The message of the ConfigError that the file ends in.
  [[nodiscard]] std::string mistake(const std::string& text,
                                    const std::vector<std::string>& overrides = {}) const {
    try {
      (void)plan(text, overrides);
    } catch (const runtime::ConfigError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

inline void expect_holds(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "wanted: " << part << "\nin: " << text;
}

inline void expect_lacks(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << "not wanted: " << part << "\nin: " << text;
}

}  // namespace desta::tests
