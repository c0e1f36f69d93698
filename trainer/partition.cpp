#include "trainer/partition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>

#include "models/folded_attention.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// What passes over one sample take. Frozen layers cost their forward product (2 operations a parameter
// and token), and the same again where an input gradient goes back; what learns pays for the gradient
// of its weights too.
struct Count {
  double forward = 0;   // operations
  double backward = 0;
  double kept = 0;      // elements
};

Count operator+(const Count& a, const Count& b) {
  return {a.forward + b.forward, a.backward + b.backward, a.kept + b.kept};
}

Count product(std::int64_t parameters, std::int64_t tokens, bool has_backward, bool learns = false) {
  const double forward = 2.0 * static_cast<double>(parameters) * static_cast<double>(tokens);
  return {forward, (has_backward ? 1.0 : 0.0) * forward + (learns ? 1.0 : 0.0) * forward, 0};
}

Count attention(std::int64_t tokens, std::int64_t width, bool has_backward) {
  const double forward = 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) *
                         static_cast<double>(width);
  return {forward, has_backward ? 2.0 * forward : 0.0, 0};
}

Count adapter(const ModelShapes& shapes) {
  const models::QFormerConfig& a = shapes.adapter;
  const auto frames = static_cast<double>(shapes.whisper.max_source_positions);
  const auto taps = static_cast<double>(a.taps.size());
  const auto d = static_cast<double>(a.d_model);
  const auto queries = static_cast<double>(a.queries);
  const auto ffn = static_cast<double>(a.ffn);
  const auto heads = static_cast<double>(a.heads);
  const bool folded = models::folding_pays(a.queries, a.heads, a.d_model);
  // The products with all frames: keys and values and then with each query, or with each head's queries alone.
  const double reading = 2.0 * frames * d * (folded ? heads * queries : d + queries);
  const double per_layer = queries * ((folded ? 8.0 : 6.0) * d * d + 2.0 * d * ffn) + reading;
  const double layers = taps * static_cast<double>(a.layers);
  const double parameters = layers * per_layer + queries * d * static_cast<double>(a.d_llm);
  // Of each layer: keys and values of all frames, unless they are folded away; attention weights, and them
  // with dropout, over frames and over queries; a dozen states a query, half of them in float32; the inner
  // layer before and after its gelu.
  const double kept =
      layers * ((folded ? 0.0 : 2.0 * frames * d) + 2.0 * heads * queries * (frames + queries) +
                queries * (18.0 * d + 2.0 * ffn));
  return {2.0 * parameters, 4.0 * parameters, kept};
}

// Without biases and norms.
std::int64_t adapter_parameters(const models::QFormerConfig& a) {
  return a.layers * (8 * a.d_model * a.d_model + 2 * a.d_model * a.ffn) +
         (static_cast<std::int64_t>(a.taps.size()) * a.queries + a.d_llm) * a.d_model;
}

// An encoder layer that learns keeps ten states a frame, two of the inner layer, and the attention
// weights.
double kept_by_encoder(const models::WhisperConfig& w) {
  const auto frames = static_cast<double>(w.max_source_positions);
  return frames * (10.0 * static_cast<double>(w.d_model) + 2.0 * static_cast<double>(w.encoder_ffn) +
                   static_cast<double>(w.encoder_heads) * frames);
}

// A frozen layer of the LLM keeps what its nonlinear parts need (models/fused.h, packed_attention.h): the
// inputs of both norms, queries, keys and values, the gate and what it is multiplied with.
double kept_by_llm(const models::LlamaConfig& l, std::int64_t tokens) {
  return static_cast<double>(tokens) *
         static_cast<double>(2 * l.hidden_size + (l.num_heads + 2 * l.num_kv_heads) * l.head_dim +
                             2 * l.intermediate_size);
}

}  // namespace

std::string describe(const ModelShapes& shapes) {
  const models::WhisperConfig& w = shapes.whisper;
  const models::LlamaConfig& l = shapes.llama;
  const models::QFormerConfig& a = shapes.adapter;
  return fmt::format(
      "encoder {} x {} of {} frames; adapter {} layers of {}, {} queries, {} taps; llm {} x {}, {} and {} "
      "heads of {}, {} words{}{}; {} bytes",
      w.d_model, w.encoder_ffn, w.max_source_positions, a.layers, a.ffn, a.queries, a.taps.size(),
      l.hidden_size, l.intermediate_size, l.num_heads, l.num_kv_heads, l.head_dim, l.vocab_size,
      shapes.lora.has_value() ? fmt::format(", updates of rank {}", shapes.lora->rank) : "",
      shapes.trained_encoder_layers > 0 ? ", encoder layers learn" : "", shapes.element_bytes);
}

