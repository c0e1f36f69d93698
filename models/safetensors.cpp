#include "models/safetensors.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::models {
namespace fs = std::filesystem;
using nlohmann::json;
using runtime::DType;
using runtime::ModelError;

namespace {

// The format's own bound on the header (safetensors README): 100 MB.
constexpr std::uint64_t kMaximumHeader = 100'000'000;

const std::map<std::string, DType>& dtype_names() {
  static const std::map<std::string, DType> names = {
      {"F32", DType::kFloat32}, {"F16", DType::kFloat16}, {"BF16", DType::kBFloat16},
      {"F64", DType::kFloat64}, {"I32", DType::kInt32},   {"I64", DType::kInt64},
      {"U8", DType::kUInt8}};
  return names;
}

std::string dtype_name(DType dtype) {
  for (const auto& [name, value] : dtype_names()) {
    if (value == dtype) {
      return name;
    }
  }
  throw ModelError("dtype {} has no safetensors name", runtime::name_of(dtype));
}

TensorEntry parse_entry(const fs::path& path, const std::string& name, const json& value,
                        std::uint64_t data_begin, std::uint64_t file_size) {
  TensorEntry entry;
  const std::string type = value.at("dtype").get<std::string>();
  const auto known = dtype_names().find(type);
  if (known == dtype_names().end()) {
    throw ModelError("{}: tensor '{}' has dtype {}; only F32, F16, BF16, F64, I32, I64, U8 are read",
                     path.string(), name, type);
  }
  entry.dtype = known->second;
  entry.shape = value.at("shape").get<std::vector<std::int64_t>>();
  const auto offsets = value.at("data_offsets").get<std::vector<std::uint64_t>>();
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > file_size - data_begin) {
    throw ModelError("{}: tensor '{}' lies outside the file ({} bytes); the file is truncated or "
                     "damaged: download it again",
                     path.string(), name, file_size);
  }
  entry.begin = data_begin + offsets[0];
  entry.end = data_begin + offsets[1];
  std::uint64_t expected = runtime::size_of(entry.dtype);
  for (const auto size : entry.shape) {
    if (size < 0 || __builtin_mul_overflow(expected, static_cast<std::uint64_t>(size), &expected)) {
      throw ModelError("{}: tensor '{}' has an impossible shape", path.string(), name);
    }
  }
  if (expected != entry.end - entry.begin) {
    throw ModelError("{}: tensor '{}' of shape [{}] {} needs {} bytes but the header gives {}",
                     path.string(), name, fmt::join(entry.shape, ", "), type, expected,
                     entry.end - entry.begin);
  }
  return entry;
}

TensorEntry read_entry(const fs::path& path, const std::string& name, const json& value,
                       std::uint64_t data_begin, std::uint64_t file_size) {
  try {
    return parse_entry(path, name, value, data_begin, file_size);
  } catch (const json::exception& error) {
    throw ModelError("{}: tensor '{}' is badly described: {}", path.string(), name, error.what());
  }
}

}  // namespace

class SafetensorsFile::Mapping {
 public:
  explicit Mapping(const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      throw ModelError("{}: cannot open it: {}", path.string(), std::strerror(errno));
    }
    struct stat info {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(fd);
      throw ModelError("{}: not a regular file", path.string());
    }
    size_ = static_cast<std::uint64_t>(info.st_size);
    if (size_ > 0) {
      data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    }
    const int error = errno;
    ::close(fd);
    if (data_ == MAP_FAILED) {
      throw ModelError("{}: cannot map it: {}", path.string(), std::strerror(error));
    }
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data_ != nullptr) {
      ::munmap(data_, size_);
    }
  }

  [[nodiscard]] char* data() const { return static_cast<char*>(data_); }
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::uint64_t size_ = 0;
};

SafetensorsFile::SafetensorsFile(const fs::path& path)
    : path_(path), mapping_(std::make_shared<Mapping>(path)) {
  const std::uint64_t size = mapping_->size();
  std::uint64_t header_size = 0;
  if (size < sizeof(header_size)) {
    throw ModelError("{}: {} bytes are too few for a safetensors file; download it again",
                     path.string(), size);
  }
  std::memcpy(&header_size, mapping_->data(), sizeof(header_size));
  if (header_size > kMaximumHeader || header_size > size - sizeof(header_size)) {
    throw ModelError("{}: the header claims {} bytes but the file has {}; it is truncated or not a "
                     "safetensors file",
                     path.string(), header_size, size);
  }
  const std::uint64_t data_begin = sizeof(header_size) + header_size;
  try {
    const char* text = mapping_->data() + sizeof(header_size);
    const json header = json::parse(text, text + header_size);
    if (!header.is_object()) {
      throw ModelError("{}: the header is not valid: it is not a JSON object", path.string());
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        metadata_ = value.get<std::map<std::string, std::string>>();
        continue;
      }
      TensorEntry entry = read_entry(path, name, value, data_begin, size);
      ranges.emplace_back(entry.begin, entry.end);
      entries_.emplace(name, std::move(entry));
    }
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].first < ranges[i - 1].second) {
        throw ModelError("{}: two tensors overlap; the header is damaged", path.string());
      }
    }
  } catch (const json::exception& error) {
    throw ModelError("{}: the header is not valid: {}", path.string(), error.what());
  }
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw ModelError("{}: tensor '{}' is missing", path_.string(), name);
  }
  const TensorEntry& entry = found->second;
  const auto options = at::TensorOptions().dtype(to_scalar_type(entry.dtype));
  char* data = mapping_->data() + entry.begin;
  if (reinterpret_cast<std::uintptr_t>(data) % runtime::size_of(entry.dtype) != 0) {
    Tensor copy = at::empty(entry.shape, options);
    std::memcpy(copy.data_ptr(), data, entry.end - entry.begin);
    return copy;
  }
  return at::from_blob(data, entry.shape, [mapping = mapping_](void*) {}, options);
}

