#include "trainer/partition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>

#include "runtime/core/error.h"

namespace desta::trainer {

double memory_of(std::int64_t parameters, std::int64_t learned, double kept_bytes,
                 std::int64_t samples, std::int64_t element_bytes) {
  return static_cast<double>(parameters * element_bytes) +
         4.0 * sizeof(float) * static_cast<double>(learned) +
         kept_bytes * static_cast<double>(samples);
}

std::string StagePart::describe() const {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  const auto range = [](const char* name, std::int64_t begin, std::int64_t end) {
    return begin + 1 == end ? fmt::format("{} {}", name, begin)
                            : fmt::format("{} {}-{}", name, begin, end - 1);
  };
  if (encoder_front) {
    add("encoder front");
  }
  if (encoder_begin < encoder_end) {
    add(range("encoder", encoder_begin, encoder_end));
  }
  if (adapter) {
    add("adapter");
  }
  if (llama_begin < llama_end) {
    add(range("llm", llama_begin, llama_end));
  }
  if (head) {
    add("head");
  }
  return text;
}

namespace {

// Where each of `runs` contiguous runs of `count` things ends, such that the largest `cost(run, begin,
// end)` is smallest and each run is allowed. Empty when there is no way.
template <typename Cost, typename Allowed>
std::vector<std::size_t> smallest_maximum(std::size_t runs, std::size_t count, const Cost& cost,
                                          const Allowed& allowed) {
  const double infinite = std::numeric_limits<double>::infinity();
  // best[s][n]: of the first n things in s runs.
  std::vector<std::vector<double>> best(runs + 1, std::vector<double>(count + 1, infinite));
  std::vector<std::vector<std::size_t>> cut(runs + 1, std::vector<std::size_t>(count + 1, 0));
  best[0][0] = 0;
  for (std::size_t s = 1; s <= runs; ++s) {
    for (std::size_t n = s; n <= count; ++n) {
      for (std::size_t k = n; k-- >= s;) {
        if (best[s - 1][k] == infinite || !allowed(s - 1, k, n)) {
          continue;
        }
        const double largest = std::max(best[s - 1][k], cost(s - 1, k, n));
        if (largest < best[s][n]) {
          best[s][n] = largest;
          cut[s][n] = k;
        }
      }
    }
  }
  if (best[runs][count] == infinite) {
    return {};
  }
  std::vector<std::size_t> ends(runs);
  for (std::size_t s = runs, n = count; s > 0; n = cut[s--][n]) {
    ends[s - 1] = n;
  }
  return ends;
}

// Bytes of units [begin, end) as one stage of `stages`.
double stage_bytes(const std::vector<Unit>& units, const ModelShapes& shapes, const MemoryLimit& limit,
                   std::int64_t stage, std::int64_t stages, std::size_t begin, std::size_t end) {
  const std::int64_t samples = limit.micro_size * limit.in_flight(stage, stages);
  double bytes = 0;
  for (std::size_t i = begin; i < end; ++i) {
    bytes += memory_of(units[i].parameters, units[i].learned, units[i].cost.kept_bytes, samples,
                       shapes.element_bytes) +
             units[i].made_again * static_cast<double>(limit.micro_size);
  }
  return bytes;
}

// Where the runs end that begin with the units of these names.
std::vector<std::size_t> ends_by_name(const std::vector<Unit>& units, std::int64_t stages,
                                      const std::vector<std::string>& begins) {
  if (static_cast<std::int64_t>(begins.size()) != stages - 1) {
    throw runtime::ConfigError("pipeline.cut names {} units, but pipeline.stages x pipeline.chunks is {}; name the first "
                               "units of all stages but the first, which are {}, or none to have the best cut found",
                               begins.size(), stages, stages - 1);
  }
  std::vector<std::size_t> ends;
  for (const std::string& name : begins) {
    const auto found = std::ranges::find(units, name, &Unit::name);
    if (found == units.end()) {
      std::vector<std::string> names;
      std::ranges::transform(units, std::back_inserter(names), &Unit::name);
      throw runtime::ConfigError("pipeline.cut has '{}', but these models' units are {}", name, fmt::join(names, ", "));
    }
    const auto place = static_cast<std::size_t>(found - units.begin());
    if (place <= (ends.empty() ? 0 : ends.back())) {
      throw runtime::ConfigError("pipeline.cut has '{}' where a unit behind '{}' belongs: stages begin with units in "
                                 "their order",
                                 name, units[ends.empty() ? 0 : ends.back()].name());
    }
    ends.push_back(place);
  }
  ends.push_back(units.size());
  return ends;
}

// A stage that begins with a unit.
struct FixedPlace {
  std::size_t stage;
  std::size_t unit;
};

// Where each run of the cheapest cut ends; empty where no cut is allowed. With `fixed`, what is in front of that
// unit and the rest are cut each by itself.
template <typename Cost, typename Allowed>
std::vector<std::size_t> best_ends(std::size_t units, std::size_t stages, const std::optional<FixedPlace>& fixed,
                                   const Cost& cost, const Allowed& allowed) {
  // Runs [first, past) of units [begin, end).
  const auto cut = [&](std::size_t first, std::size_t past, std::size_t begin, std::size_t end) {
    const auto shifted = [&](const auto& of) {
      return [&of, first, begin](std::size_t s, std::size_t from, std::size_t to) {
        return of(first + s, begin + from, begin + to);
      };
    };
    auto ends = smallest_maximum(past - first, end - begin, shifted(cost), shifted(allowed));
    std::ranges::for_each(ends, [&](std::size_t& place) { place += begin; });
    return ends;
  };
  if (!fixed.has_value()) {
    return cut(0, stages, 0, units);
  }
  auto ends = cut(0, fixed->stage, 0, fixed->unit);
  const auto behind = cut(fixed->stage, stages, fixed->unit, units);
  if (ends.empty() || behind.empty()) {
    return {};
  }
  ends.insert(ends.end(), behind.begin(), behind.end());
  return ends;
}

double training_seconds(const std::vector<Unit>& units, std::size_t begin, std::size_t end) {
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) {
    sum += units[i].cost.forward + units[i].cost.backward;
  }
  return sum;
}

double writing_seconds(const std::vector<Unit>& units, double texts, std::size_t begin, std::size_t end) {
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) {
    const bool writes = units[i].kind == UnitKind::kLlamaLayer || units[i].kind == UnitKind::kHead;
    sum += writes ? texts * units[i].cost.forward : 0;
  }
  return sum;
}

