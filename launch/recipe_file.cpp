#include "launch/recipe_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <fstream>

#include "launch/measured_manifest.h"
#include "launch/yaml_reader.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

using datagen::PromptGroup;
using datagen::Recipe;
using runtime::ConfigError;

// "all" is 0, "one" is 1; else a number of 1 or more. -1 for anything else.
std::int64_t count_of(const std::string& text) {
  if (text == "all") {
    return 0;
  }
  if (text == "one") {
    return 1;
  }
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  return error == std::errc() && end == text.data() + text.size() && count >= 1 ? count : -1;
}

std::vector<std::string> read_prompts(const fs::path& path) {
  std::ifstream in(path);
  if (!in || fs::is_directory(path)) {
    throw ConfigError("{}: cannot read it; a recipe's file of prompts has one a line, and lies beside the recipe",
                      path.string());
  }
  std::vector<std::string> prompts;
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find_first_not_of(" \t\r");
    if (first != std::string::npos) {
      prompts.push_back(line.substr(first, line.find_last_not_of(" \t\r") - first + 1));
    }
  }
  if (prompts.empty()) {
    throw ConfigError("{}: not one prompt; write one a line", path.string());
  }
  return prompts;
}

class RecipeReader {
 public:
  RecipeReader(const fs::path& path, const datagen::SeedOptions& seeds)
      : path_(path), root_(load_yaml_map(path)), reader_(root_, path.string(), {}) {
    recipe_.seeds = seeds;
  }

  Recipe read() {
    reader_.section("seeds", [&] {
      reader_.value("attributes", recipe_.seeds.attributes);
      reader_.value("show_source", recipe_.seeds.show_source);
      reader_.value("layout", recipe_.seeds.layout);
      reader_.value("drop", recipe_.drop);
    });
    require_attributes("seeds.attributes", recipe_.seeds.attributes);
    require_share("seeds.drop", recipe_.drop);
    try {
      datagen::check_layout(recipe_.seeds.layout);
    } catch (const ConfigError& error) {
      throw ConfigError("{}: 'seeds.layout': {}", path_.string(), error.what());
    }
    read_groups();
    read_draw();
    reader_.finish();
    return std::move(recipe_);
  }

 private:
  void read_groups() {
    std::vector<std::string> names;
    const YAML::Node& root = root_;
    const YAML::Node groups = root["groups"];
    if (groups && groups.IsMap()) {
      for (const auto& entry : groups) {
        if (entry.first.IsScalar()) {
          names.push_back(entry.first.as<std::string>());
        }
      }
    }
    reader_.section("groups", [&] {
      for (const std::string& name : names) {
        reader_.section(name, [&] { read_group(name); });
      }
    });
    if (recipe_.groups.empty()) {
      throw ConfigError("{}: no group of prompts; write groups: {{describe: {{prompts: [...]}}}}",
                        path_.string());
    }
  }

  void read_group(const std::string& name) {
    const std::string path = "groups." + name;
    PromptGroup group;
    group.name = name;
    std::string file;
    std::string each = "all";
    std::vector<std::string> attributes;
    double drop = -1;
    std::int64_t mentions = -1;
    reader_.value("weight", group.weight);
    reader_.value("prompts", group.prompts);
    reader_.value("file", file);
    reader_.value("each", each);
    reader_.value("needs", group.needs);
    const bool has_attributes = says(name, "attributes");
    reader_.value("attributes", attributes);
    const bool has_drop = says(name, "drop");
    reader_.value("drop", drop);
    const bool has_mentions = says(name, "mentions");
    reader_.value("mentions", mentions);
    reader_.require(path + ".weight", group.weight > 0, "more than 0");
    group.each = count_of(each);
    reader_.require(path + ".each", group.each >= 0, "all, one or a whole number of 1 or more");
    require_attributes(path + ".needs", group.needs);
    if (has_attributes) {
      require_attributes(path + ".attributes", attributes);
      group.attributes = attributes;
    }
    if (has_drop) {
      require_share(path + ".drop", drop);
      group.drop = drop;
    }
    if (has_mentions) {
      reader_.require(path + ".mentions", mentions >= 0, "0 or more");
      group.mentions = mentions;
    }
    if (!file.empty()) {
      for (auto& prompt : read_prompts(path_.parent_path() / file)) {
        group.prompts.push_back(std::move(prompt));
      }
    }
    require_told(path, group);
    require_prompts(path, group);
    recipe_.groups.push_back(std::move(group));
  }