std::vector<Unit> list_units(const ModelShapes& shapes) {
  if (shapes.costs.has_value() && shapes.costs->models != describe(shapes)) {
    throw runtime::ConfigError("pipeline.costs were measured for other models ({}), these are {}; measure "
                               "them anew with `desta-train CONFIG --dry-run --profile FILE`",
                               shapes.costs->models, describe(shapes));
  }
  const models::WhisperConfig& w = shapes.whisper;
  const models::LlamaConfig& l = shapes.llama;
  const auto frames = w.max_source_positions;
  const auto tokens = shapes.text_tokens + shapes.adapter.queries;
  std::vector<Unit> units;
  const auto add = [&](UnitKind kind, std::int64_t index, const Count& count,
                       std::int64_t parameters, bool learns, UnitCost LayerCosts::*measured) {
    UnitCost cost{count.forward / kCountedSpeed, count.backward / kCountedSpeed,
                  count.kept * static_cast<double>(shapes.element_bytes)};
    if (shapes.costs.has_value()) {
      const UnitCost& found = (*shapes.costs).*measured;
      // Measured texts are as long as they usually are, but memory must be there for the longest.
      cost = {found.forward, found.backward, std::max(found.kept_bytes, cost.kept_bytes)};
    }
    if (kind == UnitKind::kEncoderFront || kind == UnitKind::kEncoderLayer) {
      const double share = static_cast<double>(shapes.streams) / static_cast<double>(shapes.trials);
      cost = {share * cost.forward, share * cost.backward, cost.kept_bytes};
    }
    double made_again = 0;
    if (shapes.recompute && (kind == UnitKind::kAdapter || kind == UnitKind::kLlamaLayer)) {
      // What is kept is the input: the taps, and of each layer its own, though a stage keeps its first one's alone.
      made_again = cost.kept_bytes;
      const std::int64_t inputs = kind == UnitKind::kAdapter
                                      ? static_cast<std::int64_t>(shapes.adapter.taps.size()) * frames * w.d_model
                                      : tokens * l.hidden_size;
      cost = {cost.forward, cost.backward + cost.forward,
              static_cast<double>(inputs * shapes.element_bytes)};
    }
    const std::int64_t learned = kind == UnitKind::kAdapter ? shapes.trials * adapter_parameters(shapes.adapter)
                                 : kind == UnitKind::kEncoderLayer && learns ? parameters
                                                                             : 0;
    units.push_back(
        {kind, index, count.forward + count.backward, cost, made_again, parameters, learns, learned});
  };
  const auto front = 3 * w.d_model * (w.mel_bins + w.d_model);
  add(UnitKind::kEncoderFront, 0, product(front, frames, false), front + frames * w.d_model, false,
      &LayerCosts::encoder_front);
  for (std::int64_t i = 0; i < shapes.read_layers(); ++i) {
    const auto parameters = w.encoder_layer_parameters();
    const bool learns = i >= shapes.trained_from();
    add(UnitKind::kEncoderLayer, i,
        product(parameters, frames, learns, learns) + attention(frames, w.d_model, learns) +
            Count{0, 0, learns ? kept_by_encoder(w) : 0},
        parameters, learns, learns ? &LayerCosts::trained_encoder_layer : &LayerCosts::encoder_layer);
  }
  add(UnitKind::kAdapter, 0, adapter(shapes), l.embedding_parameters(), true, &LayerCosts::adapter);
  for (std::int64_t i = 0; i < l.num_layers; ++i) {
    const auto parameters = l.layer_parameters();
    add(UnitKind::kLlamaLayer, i,
        product(parameters, tokens, true) + attention(tokens, l.num_heads * l.head_dim, true) +
            Count{0, 0, kept_by_llm(l, tokens)},
        parameters, shapes.lora.has_value(), &LayerCosts::llm_layer);
  }
  // The head runs at response positions only, about half of the text, and makes its gradient along with
  // the loss.
  const auto responses = shapes.text_tokens / 2;
  const Count head = product(l.embedding_parameters(), responses, true);
  add(UnitKind::kHead, 0,
      {head.forward + head.backward, 0, 2.0 * static_cast<double>(responses * l.hidden_size)},
      l.embedding_parameters() + l.hidden_size, false, &LayerCosts::head);
  return units;
}

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

