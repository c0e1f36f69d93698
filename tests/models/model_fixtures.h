// What the tests of models/ share: the folders that bench/peers made with other programs, scratch
// folders, and comparisons that say how far apart two tensors are.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "models/safetensors.h"
#include "runtime/core/error.h"

namespace desta::models {

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(DESTA_SOURCE_DIR) / "tests/models/fixtures" / name;
}

// A folder that is gone when the test ends.
class ScratchFolder {
 public:
  ScratchFolder() {
    static std::atomic<int> count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("desta-models-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() { std::filesystem::remove_all(path_); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

inline double largest(const at::Tensor& a) { return a.to(at::kDouble).abs().max().item<double>(); }

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && checksum(a) == checksum(b);
}

// Runs `function`, which must throw a ModelError whose message holds every one of `parts`.
template <typename Function>
void expect_model_error(Function&& function, std::initializer_list<std::string> parts) {
  try {
    function();
  } catch (const runtime::ModelError& error) {
    for (const auto& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "'" << part << "' is not in: " << error.what();
    }
    return;
  } catch (const std::exception& error) {
    FAIL() << "not a ModelError: " << error.what();
  }
  FAIL() << "no error; one that says '" << *parts.begin() << "' was expected";
}

}  // namespace desta::models
