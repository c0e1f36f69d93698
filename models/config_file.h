// Reading the JSON configuration files of Hugging Face model folders with errors that name the file
// and the key.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/core/error.h"

namespace desta::models {

class ConfigFile {
 public:
  // Throws ModelError when the file is missing or is not a JSON object.
  explicit ConfigFile(std::filesystem::path path);

  [[nodiscard]] bool has(const std::string& key) const {
    return object_.contains(key) && !object_.at(key).is_null();
  }
  // Throws ModelError when the key is missing or of another type.
  template <typename T>
  [[nodiscard]] T get(const std::string& key) const {
    if (!has(key)) {
      throw runtime::ModelError("{}: key '{}' is missing", path_.string(), key);
    }
    try {
      return object_.at(key).get<T>();
    } catch (const nlohmann::json::exception& error) {
      throw runtime::ModelError("{}: key '{}': {}", path_.string(), key, error.what());
    }
  }
  template <typename T>
  [[nodiscard]] T get_or(const std::string& key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }
  // A positive integer.
  [[nodiscard]] std::int64_t size(const std::string& key) const;
  // Throws ModelError unless "architectures" holds one of `supported`.
  void require_architecture(const std::string& supported) const;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const nlohmann::json& object() const { return object_; }

 private:
  std::filesystem::path path_;
  nlohmann::json object_;
};

}  // namespace desta::models
