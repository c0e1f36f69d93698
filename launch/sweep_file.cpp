#include "launch/sweep_file.h"

#include <algorithm>
#include <map>
#include <set>

#include "runtime/core/atomic_file.h"
#include "runtime/core/edit_distance.h"
#include "runtime/core/error.h"

namespace desta::launch {
namespace fs = std::filesystem;
using runtime::ConfigError;

namespace {

// Keys that a trial gets from the sweep itself.
const std::map<std::string, std::string> kNotForSettings = {
    {"run.seed", "list seeds under 'seeds'"},
    {"run.folder", "every trial has a folder of its own under 'folder'"},
    {"train.start_from", "with 'rounds' above 1 every round starts from the one before"}};

class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path.string()) {}

  [[nodiscard]] YAML::Node parse(const std::string& text) const {
    YAML::Node root;
    try {
      root = YAML::Load(text);
    } catch (const YAML::ParserException& error) {
      throw ConfigError("{}:{}: not valid YAML: {}; a text with ?, : or # in it must be quoted",
                        path_, error.mark.line + 1, error.msg);
    }
    if (!root.IsMap()) {
      throw ConfigError("{}:1: a sweep file must be a map with 'name', 'base' and 'folder'", path_);
    }
    return root;
  }

  [[nodiscard]] std::string where(const YAML::Node& node) const {
    return fmt::format("{}:{}", path_, line_of(node));
  }
  [[nodiscard]] static int line_of(const YAML::Node& node) {
    return node.Mark().is_null() ? 0 : node.Mark().line + 1;
  }

  // The keys of a map, each once.
  [[nodiscard]] std::vector<std::string> keys(const YAML::Node& map,
                                              const std::string& what) const {
    if (!map.IsMap()) {
      throw ConfigError("{}: '{}' must be a map", where(map), what);
    }
    std::vector<std::string> found;
    for (const auto& entry : map) {
      if (!entry.first.IsScalar()) {
        throw ConfigError("{}: a key of '{}' must be a name", where(entry.first), what);
      }
      const auto& key = entry.first.Scalar();
      if (std::find(found.begin(), found.end(), key) != found.end()) {
        throw ConfigError("{}: '{}' stands twice", where(entry.first), key);
      }
      found.push_back(key);
    }
    return found;
  }

  void check_known(const YAML::Node& root, const std::vector<std::string>& known) const {
    (void)keys(root, "the file");
    for (const auto& entry : root) {
      const auto& key = entry.first.Scalar();
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        const auto nearest = std::min_element(known.begin(), known.end(), [&](auto& a, auto& b) {
          return runtime::edit_distance(key, a) < runtime::edit_distance(key, b);
        });
        throw ConfigError("{}: unknown key '{}'; did you mean '{}'?", where(entry.first), key,
                          *nearest);
      }
    }
  }

  template <typename T>
  void value(const YAML::Node& root, const std::string& key, T& field, const char* kind) const {
    const YAML::Node node = root[key];
    if (!node) {
      return;
    }
    try {
      field = node.as<T>();
    } catch (const YAML::Exception&) {
      throw ConfigError("{}: '{}' is not {}", where(node), key, kind);
    }
  }

  [[nodiscard]] std::string text(const YAML::Node& root, const std::string& key) const {
    const YAML::Node node = root[key];
    if (!node || !node.IsScalar() || node.Scalar().empty()) {
      throw ConfigError("{}: '{}' is missing or not a text", node ? where(node) : path_, key);
    }
    return node.Scalar();
  }

  // A map of dotted configuration keys.
  [[nodiscard]] std::vector<Setting> settings(const YAML::Node& map,
                                              const std::string& what) const {
    std::vector<Setting> found;
    if (map.IsNull()) {
      return found;
    }
    for (const auto& key : keys(map, what)) {
      found.push_back(setting(key, map[key]));
    }
    return found;
  }

  [[nodiscard]] Setting setting(const std::string& key, const YAML::Node& value) const {
    if (const auto found = kNotForSettings.find(key); found != kNotForSettings.end()) {
      throw ConfigError("{}: '{}' is not set here: {}", where(value), key, found->second);
    }
    return {key, flow_yaml(value), line_of(value)};
  }

  // The values that a key of 'grid' or 'paired' takes, one after the other.
  [[nodiscard]] std::vector<Setting> choices(const std::string& key,
                                             const YAML::Node& values) const {
    if (!values.IsSequence() || values.size() == 0) {
      throw ConfigError("{}: '{}' must be a list of one or more values", where(values), key);
    }
    std::vector<Setting> found;
    for (const auto& value : values) {
      found.push_back(setting(key, value));
    }
    return found;
  }

 private:
  std::string path_;
};

std::string shown(const Setting& setting) {
  const YAML::Node value = YAML::Load(setting.value);
  return setting.key + "=" + (value.IsScalar() ? value.Scalar() : setting.value);
}

// Something that is varied: its possibilities, of which every condition has one.
using Factor = std::vector<Condition>;

Factor list_factor(const Reader& reader, const YAML::Node& list) {
  Factor factor;
  for (const auto& name : reader.keys(list, "list")) {
    factor.push_back({name, reader.settings(list[name], "list." + name)});
  }
  if (factor.empty()) {
    throw ConfigError("{}: 'list' has no condition", reader.where(list));
  }
  return factor;
}

Factor grid_factor(const std::vector<Setting>& choices) {
  Factor factor;
  for (const auto& choice : choices) {
    factor.push_back({shown(choice), {choice}});
  }
  return factor;
}

