// For tests of what YAML files may say: a folder with one file, and the errors that name it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "runtime/core/error.h"
#include "support/tiny_job.h"

namespace desta::launch {

class YamlTest : public ::testing::Test {
 protected:
  explicit YamlTest(const std::string& name)
      : folder_(tests::fresh_folder(name)), file_(folder_ / (name + ".yaml")) {}
  ~YamlTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& text) const { std::ofstream(file_) << text; }
  // The error's text, or "" when there is none.
  static std::string error_of(const std::function<void()>& work) {
    try {
      work();
    } catch (const runtime::ConfigError& wrong) {
      return wrong.what();
    }
    return "";
  }
  // How an error begins that names a line of the file.
  [[nodiscard]] std::string at(int line) const { return fmt::format("{}:{}: ", file_.string(), line); }

  std::filesystem::path folder_;
  std::filesystem::path file_;
};

}  // namespace desta::launch