  void read_draw() {
    std::string draw = "all";
    reader_.value("draw", draw);
    recipe_.draw = count_of(draw);
    reader_.require("draw", recipe_.draw >= 0, "all, one or a whole number of 1 or more");
    for (const PromptGroup& group : recipe_.groups) {
      reader_.require("groups." + group.name + ".weight", recipe_.draw > 0 || !says(group.name, "weight"),
                      "left out, or draw given: without it every group serves all recordings, whatever it weighs");
    }
  }

  [[nodiscard]] bool says(const std::string& group, const std::string& key) const {
    const YAML::Node& root = root_;
    const YAML::Node node = root["groups"][group];
    return node.IsMap() && node[key].IsDefined();
  }

  void require_attributes(const std::string& path, const std::vector<std::string>& names) const {
    const auto known = datagen::seed_attributes();
    reader_.require(path,
                    std::all_of(names.begin(), names.end(),
                                [&](const std::string& name) {
                                  return std::find(known.begin(), known.end(), name) != known.end();
                                }),
                    fmt::format("a list of {}", fmt::join(known, ", ")));
  }
  void require_share(const std::string& path, double share) const {
    reader_.require(path, share >= 0 && share <= 1, "between 0 and 1");
  }
  void require_told(const std::string& path, const PromptGroup& group) const {
    const auto& told = group.attributes ? *group.attributes : recipe_.seeds.attributes;
    for (const std::string& name : group.needs) {
      reader_.require(path + ".needs", std::find(told.begin(), told.end(), name) != told.end(),
                      fmt::format("among the attributes that the group is told; '{}' is not", name));
    }
  }
  void require_prompts(const std::string& path, const PromptGroup& group) const {
    if (group.prompts.empty()) {
      throw ConfigError("{}: '{}' has no prompts; give some, or a file of them", path_.string(), path);
    }
    for (std::size_t i = 0; i < group.prompts.size(); ++i) {
      const auto& prompt = group.prompts[i];
      if (prompt.find_first_not_of(" \t\r\n") == std::string::npos) {
        throw ConfigError("{}: '{}.prompts': number {} is empty", path_.string(), path, i + 1);
      }
      if (std::find(group.prompts.begin(), group.prompts.begin() + static_cast<std::ptrdiff_t>(i), prompt) !=
          group.prompts.begin() + static_cast<std::ptrdiff_t>(i)) {
        throw ConfigError("{}: '{}.prompts': \"{}\" stands twice", path_.string(), path, prompt);
      }
    }
    if (group.each > static_cast<std::int64_t>(group.prompts.size())) {
      throw ConfigError("{}: '{}.each' is {}, but there are {} prompts", path_.string(), path, group.each,
                        group.prompts.size());
    }
  }

  fs::path path_;
  YAML::Node root_;
  YamlReader reader_;
  Recipe recipe_;
};

}  // namespace

Recipe load_recipe(const fs::path& path, const datagen::SeedOptions& seeds) {
  return RecipeReader(path, seeds).read();
}

Recipe recipe_of(const JobConfig& config) {
  return config.data.recipe.empty() ? datagen::plain_recipe(config.data.prompts, seed_options(config))
                                    : load_recipe(config.data.recipe, seed_options(config));
}

datagen::FilterOptions filters_of(const JobConfig& config, const Recipe& recipe) {
  datagen::FilterOptions filters = config.data.filters;
  for (const PromptGroup& group : recipe.groups) {
    if (group.mentions && filters.mentions > 0) {
      filters.group_mentions[group.name] = *group.mentions;
    }
  }
  return filters;
}

}  // namespace desta::launch
