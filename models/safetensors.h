// The safetensors file format (github.com/huggingface/safetensors): a little-endian 64-bit header
// length, a JSON header, then the tensors' bytes. Files are mapped, not read: a tensor costs memory
// only when it is touched, and processes of one host share the pages.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/tensor_source.h"
#include "runtime/core/dtype.h"

namespace desta::models {

// One tensor's place in a file.
struct TensorEntry {
  runtime::DType dtype = runtime::DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes from the start of the file
  std::uint64_t end = 0;
};

class SafetensorsFile {
 public:
  // Maps the file and checks its header against the file: lengths, offsets, overlaps, shapes, types.
  // Throws ModelError naming the file (and the tensor) for whatever does not fit.
  explicit SafetensorsFile(const std::filesystem::path& path);

  [[nodiscard]] const std::map<std::string, TensorEntry>& entries() const { return entries_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  // The tensor as it lies in the file, without a copy (private pages; the mapping lives as long as
  // the tensor does). Copied when the file does not align it to its element size.
  [[nodiscard]] Tensor tensor(const std::string& name) const;

 private:
  class Mapping;
  std::filesystem::path path_;
  std::shared_ptr<Mapping> mapping_;
  std::map<std::string, TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Writes tensors in name order, each aligned to 8 bytes. Throws InternalError when the disk is full.
// Not atomic by itself: callers publish the file or the folder it lies in.
void save_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                      const std::map<std::string, std::string>& metadata = {});

// All tensors of a file, copied into memory of their own.
[[nodiscard]] TensorMap load_safetensors(const std::filesystem::path& path);

// The weights of a Hugging Face model folder: `model.safetensors`, or the files that
// `model.safetensors.index.json` lists. Only headers are read until a tensor is asked for.
class ModelFolder final : public TensorSource {
 public:
  // Throws ModelError naming what is missing. Tensors are handed out as `precision` on `device`.
  explicit ModelFolder(std::filesystem::path folder, at::ScalarType precision = at::kFloat,
                       at::Device device = at::kCPU);

  Tensor get(const std::string& name, at::IntArrayRef shape) override;
  bool contains(const std::string& name) const override { return where_.contains(name); }

  // Names handed out so far, with the bytes they hold: a rank's own shard.
  [[nodiscard]] const TensorMap& loaded() const { return loaded_; }

 private:
  std::filesystem::path folder_;
  at::ScalarType precision_;
  at::Device device_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> where_;  // tensor name -> index into files_
  TensorMap loaded_;
};

// Names a model by what it is, not by where it lies: 16 hexadecimal digits over config.json,
// tokenizer.json where there is one, and of each weights file its size, header and 64 samples of 4 KiB.
// Throws ModelError when there is no model.
[[nodiscard]] std::string model_fingerprint(const std::filesystem::path& folder);

}  // namespace desta::models
