#include "launch/config.h"

#include <yaml-cpp/yaml.h>

#include <sstream>

#include "launch/config_fields.h"
#include "launch/config_ranges.h"
#include "launch/recipe_file.h"
#include "launch/yaml_reader.h"
#include "runtime/core/error.h"

namespace desta::launch {
namespace fs = std::filesystem;
using runtime::ConfigError;

namespace {

class Writer {
 public:
  Writer() { out_ << YAML::BeginMap; }
  template <typename Body>
  void section(const std::string& name, Body&& body) {
    out_ << YAML::Key << name << YAML::Value << YAML::BeginMap;
    body();
    out_ << YAML::EndMap;
  }
  template <typename T>
  void value(const std::string& key, const T& field) {
    out_ << YAML::Key << key << YAML::Value << field;
  }
  void value(const std::string& key, const std::string& field) {
    out_ << YAML::Key << key << YAML::Value << YAML::DoubleQuoted << field;
  }
  template <typename T>
  void value(const std::string& key, const std::vector<T>& field) {
    out_ << YAML::Key << key << YAML::Value << YAML::Flow << field;
  }
  [[nodiscard]] std::string text() {
    out_ << YAML::EndMap;
    return std::string(out_.c_str()) + "\n";
  }

 private:
  YAML::Emitter out_;
};

void apply_override(YAML::Node root, const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw ConfigError("--set '{}': write it as key.path=value", text);
  }
  std::vector<std::string> keys;
  std::istringstream path(text.substr(0, equals));
  for (std::string key; std::getline(path, key, '.');) {
    keys.push_back(key);
  }
  try {
    YAML::Node node = root;
    for (std::size_t i = 0; i + 1 < keys.size(); ++i) {
      YAML::Node next = node[keys[i]];
      if (!next.IsDefined() || next.IsNull()) {
        next = YAML::Node(YAML::NodeType::Map);
        node[keys[i]] = next;
      }
      node.reset(next);
    }
    node[keys.back()] = YAML::Load(text.substr(equals + 1));
  } catch (const YAML::Exception& error) {
    throw ConfigError("--set '{}': {}", text, error.what());
  }
}

}  // namespace

fs::path JobConfig::speech_folder(const std::string& name) const {
  return fs::path(data.folder) / "speech" / name;
}

fs::path JobConfig::dataset_folder(const std::string& name) const {
  return fs::path(data.folder) / "dataset" / name;
}

fs::path JobConfig::measured_file(const std::string& name) const {
  return fs::path(data.folder) / "measured" / (name + ".jsonl");
}

JobConfig load_config(const fs::path& path, const std::vector<std::string>& overrides) {
  const YAML::Node root = load_yaml_map(path);
  std::vector<std::string> overridden;
  for (const auto& text : overrides) {
    apply_override(root, text);
    overridden.push_back(text.substr(0, text.find('=')));
  }
  JobConfig config;
  YamlReader reader(root, path.string(), std::move(overridden));
  visit_fields(reader, config);
  reader.finish();
  check_ranges(config, [&](const std::string& key, bool holds, const std::string& range) {
    reader.require(key, holds, range);
  });
  if (!config.data.recipe.empty()) {
    (void)recipe_of(config);  // says now what is wrong with it
  }
  config.training.dataset = config.dataset_folder("train").string();
  config.training.writing_ranks = config.placement.ranks;
  if (config.placement.where == "colocated") {
    config.training.colocated = {config.data.decoding, config.placement.groups};
  }
  const bool validates =
      !config.data.validation_manifest.empty() ||
      (config.data.synthetic.enabled && config.data.synthetic.validation > 0);
  config.training.validation = validates ? config.dataset_folder("validation").string() : "";
  return config;
}

std::string to_yaml(const JobConfig& config) {
  JobConfig copy = config;
  Writer writer;
  visit_fields(writer, copy);
  return writer.text();
}

}  // namespace desta::launch
