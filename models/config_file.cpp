#include "models/config_file.h"

#include <fstream>

namespace desta::models {
using runtime::ModelError;

ConfigFile::ConfigFile(std::filesystem::path path) : path_(std::move(path)) {
  std::ifstream in(path_);
  if (!in) {
    throw ModelError("{}: cannot read it; is this a Hugging Face model folder?", path_.string());
  }
  try {
    object_ = nlohmann::json::parse(in);
  } catch (const nlohmann::json::exception& error) {
    throw ModelError("{}: not valid JSON: {}", path_.string(), error.what());
  }
  if (!object_.is_object()) {
    throw ModelError("{}: not a JSON object", path_.string());
  }
}

std::int64_t ConfigFile::size(const std::string& key) const {
  const auto value = get<std::int64_t>(key);
  if (value <= 0) {
    throw ModelError("{}: key '{}' is {}, must be positive", path_.string(), key, value);
  }
  return value;
}

void ConfigFile::require_architecture(const std::string& supported) const {
  const auto names = get<std::vector<std::string>>("architectures");
  for (const auto& name : names) {
    if (name == supported) {
      return;
    }
  }
  throw ModelError("{}: architecture '{}' is not supported here; {} is needed", path_.string(),
                   names.empty() ? "(none)" : names.front(), supported);
}

}  // namespace desta::models
