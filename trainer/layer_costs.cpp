#include "trainer/layer_costs.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// Calls `visit(key, cost)` for each kind.
template <typename Costs, typename Visit>
void visit_kinds(Costs& costs, Visit&& visit) {
  visit("encoder_front", costs.encoder_front);
  visit("encoder_layer", costs.encoder_layer);
  visit("trained_encoder_layer", costs.trained_encoder_layer);
  visit("adapter", costs.adapter);
  visit("llm_layer", costs.llm_layer);
  visit("head", costs.head);
}

}  // namespace

std::string to_json(const LayerCosts& costs) {
  nlohmann::ordered_json json = {{"origin", costs.origin}, {"models", costs.models}};
  visit_kinds(costs, [&](const char* key, const UnitCost& cost) {
    json[key] = {{"forward", cost.forward},
                 {"backward", cost.backward},
                 {"kept_bytes", cost.kept_bytes}};
  });
  return json.dump(2) + "\n";
}

LayerCosts parse_layer_costs(const std::string& text, const std::string& name) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) {
    throw runtime::ConfigError("{}: not a profile of layers; make one with `desta-train CONFIG "
                               "--dry-run --profile FILE`",
                               name);
  }
  LayerCosts costs;
  const auto text_of = [&](const char* key) {
    return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
  };
  costs.origin = text_of("origin");
  costs.models = text_of("models");
  visit_kinds(costs, [&](const std::string& kind, UnitCost& cost) {
    const auto number = [&](const char* key) {
      const auto place = nlohmann::json::json_pointer("/" + kind + "/" + key);
      const bool there = json.contains(place) && json[place].is_number();
      const double value = there ? json[place].get<double>() : NAN;
      if (!std::isfinite(value) || value < 0) {
        throw runtime::ConfigError("{}: {}.{} is not a number of 0 or more", name, kind, key);
      }
      return value;
    };
    cost = {number("forward"), number("backward"), number("kept_bytes")};
  });
  return costs;
}

LayerCosts read_layer_costs(const std::filesystem::path& file) {
  if (!std::filesystem::is_regular_file(file)) {
    throw runtime::ConfigError("{}: no such file; make one with `desta-train CONFIG --dry-run "
                               "--profile FILE`, or set pipeline.costs to counted or measured",
                               file.string());
  }
  return parse_layer_costs(runtime::read_file(file), file.string());
}

}  // namespace desta::trainer
