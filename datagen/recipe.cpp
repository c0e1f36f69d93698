#include "datagen/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "runtime/core/hash.h"
#include "runtime/core/random.h"

namespace desta::datagen {
namespace {

// What is drawn for one recording, each draw by its name.
class Draw {
 public:
  Draw(std::string_view audio, std::uint64_t seed) : key_(runtime::hash64(audio, seed)) {}

  // Uniform in (0, 1).
  [[nodiscard]] double uniform(std::string_view what, std::string_view name) const {
    const std::uint64_t hash = runtime::mix_seed(runtime::hash64(what, key_), runtime::hash64(name));
    return (static_cast<double>(hash >> 11) + 0.5) * 0x1.0p-53;
  }

 private:
  std::uint64_t key_;
};

// Indices of the `count` largest (0: all of them), in the order of their indices.
std::vector<std::size_t> largest(const std::vector<double>& values, std::int64_t count) {
  std::vector<std::size_t> indices(values.size());
  for (std::size_t i = 0; i < indices.size(); ++i) {
    indices[i] = i;
  }
  const auto wanted = static_cast<std::size_t>(count);
  if (count == 0 || wanted >= values.size()) {
    return indices;
  }
  std::stable_sort(indices.begin(), indices.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  indices.resize(wanted);
  std::sort(indices.begin(), indices.end());
  return indices;
}

bool serves(const PromptGroup& group, const Metadata& metadata) {
  return std::all_of(group.needs.begin(), group.needs.end(), [&](const std::string& name) {
    return find_attribute(metadata, name) != nullptr;
  });
}

SeedOptions seeds_of(const Recipe& recipe, const PromptGroup& group, const Draw& draw) {
  SeedOptions seeds = recipe.seeds;
  seeds.attributes = group.attributes.value_or(recipe.seeds.attributes);
  const double drop = group.drop.value_or(recipe.drop);
  std::erase_if(seeds.attributes, [&](const std::string& name) {
    const bool needed = std::find(group.needs.begin(), group.needs.end(), name) != group.needs.end();
    return !needed && draw.uniform("attribute", name) < drop;
  });
  return seeds;
}

}  // namespace

std::string recipe_fingerprint(const Recipe& recipe) {
  std::string text = fmt::format("{} {} {} {:?} {}", recipe.draw, recipe.drop, recipe.seeds.attributes,
                                 recipe.seeds.layout, recipe.seeds.show_source);
  for (const PromptGroup& group : recipe.groups) {
    text += fmt::format("\n{:?} {} {} {} {} {} {} {} {}", group.name, group.weight, group.prompts, group.each,
                        group.needs, group.attributes.has_value(),
                        group.attributes.value_or(std::vector<std::string>{}), group.drop.value_or(-1),
                        group.mentions.value_or(-1));
  }
  return runtime::to_hex(runtime::hash64(text));
}

Recipe plain_recipe(std::vector<std::string> prompts, SeedOptions seeds) {
  Recipe recipe;
  recipe.groups.push_back({.prompts = std::move(prompts)});
  recipe.seeds = std::move(seeds);
  return recipe;
}

std::vector<Asked> asked_of(const Recipe& recipe, std::string_view audio, const Metadata& metadata,
                            std::uint64_t seed) {
  const Draw draw(audio, seed);
  std::vector<const PromptGroup*> groups;
  std::vector<double> values;
  for (const PromptGroup& group : recipe.groups) {
    if (serves(group, metadata)) {
      groups.push_back(&group);
      // The largest u^(1/weight) win; its logarithm orders the same.
      values.push_back(std::log(draw.uniform("group", group.name)) / group.weight);
    }
  }
  std::vector<Asked> asked;
  for (const std::size_t index : largest(values, recipe.draw)) {
    const PromptGroup& group = *groups[index];
    const SeedOptions seeds = seeds_of(recipe, group, draw);
    std::vector<double> chances;
    if (group.each > 0) {
      for (const std::string& prompt : group.prompts) {
        chances.push_back(draw.uniform("prompt", prompt));
      }
    } else {
      chances.resize(group.prompts.size());
    }
    for (const std::size_t prompt : largest(chances, group.each)) {
      const auto same = [&](const Asked& other) {
        return other.prompt == group.prompts[prompt] && other.seeds == seeds;
      };
      if (std::none_of(asked.begin(), asked.end(), same)) {
        asked.push_back({group.name, group.prompts[prompt], seeds});
      }
    }
  }
  return asked;
}

}  // namespace desta::datagen
