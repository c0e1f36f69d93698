#include "trainer/replica_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::trainer {
using runtime::ConfigError;

namespace {

BatchLoader make_loader(const std::string& dataset, const models::Tokenizer& tokenizer,
                        const TrainingOptions& options, const ModelShapes& shapes) {
  return BatchLoader(dataset, tokenizer, options.batch, shapes.adapter.queries, options.seed);
}

RunIdentity identity_of(const TrainingOptions& options, const ModelShapes& shapes,
                        const BatchLoader& training) {
  const models::QFormerConfig& adapter = shapes.adapter;
  return {{"run.seed", std::to_string(options.seed)},
          {"models.speech (fingerprint)", models::model_fingerprint(options.models.speech)},
          {"models.llm (fingerprint)", models::model_fingerprint(options.models.llm)},
          {"models.precision", options.models.precision},
          {"adapter (queries, layers, ffn, taps)",
           fmt::format("{}, {}, {}, {}", adapter.queries, adapter.layers, adapter.ffn,
                       fmt::join(adapter.taps, " "))},
          {"adapter.dropout", fmt::format("{}", adapter.dropout)},
          {"batch.max_text_tokens", std::to_string(options.batch.max_text_tokens)},
          {"batch.global_size", std::to_string(options.batch.global_size)},
          {"data.folder (hash of its rows)", runtime::to_hex(training.fingerprint())}};
}

}  // namespace

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
  return shapes;
}

void check_layout(const TrainingOptions& options, int ranks) {
  const auto stages = options.pipeline.stages;
  if (stages < 1 || options.replicas < 1 || stages * options.replicas != ranks) {
    throw ConfigError("this job has {} ranks, but pipeline.stages {} x data_parallel.replicas {} = "
                      "{}; start it with `mpirun -n {}` or set data_parallel.replicas to {}",
                      ranks, stages, options.replicas, stages * options.replicas,
                      stages * options.replicas, std::max<std::int64_t>(1, ranks / std::max<std::int64_t>(1, stages)));
  }
  const BatchOptions& batch = options.batch;
  if (batch.micro_size < 1 || batch.global_size < 1 ||
      batch.global_size % (batch.micro_size * options.replicas) != 0) {
    throw ConfigError("batch.global_size {} is not a multiple of batch.micro_size {} x "
                      "data_parallel.replicas {}",
                      batch.global_size, batch.micro_size, options.replicas);
  }
}

Links make_links(runtime::Communicator& world, const TrainingOptions& options,
                 runtime::Communicator* gpu_world) {
  const auto place = RankPlace::of(world.rank(), options.pipeline.stages);
  return {world.split(static_cast<int>(place.replica)),
          (gpu_world == nullptr ? world : *gpu_world).split(static_cast<int>(place.stage))};
}

ReplicaEngine::ReplicaEngine(const TrainingOptions& options, RankPlace place, Links& links)
    : options_(options),
      place_(place),
      links_(links),
      shapes_(read_shapes(options)),
      parts_(partition(shapes_, options.pipeline.stages)),
      device_(models::choose_device(options.models.device, options.models.local_rank)),
      speech_(options.models.speech, models::parse_precision(options.models.precision), device_),
      llm_(options.models.llm, models::parse_precision(options.models.precision), device_),
      tokenizer_(options.models.llm),
      training_(make_loader(options.dataset, tokenizer_, options, shapes_)),
      total_steps_(options.steps > 0 ? options.steps
                                     : options.epochs * training_.steps_per_epoch()),
      trace_(static_cast<int>(place.replica * options.pipeline.stages + place.stage)) {
  const auto precision = models::parse_precision(options.models.precision);
  if (!options.validation.empty()) {
    BatchOptions batch = options.batch;
    batch.global_size = 1;
    validation_.emplace(options.validation, tokenizer_, batch, shapes_.adapter.queries,
                        options.seed);
  }
  const StagePart& part = parts_[static_cast<std::size_t>(place.stage)];
  stage_.emplace(part, shapes_, speech_, llm_);
  frozen_.take("speech", speech_.loaded());
  frozen_.take("llm", llm_.loaded());
  if (part.adapter) {
    identity_ = identity_of(options, shapes_, training_);
    trial_.emplace(0, shapes_.adapter, options.optimizer, options.seed, total_steps_, precision,
                   device_);
    checkpoint_ = load_newest_checkpoint(options.folder, *trial_, problems_, identity_).string();
  }
  trace_.enable(options.trace);
  executor_.emplace(*stage_, trial(), links_, training_, validation_ ? &*validation_ : nullptr,
                    trace_, device_);
}

