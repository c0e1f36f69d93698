// Reading a YAML file strictly: a visitor names each key and where its value goes; what it did not name
// is an error. Every message names file, line and key.
#pragma once

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/core/edit_distance.h"
#include "runtime/core/error.h"

namespace desta::launch {

// The map that a file holds; an empty one for an empty file. Throws ConfigError naming the file, and the
// line where it is not YAML.
inline YAML::Node load_yaml_map(const std::filesystem::path& path) {
  YAML::Node root;
  if (std::filesystem::is_directory(path)) {
    throw runtime::ConfigError("{}: is a folder; give the path of a configuration file", path.string());
  }
  try {
    root = YAML::LoadFile(path.string());
  } catch (const YAML::BadFile&) {
    throw runtime::ConfigError("{}: cannot read it; give the path of a configuration file", path.string());
  } catch (const YAML::ParserException& error) {
    throw runtime::ConfigError("{}:{}: not valid YAML: {}", path.string(), error.mark.line + 1, error.msg);
  }
  if (root.IsNull()) {
    root = YAML::Node(YAML::NodeType::Map);
  }
  if (!root.IsMap()) {
    throw runtime::ConfigError("{}:1: the file must be a map of sections", path.string());
  }
  return root;
}

class YamlReader {
 public:
  // `overridden`: paths that --set has given.
  YamlReader(const YAML::Node& root, std::string file, std::vector<std::string> overridden)
      : file_(std::move(file)), overridden_(std::move(overridden)) {
    stack_.push_back({root, "", {}});
  }

  template <typename Body>
  void section(const std::string& name, Body&& body) {
    const YAML::Node node = take(name);
    if (node && !node.IsNull() && !node.IsMap()) {
      throw runtime::ConfigError("{}: '{}' must be a section of keys", where(node, path_of(name)), path_of(name));
    }
    stack_.push_back({node && node.IsMap() ? node : YAML::Node(YAML::NodeType::Map), path_of(name), {}});
    body();
    finish();
    stack_.pop_back();
  }

  template <typename T>
  void value(const std::string& key, T& field) {
    const YAML::Node node = take(key);
    if (!node) {
      return;
    }
    const std::string place = where(node.IsNull() ? key_node(key) : node, path_of(key));
    places_[path_of(key)] = place;
    if constexpr (std::is_same_v<T, std::string>) {
      if (node.IsNull()) {  // "key:" with nothing behind
        field.clear();
        return;
      }
    }
    try {
      field = node.as<T>();
    } catch (const YAML::Exception&) {
      throw runtime::ConfigError("{}: '{}' is not {}", place, path_of(key), kind_of(field));
    }
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(field)) {
        throw runtime::ConfigError("{}: '{}' must be a finite number", place, path_of(key));
      }
    }
  }

  // Complains about the first key of the current section that nobody asked for.
  void finish() {
    const Frame& frame = stack_.back();
    std::set<std::string> seen;
    for (const auto& entry : frame.node) {
      if (!entry.first.IsScalar()) {
        throw runtime::ConfigError("{}: a key must be a name", where(entry.first, ""));
      }
      const auto key = entry.first.as<std::string>();
      const std::string place = where(entry.first, path_of(key));
      if (!frame.known.contains(key)) {
        throw runtime::ConfigError("{}: unknown key '{}'; did you mean '{}'?", place, path_of(key),
                          path_of(nearest(key, frame.known)));
      }
      if (!seen.insert(key).second) {
        throw runtime::ConfigError("{}: '{}' stands twice", place, path_of(key));
      }
    }
  }

  // Of a value that was read: throws, naming its place, when it is not `range`.
  void require(const std::string& path, bool holds, const std::string& range) const {
    if (!holds) {
      const auto found = places_.find(path);
      throw runtime::ConfigError("{}: '{}' must be {}",
                                 found == places_.end() ? file_ : found->second, path, range);
    }
  }

 private:
  struct Frame {
    YAML::Node node;
    std::string path;
    std::set<std::string> known;
  };

  static std::string nearest(const std::string& word, const std::set<std::string>& known) {
    return *std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
      return runtime::edit_distance(word, a) < runtime::edit_distance(word, b);
    });
  }
  static std::string kind_of(const std::string&) { return "a text"; }
  static std::string kind_of(bool) { return "true or false"; }
  static std::string kind_of(double) { return "a number"; }
  static std::string kind_of(std::int64_t) { return "a whole number"; }
  static std::string kind_of(std::uint64_t) { return "a whole number of 0 or more"; }
  template <typename T>
  static std::string kind_of(const std::vector<T>&) {
    return "a list";
  }

  YAML::Node take(const std::string& key) {
    stack_.back().known.insert(key);
    const YAML::Node& map = stack_.back().node;
    return map[key];
  }
  // Where nothing stands behind a key, its own place is the one to name.
  [[nodiscard]] YAML::Node key_node(const std::string& key) const {
    for (const auto& entry : stack_.back().node) {
      if (entry.first.IsScalar() && entry.first.Scalar() == key) {
        return entry.first;
      }
    }
    return {};
  }
  [[nodiscard]] std::string path_of(const std::string& key) const {
    return stack_.back().path.empty() ? key : stack_.back().path + "." + key;
  }
  [[nodiscard]] std::string where(const YAML::Node& node, const std::string& path) const {
    const auto given = [&](const std::string& key) {
      return path == key || path.starts_with(key + ".");
    };
    const auto mark = node.Mark();
    return mark.is_null() || std::any_of(overridden_.begin(), overridden_.end(), given)
               ? file_ + " (--set)"
               : fmt::format("{}:{}", file_, mark.line + 1);
  }

  std::string file_;
  std::vector<std::string> overridden_;
  std::map<std::string, std::string> places_;  // of values read, by path
  std::vector<Frame> stack_;
};

}  // namespace desta::launch