// What a sample takes of all stages' time: the costliest stage's, and what of its texts does not fit into the gaps
// of the others. A text goes through all of the LLM: the stage with the least room for its part has the say.
double sample_seconds(const std::vector<Unit>& units, double texts, const std::vector<std::size_t>& ends) {
  const auto largest = [&](const auto& seconds) {
    double most = 0;
    for (std::size_t s = 0; s < ends.size(); ++s) {
      most = std::max(most, seconds(s == 0 ? 0 : ends[s - 1], ends[s]));
    }
    return most;
  };
  const auto training = [&](std::size_t begin, std::size_t end) { return training_seconds(units, begin, end); };
  const auto writing = [&](std::size_t begin, std::size_t end) { return writing_seconds(units, texts, begin, end); };
  const double pace = largest(training);
  const double left = largest([&](std::size_t begin, std::size_t end) {
    const double own = writing(begin, end);
    return own > 0 ? std::clamp(1 - (pace - training(begin, end)) / own, 0.0, 1.0) : 0.0;
  });
  return pace + left * largest(writing);
}

std::vector<StagePart> make_parts(const std::vector<Unit>& units, const std::vector<std::size_t>& ends) {
  std::vector<StagePart> parts(ends.size());
  for (std::size_t s = 0; s < parts.size(); ++s) {
    StagePart& part = parts[s];
    part.stage = static_cast<std::int64_t>(s);
    for (std::size_t i = s == 0 ? 0 : ends[s - 1]; i < ends[s]; ++i) {
      const Unit& unit = units[i];
      part.work += unit.work;
      part.cost.forward += unit.cost.forward;
      part.cost.backward += unit.cost.backward;
      part.cost.kept_bytes += unit.cost.kept_bytes;
      part.made_again += unit.made_again;
      part.parameters += unit.parameters;
      part.learned += unit.learned;
      part.learns = part.learns || unit.learns;
      const auto extend = [&](std::int64_t& first, std::int64_t& past) {
        first = first == past ? unit.index : first;
        past = unit.index + 1;
      };
      switch (unit.kind) {
        case UnitKind::kEncoderFront:
          part.encoder_front = true;
          break;
        case UnitKind::kEncoderLayer:
          extend(part.encoder_begin, part.encoder_end);
          break;
        case UnitKind::kAdapter:
          part.adapter = true;
          break;
        case UnitKind::kLlamaLayer:
          extend(part.llama_begin, part.llama_end);
          break;
        case UnitKind::kHead:
          part.head = true;
          break;
      }
    }
    if (s > 0) {
      part.backward_before = parts[s - 1].has_backward();
    }
  }
  return parts;
}

}  // namespace