void save_safetensors(const fs::path& path, const TensorMap& tensors,
                      const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::uint64_t bytes = byte_size(tensor);
    header[name] = {{"dtype", dtype_name(to_dtype(tensor.scalar_type()))},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t header_size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&header_size), sizeof(header_size));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto& [name, tensor] : tensors) {
    const Tensor plain = tensor.detach().to(at::kCPU).contiguous();
    out.write(static_cast<const char*>(plain.data_ptr()),
              static_cast<std::streamsize>(byte_size(plain)));
  }
  out.close();
  if (!out) {
    throw runtime::InternalError("{}: cannot write {} bytes: {}; free some space", path.string(),
                                 header_size + offset + sizeof(header_size), std::strerror(errno));
  }
}

TensorMap load_safetensors(const fs::path& path) {
  const SafetensorsFile file(path);
  TensorMap tensors;
  for (const auto& [name, entry] : file.entries()) {
    tensors[name] = file.tensor(name).clone();
  }
  return tensors;
}

ModelFolder::ModelFolder(fs::path folder, at::ScalarType precision, at::Device device)
    : folder_(std::move(folder)), precision_(precision), device_(device) {
  const fs::path single = folder_ / "model.safetensors";
  const fs::path index = folder_ / "model.safetensors.index.json";
  if (fs::exists(single)) {
    files_.emplace_back(single);
    for (const auto& [name, entry] : files_.back().entries()) {
      where_[name] = 0;
    }
    return;
  }
  if (!fs::exists(index)) {
    throw ModelError("{}: neither model.safetensors nor model.safetensors.index.json is there",
                     folder_.string());
  }
  try {
    std::ifstream in(index);
    const json map = json::parse(in).at("weight_map");
    std::map<std::string, std::size_t> file_index;
    for (const auto& [name, file] : map.items()) {
      const auto [where, is_new] = file_index.emplace(file.get<std::string>(), files_.size());
      if (is_new) {
        files_.emplace_back(folder_ / where->first);
      }
      where_[name] = where->second;
    }
  } catch (const json::exception& error) {
    throw ModelError("{}: not a valid index: {}", index.string(), error.what());
  }
}

Tensor ModelFolder::get(const std::string& name, at::IntArrayRef shape) {
  const auto found = where_.find(name);
  if (found == where_.end()) {
    throw ModelError("{}: tensor '{}' is missing", folder_.string(), name);
  }
  const SafetensorsFile& file = files_[found->second];
  Tensor tensor = file.tensor(name);
  if (tensor.sizes() != shape) {
    throw ModelError("{}: tensor '{}' has shape [{}], config.json asks for [{}]",
                     file.path().string(), name, fmt::join(tensor.sizes(), ", "),
                     fmt::join(shape, ", "));
  }
  if (!at::isFloatingType(tensor.scalar_type())) {
    throw ModelError("{}: tensor '{}' has dtype {}; weights must be floating point",
                     file.path().string(), name, c10::toString(tensor.scalar_type()));
  }
  tensor = tensor.to(device_, precision_);
  loaded_[name] = tensor;
  return tensor;
}

std::string model_fingerprint(const fs::path& folder) {
  constexpr std::uint64_t kSample = 4096;
  constexpr std::uint64_t kSamples = 64;
  std::uint64_t hash = runtime::hash64(runtime::read_file(folder / "config.json"));
  if (fs::exists(folder / "tokenizer.json")) {
    hash = runtime::hash64(runtime::read_file(folder / "tokenizer.json"), hash);
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") {
      files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    throw runtime::ModelError("{}: no .safetensors file is in it", folder.string());
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) {
    const std::uint64_t size = fs::file_size(path);
    hash = runtime::hash64(std::to_string(size), hash);
    std::ifstream in(path, std::ios::binary);
    std::string sample(kSample, '\0');
    for (std::uint64_t i = 0; i <= kSamples; ++i) {
      const std::uint64_t last = size > kSample ? size - kSample : 0;
      in.seekg(static_cast<std::streamoff>(last / kSamples * i));
      in.read(sample.data(), static_cast<std::streamsize>(std::min(kSample, size)));
      if (!in) {
        throw runtime::ModelError("{}: cannot be read", path.string());
      }
      hash = runtime::hash64(sample, hash);
    }
  }
  return runtime::to_hex(hash);
}

}  // namespace desta::models
