#include "trainer/partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// Frozen layers cost their forward product (2 operations a parameter and token); behind the adapter
// the input gradient costs the same again.
double frozen_work(std::int64_t parameters, std::int64_t tokens, bool has_backward) {
  return (has_backward ? 4.0 : 2.0) * static_cast<double>(parameters) *
         static_cast<double>(tokens);
}

double attention_work(std::int64_t tokens, std::int64_t width, bool has_backward) {
  return (has_backward ? 12.0 : 4.0) * static_cast<double>(tokens) *
         static_cast<double>(tokens) * static_cast<double>(width);
}

double adapter_work(const ModelShapes& shapes) {
  const models::QFormerConfig& a = shapes.adapter;
  const auto frames = static_cast<double>(shapes.whisper.max_source_positions);
  const auto taps = static_cast<double>(a.taps.size());
  const auto d = static_cast<double>(a.d_model);
  const auto queries = static_cast<double>(a.queries);
  const double per_query = 6.0 * d * d + 2.0 * d * static_cast<double>(a.ffn);
  const double per_layer = queries * per_query + 2.0 * frames * d * d;
  const double projection = queries * d * static_cast<double>(a.d_llm);
  return 6.0 * (taps * static_cast<double>(a.layers) * per_layer + projection);
}

}  // namespace

std::vector<Unit> list_units(const ModelShapes& shapes) {
  const models::WhisperConfig& w = shapes.whisper;
  const models::LlamaConfig& l = shapes.llama;
  const auto frames = w.max_source_positions;
  const auto tokens = shapes.text_tokens + shapes.adapter.queries;
  std::vector<Unit> units;
  const auto front = 3 * w.d_model * (w.mel_bins + w.d_model);
  units.push_back({UnitKind::kEncoderFront, 0, frozen_work(front, frames, false),
                   front + frames * w.d_model});
  for (std::int64_t i = 0; i < shapes.read_layers(); ++i) {
    const auto parameters = w.encoder_layer_parameters();
    const bool learns = i >= shapes.trained_from();
    // What learns pays for the gradient of its weights too: half as much again.
    units.push_back({UnitKind::kEncoderLayer, i,
                     frozen_work(parameters, frames, learns) * (learns ? 1.5 : 1.0) +
                         attention_work(frames, w.d_model, learns),
                     parameters, learns});
  }
  units.push_back({UnitKind::kAdapter, 0, adapter_work(shapes), l.embedding_parameters(), true});
  for (std::int64_t i = 0; i < l.num_layers; ++i) {
    const auto parameters = l.layer_parameters();
    units.push_back({UnitKind::kLlamaLayer, i,
                     frozen_work(parameters, tokens, true) +
                         attention_work(tokens, l.num_heads * l.head_dim, true),
                     parameters, shapes.lora.has_value()});
  }
  // The head runs at response positions only: about half of the text.
  units.push_back({UnitKind::kHead, 0,
                   frozen_work(l.embedding_parameters(), shapes.text_tokens / 2, true),
                   l.embedding_parameters() + l.hidden_size});
  return units;
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

std::vector<StagePart> partition(const ModelShapes& shapes, std::int64_t stages) {
  const std::vector<Unit> units = list_units(shapes);
  const auto count = static_cast<std::int64_t>(units.size());
  if (stages < 1 || stages > count) {
    throw runtime::ConfigError("pipeline.stages x pipeline.chunks is {} but these models have {} units to cut ({} "
                               "encoder layers, the adapter, {} LLM layers, front and head); use 1 "
                               "to {}",
                               stages, count, count - 3 - shapes.llama.num_layers,
                               shapes.llama.num_layers, count);
  }
  // best[s][n]: the smallest possible largest work of the first n units in s stages.
  const double infinite = std::numeric_limits<double>::infinity();
  const auto S = static_cast<std::size_t>(stages);
  const auto N = static_cast<std::size_t>(count);
  std::vector<std::vector<double>> best(S + 1, std::vector<double>(N + 1, infinite));
  std::vector<std::vector<std::size_t>> cut(S + 1, std::vector<std::size_t>(N + 1, 0));
  best[0][0] = 0;
  for (std::size_t s = 1; s <= S; ++s) {
    for (std::size_t n = s; n <= N; ++n) {
      double own = 0;
      for (std::size_t k = n; k-- >= s;) {
        own += units[k].work;
        const double largest = std::max(best[s - 1][k], own);
        if (largest < best[s][n]) {
          best[s][n] = largest;
          cut[s][n] = k;
        }
      }
    }
  }
  std::vector<StagePart> parts(S);
  std::size_t end = N;
  for (std::size_t s = S; s > 0; --s) {
    StagePart& part = parts[s - 1];
    part.stage = static_cast<std::int64_t>(s) - 1;
    const std::size_t begin = cut[s][end];
    for (std::size_t i = begin; i < end; ++i) {
      const Unit& unit = units[i];
      part.work += unit.work;
      part.parameters += unit.parameters;
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
    end = begin;
  }
  for (std::size_t s = 1; s < S; ++s) {
    parts[s].backward_before = parts[s - 1].has_backward();
  }
  return parts;
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
