#include "trainer/feature_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include "models/safetensors.h"
#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "runtime/core/log.h"

namespace desta::trainer {
namespace fs = std::filesystem;

namespace {

// To be raised when other code makes other features of the same sound: reading, resampling, log-mel,
// Whisper's layers.
constexpr int kVersion = 1;

// Of a file, about: names, shapes and the checksum.
constexpr std::uint64_t kMostHeader = 1024;

// Names that keep the order of a list in name order.
std::string name_of(std::size_t index) { return fmt::format("{:03}", index); }

std::string checksum_of(const std::vector<at::Tensor>& features) {
  std::uint64_t hash = 0;
  for (const auto& tensor : features) {
    hash = hash * 31 + models::checksum(tensor);
  }
  return runtime::to_hex(hash);
}

}  // namespace

FeatureCache::FeatureCache(FeatureFolder folder, std::string setup, at::Device device)
    : folder_(std::move(folder)),
      setup_(fmt::format("{} version {}", setup, kVersion)),
      device_(device) {}

const fs::path& FeatureCache::file_of(const fs::path& audio) const {
  const auto known = files_.find(audio.string());
  if (known != files_.end()) {
    return known->second;
  }
  const std::string key =
      runtime::to_hex(runtime::hash64(runtime::read_file(audio), runtime::hash64(setup_)));
  // Two levels: a folder of a million files is slow on shared file systems.
  return files_[audio.string()] = folder_.path() / key.substr(0, 2) / (key + ".safetensors");
}

std::vector<at::Tensor> FeatureCache::read(const fs::path& file) const {
  const models::SafetensorsFile stored(file);
  std::vector<at::Tensor> features;
  for (const auto& [name, entry] : stored.entries()) {
    features.push_back(stored.tensor(name));
  }
  const auto wanted = stored.metadata().find("checksum");
  if (wanted == stored.metadata().end() || wanted->second != checksum_of(features)) {
    throw runtime::ModelError("{}: does not match its checksum", file.string());
  }
  for (auto& tensor : features) {
    tensor = tensor.to(device_);
  }
  return features;
}

void FeatureCache::write(const fs::path& file, const std::vector<at::Tensor>& features) const {
  models::TensorMap tensors;
  std::uint64_t bytes = kMostHeader;
  for (std::size_t i = 0; i < features.size(); ++i) {
    tensors[name_of(i)] = features[i];
    bytes += models::byte_size(features[i]);
  }
  // Not synced: what a power cut takes is noticed and computed again.
  const fs::path temporary = fmt::format("{}.{}.tmp", file.string(), ::getpid());
  try {
    if (!folder_.reserve(bytes)) {
      writes_ = false;
      runtime::log().warn("{} has come to its limit: further features are made each time",
                          folder_.path().string());
      return;
    }
    fs::create_directories(file.parent_path());
    models::save_safetensors(temporary, tensors, {{"checksum", checksum_of(features)}});
    fs::rename(temporary, file);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    writes_ = false;
    runtime::log().warn("features are not kept from here on: {}", error.what());
  }
}

std::vector<at::Tensor> FeatureCache::get(
    const fs::path& audio, const std::function<std::vector<at::Tensor>()>& compute) const {
  const fs::path& file = file_of(audio);
  if (fs::exists(file)) {
    try {
      auto features = read(file);
      ++found_;
      return features;
    } catch (const runtime::ModelError& error) {
      runtime::log().warn("features are made again: {}", error.what());
    }
  }
  ++computed_;
  auto features = compute();
  if (writes_) {
    write(file, features);
  }
  return features;
}

}  // namespace desta::trainer
