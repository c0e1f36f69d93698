#include "trainer/training_layout.h"

#include <algorithm>

#include "runtime/core/error.h"
#include "trainer/ahead_schedule.h"

namespace desta::trainer {
using runtime::ConfigError;

TrainingOptions settled(TrainingOptions options) {
  // The beginning of a prompt is the same for all rows and steps only where the LLM does not learn.
  options.batch.share_prefix = options.batch.share_prefix && options.train.what != "lora";
  return options;
}

ModelShapes read_shapes(const TrainingOptions& options) {
  ModelShapes shapes;
  shapes.whisper = models::WhisperConfig::load(options.models.speech);
  shapes.llama = models::LlamaConfig::load(options.models.llm);
  models::QFormerConfig& adapter = shapes.adapter;
  adapter.d_model = shapes.whisper.d_model;
  adapter.heads = shapes.whisper.encoder_heads;
  adapter.d_llm = shapes.llama.hidden_size;
  adapter.taps = options.adapter.taps.empty() ? shapes.whisper.default_taps() : options.adapter.taps;
  adapter.queries = options.adapter.queries;
  adapter.layers = options.adapter.layers;
  adapter.ffn = options.adapter.ffn;
  adapter.dropout = options.adapter.dropout;
  for (const auto tap : adapter.taps) {
    if (tap < 0 || tap >= shapes.whisper.encoder_layers) {
      throw ConfigError("adapter.taps has {} but {} has layers 0 to {}", tap,
                        options.models.speech, shapes.whisper.encoder_layers - 1);
    }
  }
  shapes.text_tokens = options.batch.max_text_tokens;
  shapes.element_bytes = options.models.precision == "float32" ? 4 : 2;
  shapes.costs = options.pipeline.measured;
  shapes.recompute = options.pipeline.recompute;
  if (options.train.what == "lora") {
    const LoraOptions& lora = options.train.lora;
    shapes.lora = {lora.rank, lora.alpha, lora.targets};
  } else if (options.train.what == "encoder") {
    shapes.trained_encoder_layers = options.train.encoder_layers;
    if (shapes.trained_from() < 0) {
      throw ConfigError("train.encoder_layers is {} but the taps of {} reach only {} layers",
                        options.train.encoder_layers, options.models.speech, shapes.read_layers());
    }
  }
  return shapes;
}

std::vector<StagePart> cut_models(const TrialSet& trials) {
  const TrainingOptions& options = trials.common();
  const PipelineOptions& pipeline = options.pipeline;
  ModelShapes shapes = read_shapes(options);
  shapes.trials = static_cast<std::int64_t>(trials.size());
  shapes.streams = static_cast<std::int64_t>(trials.streams());
  std::int64_t microbatches = 0;
  std::int64_t micro_size = 1;
  for (const TrainingOptions& trial : trials) {
    microbatches += std::max<std::int64_t>(1, trial.own_microbatches());
    micro_size = std::max(micro_size, trial.batch.micro_size);
  }
  // A rank with several stages shares its memory between them.
  const MemoryLimit limit{
      .bytes = pipeline.memory_gib * (1U << 30) / static_cast<double>(pipeline.chunks),
      .micro_size = micro_size,
      .microbatches = microbatches,
      .all_at_once = pipeline.schedule != "1f1b"};
  // A row's text is written once, before its first epoch. Of ranks with several stages a gap is no stage's own.
  const bool in_gaps = options.colocated.has_value() && pipeline.chunks == 1;
  const double texts = in_gaps ? 1.0 / static_cast<double>(options.steps > 0 ? 1 : options.epochs) : 0.0;
  return partition(shapes, pipeline.parts(),
                   {.limit = limit,
                    .adapter_stage = pipeline.schedule == kAhead ? std::optional(pipeline.stages) : std::nullopt,
                    .begins = pipeline.cut,
                    .texts = texts});
}

void check_layout(const TrainingOptions& options, int ranks, const std::string& start) {
  const auto stages = options.pipeline.stages;
  if (options.writing_ranks > 0) {
    if (options.training_ranks() + options.writing_ranks != ranks) {
      throw ConfigError("this job has {} ranks, but pipeline.stages {} x data_parallel.replicas {} + "
                        "generation.ranks {} = {}; start it with `{}{}`",
                        ranks, stages, options.replicas, options.writing_ranks,
                        options.training_ranks() + options.writing_ranks, start,
                        options.training_ranks() + options.writing_ranks);
    }
  } else if (options.training_ranks() != ranks) {
    throw ConfigError("this job has {} ranks, but pipeline.stages {} x data_parallel.replicas {} = "
                      "{}; start it with `{}{}` or set data_parallel.replicas to {}",
                      ranks, stages, options.replicas, stages * options.replicas, start,
                      stages * options.replicas,
                      std::max<std::int64_t>(1, ranks / std::max<std::int64_t>(1, stages)));
  }
  const BatchOptions& batch = options.batch;
  if (batch.micro_size < 1 || batch.global_size < 1 ||
      batch.global_size % (batch.micro_size * options.replicas) != 0) {
    throw ConfigError("batch.global_size {} is not a multiple of batch.micro_size {} x "
                      "data_parallel.replicas {}",
                      batch.global_size, batch.micro_size, options.replicas);
  }
}

ScheduleShape schedule_shape(const TrainingOptions& options, const std::vector<StagePart>& parts,
                             std::int64_t microbatches) {
  const std::vector<std::int64_t> learning = learning_stages(parts);
  return {.ranks = options.pipeline.stages,
          .chunks = options.pipeline.chunks,
          .microbatches = microbatches,
          .first_backward = learning.front(),
          .learning = learning,
          .trial = 0};
}

std::vector<TrialShare> shares_of(const TrialSet& trials, std::span<const std::int64_t> steps) {
  std::vector<TrialShare> shares;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    if (steps[i] < 0) {
      continue;
    }
    std::size_t stream = 0;
    while (steps[stream] != steps[i] ||
           trials.first_with_same_rows(stream) != trials.first_with_same_rows(i)) {
      ++stream;
    }
    shares.push_back({.trial = static_cast<std::int64_t>(i),
                      .microbatches = trials[i].own_microbatches(),
                      .stream = static_cast<std::int64_t>(stream)});
  }
  return shares;
}

AheadTables ahead_tables_of(const TrainingOptions& options, const std::vector<StagePart>& parts) {
  std::vector<StageCost> costs;
  for (const StagePart& part : parts) {
    costs.push_back({.forward = part.cost.forward, .backward = part.cost.backward});
  }
  return ahead_tables(schedule_shape(options, parts, options.own_microbatches()), costs);
}

Schedule schedule_of(const TrialSet& trials, const std::vector<StagePart>& parts) {
  if (trials.common().pipeline.schedule == kAhead) {
    return ahead_tables_of(trials.common(), parts).step;
  }
  return schedule_trials(trials.common().pipeline.schedule,
                         schedule_shape(trials.common(), parts, 0),
                         shares_of(trials, std::vector<std::int64_t>(trials.size())));
}

}  // namespace desta::trainer