StageInfo ReplicaEngine::info() const {
  StageInfo info;
  info.part = stage_->part().describe();
  info.device = device_.str();
  info.frozen_tensors = frozen_.tensors();
  info.frozen_bytes = frozen_.bytes();
  if (trial_.has_value()) {
    // Values, gradients and two moments.
    info.adapter_bytes =
        4 * sizeof(float) *
        static_cast<std::uint64_t>(trial_->parameters().count());
    info.start_step = trial_->step();
    info.adapter_checksum = models::checksum(trial_->parameters().values());
  }
  info.resident_bytes = resident_bytes();
  info.steps_per_epoch = training_.steps_per_epoch();
  info.checkpoint = checkpoint_;
  info.problems = problems_;
  return info;
}

ScheduleShape ReplicaEngine::schedule_shape(std::int64_t microbatches) const {
  return {.stages = options_.pipeline.stages,
          .microbatches = microbatches,
          .adapter_stage = adapter_stage(parts_),
          .trial = 0};
}

StepPlan ReplicaEngine::training_plan(std::int64_t step) const {
  StepPlan plan;
  const std::int64_t own = training_.microbatches() / options_.replicas;
  plan.first_microbatch = place_.replica * own;
  for (std::int64_t m = 0; m < own; ++m) {
    plan.rows.push_back(training_.training_rows(step, plan.first_microbatch + m));
  }
  plan.loss_scale =
      stage_->part().head ? 1.0 / static_cast<double>(training_.response_tokens(step)) : 1.0;
  return plan;
}

StageReport ReplicaEngine::train_step(std::int64_t step) {
  const StepPlan plan = training_plan(step);
  const Schedule schedule = training_schedule(
      options_.pipeline.schedule, schedule_shape(static_cast<std::int64_t>(plan.rows.size())));
  return executor_->run(schedule.stages[static_cast<std::size_t>(place_.stage)], plan);
}

StageReport ReplicaEngine::accumulate_gradient(std::int64_t step) {
  const StepPlan plan = training_plan(step);
  Schedule schedule = training_schedule(
      options_.pipeline.schedule, schedule_shape(static_cast<std::int64_t>(plan.rows.size())));
  StageTable& table = schedule.stages[static_cast<std::size_t>(place_.stage)];
  std::erase_if(table, [](const Action& action) { return action.op == Op::kStep; });
  return executor_->run(table, plan);
}

StageReport ReplicaEngine::validate() {
  StepPlan plan;
  plan.learn = false;
  for (std::int64_t m = place_.replica; m < validation_->ordered_microbatches();
       m += options_.replicas) {
    plan.rows.push_back(validation_->ordered_rows(m));
  }
  const Schedule schedule =
      evaluation_schedule(schedule_shape(static_cast<std::int64_t>(plan.rows.size())));
  StageTable table = schedule.stages[static_cast<std::size_t>(place_.stage)];
  std::erase_if(table, [](const Action& a) { return a.op == Op::kReduce || a.op == Op::kStep; });
  return executor_->run(table, plan);
}

std::string ReplicaEngine::save() {
  if (!trial_.has_value() || place_.replica != 0) {
    return {};
  }
  return save_checkpoint(options_.folder, *trial_, options_.checkpoint.keep, identity_)
      .string();
}

FrozenReport ReplicaEngine::verify_frozen() const {
  return {frozen_.tensors(), frozen_.changed()};
}

std::uint64_t ReplicaEngine::replica_bytes_sent() const { return links_.replicas->traffic().sent; }

void ReplicaEngine::write_trace(const std::filesystem::path& path) const { trace_.write(path); }

}  // namespace desta::trainer
