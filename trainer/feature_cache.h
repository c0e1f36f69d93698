// What Whisper's frozen layers made of a recording, kept on disk or in memory: it never changes, so it is
// computed once, whatever the epoch, the run or the trial. One safetensors file a recording, named by a
// hash of the audio's bytes, the model and the layers; written beside its name and renamed, so that any
// number of processes may share a folder; mapped to be read, so that those of one host share its pages.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "trainer/feature_folder.h"

namespace desta::trainer {

class FeatureCache {
 public:
  // `setup`: what features depend on besides the audio and this version of the code (model, layers,
  // taps, precision, device). Features from disk are handed out on `device`.
  FeatureCache(FeatureFolder folder, std::string setup, at::Device device = at::kCPU);

  // The features of a recording: from disk, or else made by `compute` and put there. A file that is
  // damaged is named in the log and made again; a full disk or a folder that has come to its limit is named
  // once, and nothing more is kept then.
  // Throws DataError when the recording cannot be read.
  [[nodiscard]] std::vector<at::Tensor> get(
      const std::filesystem::path& audio,
      const std::function<std::vector<at::Tensor>()>& compute) const;

  // How many recordings were found and how many computed.
  [[nodiscard]] std::uint64_t found() const { return found_; }
  [[nodiscard]] std::uint64_t computed() const { return computed_; }

 private:
  [[nodiscard]] const std::filesystem::path& file_of(const std::filesystem::path& audio) const;
  [[nodiscard]] std::vector<at::Tensor> read(const std::filesystem::path& file) const;
  void write(const std::filesystem::path& file, const std::vector<at::Tensor>& features) const;

  FeatureFolder folder_;
  std::string setup_;
  at::Device device_;
  mutable std::unordered_map<std::string, std::filesystem::path> files_;  // by recording
  mutable bool writes_ = true;
  mutable std::uint64_t found_ = 0;
  mutable std::uint64_t computed_ = 0;
};

}  // namespace desta::trainer