// The n-th values of all keys of the map go together.
Factor paired_factor(const Reader& reader, const YAML::Node& map) {
  Factor factor;
  for (const auto& key : reader.keys(map, "paired")) {
    const auto choices = reader.choices(key, map[key]);
    if (factor.empty()) {
      factor.resize(choices.size());
    }
    if (choices.size() != factor.size()) {
      throw ConfigError(
          "{}: '{}' has {} values and the keys before it have {}; in one map of "
          "'paired' the n-th values go together",
          reader.where(map[key]), key, choices.size(), factor.size());
    }
    for (std::size_t i = 0; i < choices.size(); ++i) {
      factor[i].name += (factor[i].name.empty() ? "" : ", ") + shown(choices[i]);
      factor[i].settings.push_back(choices[i]);
    }
  }
  return factor;
}

std::vector<Factor> read_factors(const Reader& reader, const YAML::Node& root) {
  std::vector<Factor> factors;
  if (const YAML::Node list = root["list"]) {
    factors.push_back(list_factor(reader, list));
  }
  if (const YAML::Node paired = root["paired"]) {
    if (!paired.IsSequence()) {
      throw ConfigError("{}: 'paired' must be a list of maps", reader.where(paired));
    }
    for (const auto& map : paired) {
      factors.push_back(paired_factor(reader, map));
    }
  }
  if (const YAML::Node grid = root["grid"]) {
    for (const auto& key : reader.keys(grid, "grid")) {
      factors.push_back(grid_factor(reader.choices(key, grid[key])));
    }
  }
  std::erase_if(factors, [](const Factor& factor) { return factor.empty(); });
  return factors;
}

// A key belongs to one factor: which of two values would hold is nothing to guess.
void check_varied_once(const fs::path& path, const std::vector<Factor>& factors) {
  std::set<std::string> earlier;
  for (const auto& factor : factors) {
    std::set<std::string> here;
    for (const auto& option : factor) {
      for (const auto& setting : option.settings) {
        if (earlier.contains(setting.key)) {
          throw ConfigError("{}:{}: '{}' is varied twice", path.string(), setting.line,
                            setting.key);
        }
        here.insert(setting.key);
      }
    }
    earlier.merge(here);
  }
}

std::vector<Condition> cross(const std::vector<Factor>& factors) {
  std::vector<Condition> conditions = {{}};
  for (const auto& factor : factors) {
    std::vector<Condition> longer;
    for (const auto& left : conditions) {
      for (const auto& right : factor) {
        Condition both = left;
        both.name += (left.name.empty() ? "" : ", ") + right.name;
        both.settings.insert(both.settings.end(), right.settings.begin(), right.settings.end());
        longer.push_back(std::move(both));
      }
    }
    conditions = std::move(longer);
  }
  if (factors.empty()) {
    conditions.front().name = "base";
  }
  return conditions;
}

}  // namespace

std::string flow_yaml(const YAML::Node& value) {
  YAML::Node copy = YAML::Clone(value);
  if (copy.IsMap() || copy.IsSequence()) {
    copy.SetStyle(YAML::EmitterStyle::Flow);
  }
  YAML::Emitter out;
  out << copy;
  return out.c_str();
}

SweepFile read_sweep_file(const fs::path& path) {
  SweepFile file;
  if (!fs::is_regular_file(path)) {
    throw ConfigError("{}: cannot read it; give the path of a sweep file", path.string());
  }
  file.path = path;
  file.text = runtime::read_file(path);
  const Reader reader(path);
  const YAML::Node root = reader.parse(file.text);
  reader.check_known(root, {"name", "base", "folder", "set", "list", "grid", "paired", "seeds",
                            "baseline", "rounds", "together", "ranks", "launcher"});
  file.name = reader.text(root, "name");
  file.base = path.parent_path() / reader.text(root, "base");
  file.folder = reader.text(root, "folder");
  if (const YAML::Node set = root["set"]) {
    file.set = reader.settings(set, "set");
  }
  const auto factors = read_factors(reader, root);
  check_varied_once(path, factors);
  file.conditions = cross(factors);
  if (const YAML::Node seeds = root["seeds"]) {
    reader.value(root, "seeds", file.seeds, "a list of whole numbers");
    if (file.seeds.empty() ||
        std::set(file.seeds.begin(), file.seeds.end()).size() != file.seeds.size()) {
      throw ConfigError("{}: 'seeds' must be one or more different numbers", reader.where(seeds));
    }
  }
  reader.value(root, "baseline", file.baseline, "a text");
  std::set<std::string> names;
  for (const auto& condition : file.conditions) {
    if (!names.insert(condition.name).second) {
      throw ConfigError("{}: two conditions are called '{}'", path.string(), condition.name);
    }
  }
  if (!file.baseline.empty() && !names.contains(file.baseline)) {
    const auto nearest = std::min_element(names.begin(), names.end(), [&](auto& a, auto& b) {
      return runtime::edit_distance(file.baseline, a) < runtime::edit_distance(file.baseline, b);
    });
    throw ConfigError("{}: no condition is called '{}'; did you mean '{}'?",
                      reader.where(root["baseline"]), file.baseline, *nearest);
  }
  reader.value(root, "rounds", file.rounds, "a whole number");
  reader.value(root, "together", file.together, "a whole number");
  reader.value(root, "ranks", file.ranks, "a whole number");
  reader.value(root, "launcher", file.launcher, "a text");
  for (const auto& [key, number] : {std::pair{"rounds", file.rounds},
                                    {"together", file.together},
                                    {"ranks", file.ranks}}) {
    if (root[key] && number < 1) {
      throw ConfigError("{}: '{}' must be 1 or more", reader.where(root[key]), key);
    }
  }
  if (file.rounds > 1 && file.together > 1) {
    throw ConfigError("{}: trials of several 'rounds' are trained one by one; leave 'together' out",
                      reader.where(root["together"]));
  }
  return file;
}

}  // namespace desta::launch