// Where each run of the cheapest cut ends; empty where no cut is allowed.
template <typename Cost, typename Allowed>
std::vector<std::size_t> best_ends(const std::vector<Unit>& units, std::size_t stages,
                                   const std::optional<std::int64_t>& adapter_stage, const Cost& cost,
                                   const Allowed& allowed) {
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
  if (!adapter_stage.has_value()) {
    return cut(0, stages, 0, units.size());
  }
  const auto adapter = static_cast<std::size_t>(
      std::ranges::find(units, UnitKind::kAdapter, &Unit::kind) - units.begin());
  const auto there = static_cast<std::size_t>(*adapter_stage);
  if (there > adapter || stages - there > units.size() - adapter) {
    throw runtime::ConfigError("{} stages in front of the adapter and {} from it on are more than these models "
                               "have units to cut ({} and {}); use fewer pipeline.stages",
                               there, stages - there, adapter, units.size() - adapter);
  }
  auto ends = cut(0, there, 0, adapter);
  const auto behind = cut(there, stages, adapter, units.size());
  if (ends.empty() || behind.empty()) {
    return {};
  }
  ends.insert(ends.end(), behind.begin(), behind.end());
  return ends;
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

std::string Unit::name() const {
  switch (kind) {
    case UnitKind::kEncoderFront:
      return "encoder front";
    case UnitKind::kEncoderLayer:
      return fmt::format("encoder {}", index);
    case UnitKind::kAdapter:
      return "adapter";
    case UnitKind::kLlamaLayer:
      return fmt::format("llm {}", index);
    case UnitKind::kHead:
      return "head";
  }
  return "";
}

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
  constexpr double kGiB = 1U << 30;
  if (!rules.begins.empty()) {
    const auto ends = ends_by_name(units, stages, rules.begins);
    if (const double most = most_memory(ends); rules.limit.bytes > 0 && most > rules.limit.bytes) {
      throw runtime::ConfigError(
          "pipeline.cut does not keep all stages within {:.2f} GiB (pipeline.memory_gib or the cluster's, divided by "
          "pipeline.chunks): one takes {:.2f} GiB; name other units, or none to have the best cut found",
          rules.limit.bytes / kGiB, most / kGiB);
    }
    const auto adapter = static_cast<std::size_t>(rules.adapter_stage.value_or(0));
    if (adapter > 0 && rules.begins.at(adapter - 1) != "adapter") {
      throw runtime::ConfigError("pipeline.cut begins stage {} with '{}', but this pipeline.schedule wants it to begin "
                                 "with the adapter",
                                 adapter, rules.begins[adapter - 1]);
    }
    return make_parts(units, ends);
  }
  const auto seconds = [&](std::size_t /*stage*/, std::size_t begin, std::size_t end) {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
      sum += units[i].cost.forward + units[i].cost.backward;
    }
    return sum;
  };
  const auto allowed = [&](std::size_t stage, std::size_t begin, std::size_t end) {
    return rules.limit.bytes <= 0 || memory(stage, begin, end) <= rules.limit.bytes;
  };
  const auto S = static_cast<std::size_t>(stages);
  const auto ends = best_ends(units, S, rules.adapter_stage, seconds, allowed);
  if (ends.empty()) {
    const auto any = [](std::size_t, std::size_t, std::size_t) { return true; };
    throw runtime::ConfigError(
        "no cut into {} stages keeps each within {:.2f} GiB (pipeline.memory_gib or the cluster's, divided by "
        "pipeline.chunks): {:.2f} GiB are needed at least, for weights and what passes keep; use more "
        "stages, smaller batch.micro_size, or more memory",
        stages, rules.limit.bytes / kGiB,
        most_memory(best_ends(units, S, rules.adapter_stage, memory, any)) / kGiB);
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
