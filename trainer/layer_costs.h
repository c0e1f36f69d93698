// What one sample costs in each kind of unit into which the models are cut (partition.h).
#pragma once

#include <filesystem>
#include <string>

namespace desta::trainer {

// One pass of one sample.
struct UnitCost {
  double forward = 0;     // seconds
  double backward = 0;    // seconds; 0 where nothing flows back
  double kept_bytes = 0;  // from the forward pass to the backward pass
};

// All layers of a kind have one shape, so one of each is enough.
struct LayerCosts {
  std::string origin;  // for people: how and where they were found
  std::string models;  // shapes of the models that they hold for
  UnitCost encoder_front;
  UnitCost encoder_layer;
  UnitCost trained_encoder_layer;  // nothing where none learns
  UnitCost adapter;
  UnitCost llm_layer;
  UnitCost head;
};

// As JSON, one object for each kind with "forward", "backward" (seconds) and "kept_bytes"; "origin" and
// "models".
[[nodiscard]] std::string to_json(const LayerCosts& costs);
// Throws ConfigError naming the file and the key that is missing or is no number of 0 or more.
[[nodiscard]] LayerCosts read_layer_costs(const std::filesystem::path& file);
[[nodiscard]] LayerCosts parse_layer_costs(const std::string& json, const std::string& name);

}  // namespace desta::trainer