std::vector<StagePart> partition(const ModelShapes& shapes, std::int64_t stages, const CutRules& rules) {
  const std::vector<Unit> units = list_units(shapes);
  const auto count = static_cast<std::int64_t>(units.size());
  if (stages < 1 || stages > count) {
    throw runtime::ConfigError("pipeline.stages x pipeline.chunks is {} but these models have {} units to cut ({} "
                               "encoder layers, the adapter, {} LLM layers, front and head); use 1 "
                               "to {}",
                               stages, count, count - 3 - shapes.llama.num_layers,
                               shapes.llama.num_layers, count);
  }
  const auto memory = [&](std::size_t stage, std::size_t begin, std::size_t end) {
    return stage_bytes(units, shapes, rules.limit, static_cast<std::int64_t>(stage), stages, begin, end);
  };
  const auto most_memory = [&](const std::vector<std::size_t>& ends) {
    double most = 0;
    for (std::size_t s = 0; s < ends.size(); ++s) {
      most = std::max(most, memory(s, s == 0 ? 0 : ends[s - 1], ends[s]));
    }
    return most;
  };
  const auto place_of = [&](UnitKind kind) {
    return static_cast<std::size_t>(std::ranges::find(units, kind, &Unit::kind) - units.begin());
  };
  constexpr double kGiB = 1U << 30;
  if (!rules.begins.empty()) {
    const auto ends = ends_by_name(units, stages, rules.begins);
    if (const double most = most_memory(ends); rules.limit.bytes > 0 && most > rules.limit.bytes) {
      throw runtime::ConfigError(
          "pipeline.cut does not keep all stages within {:.2f} GiB (pipeline.memory_gib or the cluster's, divided by "
          "pipeline.chunks): one takes {:.2f} GiB; name other units, or none to have the best cut found",
          rules.limit.bytes / kGiB, most / kGiB);
    }
    const auto there = static_cast<std::size_t>(rules.adapter_stage.value_or(0));
    if (there > 0 && rules.begins.at(there - 1) != "adapter") {
      throw runtime::ConfigError("pipeline.cut begins stage {} with '{}', but this pipeline.schedule wants it to begin "
                                 "with the adapter",
                                 there, rules.begins[there - 1]);
    }
    return make_parts(units, ends);
  }
  const auto allowed = [&](std::size_t stage, std::size_t begin, std::size_t end) {
    return rules.limit.bytes <= 0 || memory(stage, begin, end) <= rules.limit.bytes;
  };
  const auto training = [&](std::size_t /*stage*/, std::size_t begin, std::size_t end) {
    return training_seconds(units, begin, end);
  };
  const auto S = static_cast<std::size_t>(stages);
  const auto adapter = place_of(UnitKind::kAdapter);
  std::optional<FixedPlace> fixed;
  if (rules.adapter_stage.has_value()) {
    fixed = FixedPlace{static_cast<std::size_t>(*rules.adapter_stage), adapter};
    if (fixed->stage > adapter || S - fixed->stage > units.size() - adapter) {
      throw runtime::ConfigError("{} stages in front of the adapter and {} from it on are more than these models "
                                 "have units to cut ({} and {}); use fewer pipeline.stages",
                                 fixed->stage, S - fixed->stage, adapter, units.size() - adapter);
    }
  }
  auto ends = best_ends(units.size(), S, fixed, training, allowed);
  if (ends.empty()) {
    const auto any = [](std::size_t, std::size_t, std::size_t) { return true; };
    throw runtime::ConfigError(
        "no cut into {} stages keeps each within {:.2f} GiB (pipeline.memory_gib or the cluster's, divided by "
        "pipeline.chunks): {:.2f} GiB are needed at least, for weights and what passes keep; use more "
        "stages, smaller batch.micro_size, or more memory",
        stages, rules.limit.bytes / kGiB, most_memory(best_ends(units.size(), S, fixed, memory, any)) / kGiB);
  }
  for (std::size_t s = 1; s < S && rules.texts > 0 && !fixed.has_value(); ++s) {
    const auto both = [&](std::size_t stage, std::size_t begin, std::size_t end) {
      return training(stage, begin, end) + writing_seconds(units, rules.texts, begin, end);
    };
    auto other = best_ends(units.size(), S, FixedPlace{s, place_of(UnitKind::kLlamaLayer)}, both, allowed);
    if (!other.empty() &&
        sample_seconds(units, rules.texts, other) < sample_seconds(units, rules.texts, ends)) {
      ends = std::move(other);
    }
  }
  return make_parts(units, ends);
}

double boundary_bytes(const ModelShapes& shapes, const StagePart& part) {
  if (part.has_llama()) {
    const auto tokens = shapes.text_tokens + shapes.adapter.queries;
    return static_cast<double>(tokens * shapes.llama.hidden_size * shapes.element_bytes);
  }
  const auto tapped = std::ranges::count_if(shapes.adapter.taps, [&](std::int64_t tap) {
    return tap < part.encoder_end;
  });
  return static_cast<double>((1 + tapped) * shapes.whisper.max_source_positions *
                             shapes.whisper.d_model * shapes.element_bytes);
}

std::int64_t frozen_end(const StagePart& part, const ModelShapes& shapes) {
  return std::clamp(shapes.trained_from(), part.encoder_begin, part.encoder_end);
}

std::int64_t adapter_stage(const std::vector<StagePart>& parts) {
  for (const auto& part : parts) {
    if (part.adapter) {
      return part.stage;
    }
  }
  throw runtime::InternalError("no stage holds the adapter");
}

std::vector<std::int64_t> learning_stages(const std::vector<StagePart>& parts) {
  std::vector<std::int64_t> stages;
  for (const auto& part : parts) {
    if (part.learns) {
      stages.push_back(part.stage);
    }
  }
  return stages;
}

std::vector<std::int64_t> learning_ranks(const std::vector<StagePart>& parts, std::int64_t ranks) {
  std::set<std::int64_t> found;
  for (const auto stage : learning_stages(parts)) {
    found.insert(stage % ranks);
  }
  return {found.begin(), found.end()};
}

}  // namespace desta::trainer
