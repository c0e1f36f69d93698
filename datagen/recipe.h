// Which questions a recording is answered for, and what the language model is told of it then: groups of
// prompts, mixed by weight.
//
// Whatever is drawn is drawn by a hash of seed, recording and the thing itself (rendezvous hashing, Thaler
// and Ravishankar 1998; with weights, Efraimidis and Spirakis 2006). So neither the order of manifests, groups or prompts
// nor the number of workers matters, and a prompt or group that is added changes no other draw than
// those that it wins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datagen/metadata.h"
#include "datagen/seed_transcript.h"

namespace desta::datagen {

struct PromptGroup {
  std::string name = {};
  double weight = 1;                       // where groups are drawn
  std::vector<std::string> prompts = {};
  std::int64_t each = 0;                   // prompts that a recording gets of these; 0: all
  std::vector<std::string> needs = {};     // only recordings of which these attributes are known
  std::optional<std::vector<std::string>> attributes = std::nullopt;  // told here; none: the recipe's
  std::optional<double> drop = std::nullopt;                          // the same
  std::optional<std::int64_t> mentions = std::nullopt;  // in the place of FilterOptions::mentions
  friend bool operator==(const PromptGroup&, const PromptGroup&) = default;
};

struct Recipe {
  std::vector<PromptGroup> groups = {};
  std::int64_t draw = 0;   // groups that a recording gets, by weight, of those it may get; 0: all
  double drop = 0;         // share of the attributes that a seed transcript leaves out; those that a
                           // group needs never are. The same ones for all prompts of a recording
  SeedOptions seeds = {};
  friend bool operator==(const Recipe&, const Recipe&) = default;
};

// Sixteen hexadecimal digits over all that a recipe says: another one has others.
[[nodiscard]] std::string recipe_fingerprint(const Recipe& recipe);

// What a list of prompts is: one group without a name, each prompt for every recording.
[[nodiscard]] Recipe plain_recipe(std::vector<std::string> prompts, SeedOptions seeds);

// One question about one recording.
struct Asked {
  std::string group;
  std::string prompt;
  SeedOptions seeds;  // what its seed transcript tells
};

// What the recipe asks about a recording, group by group; no prompt twice with the same seed.
[[nodiscard]] std::vector<Asked> asked_of(const Recipe& recipe, std::string_view audio,
                                          const Metadata& metadata, std::uint64_t seed);

}  // namespace desta::datagen
