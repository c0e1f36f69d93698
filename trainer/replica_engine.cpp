#include "trainer/replica_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"
#include "trainer/learned.h"
#include "trainer/schedule_table.h"
#include "trainer/trial_exchange.h"

namespace desta::trainer {
using runtime::ConfigError;

namespace {

BatchLoader make_loader(const std::string& dataset, const models::Tokenizer& tokenizer,
                        const TrainingOptions& options, const ModelShapes& shapes) {
  return BatchLoader(dataset, tokenizer, options.batch, shapes.adapter.queries, options.seed,
                     options.selection);
}

RunIdentity identity_of(const TrainingOptions& options, const ModelShapes& shapes,
                        const BatchLoader& training) {
  const models::QFormerConfig& adapter = shapes.adapter;
  RunIdentity identity = {
          {"run.seed", std::to_string(options.seed)},
          {"models.speech (fingerprint)", models::model_fingerprint(options.models.speech)},
          {"models.llm (fingerprint)", models::model_fingerprint(options.models.llm)},
          {"models.precision", options.models.precision},
          {"adapter (queries, layers, ffn, taps)",
           fmt::format("{}, {}, {}, {}", adapter.queries, adapter.layers, adapter.ffn,
                       fmt::join(adapter.taps, " "))},
          {"adapter.dropout", fmt::format("{}", adapter.dropout)},
          {"batch.max_text_tokens", std::to_string(options.batch.max_text_tokens)},
          {"batch.global_size", std::to_string(options.batch.global_size)},
          {"data.folder (hash of its rows)", runtime::to_hex(training.fingerprint())},
          {"train.what", options.train.what},
          {"train.start_from", options.train.start_from}};
  if (shapes.lora.has_value()) {
    identity["train.lora.rank"] = std::to_string(shapes.lora->rank);
    identity["train.lora.alpha"] = fmt::format("{}", shapes.lora->alpha);
    identity["train.lora.targets"] = fmt::format("{}", fmt::join(shapes.lora->targets, " "));
  }
  if (shapes.trained_encoder_layers > 0) {
    identity["train.encoder_layers"] = std::to_string(shapes.trained_encoder_layers);
  }
  return identity;
}

// What the features of the first `layers` encoder layers depend on besides audio and code.
std::string feature_setup(const TrainingOptions& options, const ModelShapes& shapes,
                          std::int64_t layers, at::Device device) {
  return fmt::format("{} {} {} {} {} {}", c10::DeviceTypeName(device.type()), models::model_fingerprint(options.models.speech),
                     options.models.precision, layers, fmt::join(shapes.adapter.taps, ","),
                     shapes.whisper.mel_frames());
}

ScheduleShape shape_of(const TrainingOptions& options, const std::vector<StagePart>& parts,
                       std::int64_t microbatches) {
  const std::vector<std::int64_t> learning = learning_stages(parts);
  return {.ranks = options.pipeline.stages,
          .chunks = options.pipeline.chunks,
          .microbatches = microbatches,
          .first_backward = learning.front(),
          .learning = learning,
          .trial = 0};
}

}  // namespace

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

std::vector<StagePart> cut_models(const TrainingOptions& options) {
  const PipelineOptions& pipeline = options.pipeline;
  const BatchOptions& batch = options.batch;
  // A rank with several stages shares its memory between them.
  const MemoryLimit limit{
      .bytes = pipeline.memory_gib * (1U << 30) / static_cast<double>(pipeline.chunks),
      .micro_size = batch.micro_size,
      .microbatches =
          std::max<std::int64_t>(1, batch.global_size / batch.micro_size / options.replicas),
      .all_at_once = pipeline.schedule != "1f1b"};
  return partition(read_shapes(options), pipeline.parts(), limit);
}

void check_layout(const TrainingOptions& options, int ranks, const std::string& start) {
  const auto stages = options.pipeline.stages;
  if (stages < 1 || options.replicas < 1 || stages * options.replicas != ranks) {
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

Schedule schedule_of(const TrainingOptions& options, const std::vector<StagePart>& parts) {
  const std::int64_t microbatches =
      options.batch.global_size / options.batch.micro_size / options.replicas;
  return make_schedule(options.pipeline.schedule, shape_of(options, parts, microbatches));
}

Links make_links(runtime::Communicator& world, const TrainingOptions& options,
                 runtime::Communicator* gpu_world) {
  const auto place = RankPlace::of(world.rank(), options.pipeline.stages);
  const auto parts = cut_models(options);
  return {world.split(static_cast<int>(place.replica)),
          (gpu_world == nullptr ? world : *gpu_world).split(static_cast<int>(place.stage)),
          learning_ranks(parts, options.pipeline.stages)};
}

ReplicaEngine::ReplicaEngine(const TrainingOptions& options, RankPlace place, Links& links)
    : options_(settled(options)),
      place_(place),
      links_(links),
      shapes_(read_shapes(options)),
      parts_(cut_models(options)),
      table_(schedule_of(options, parts_).ranks[static_cast<std::size_t>(place.stage)]),
      device_(models::choose_device(options.models.device, options.models.local_rank)),
      speech_(options.models.speech, models::parse_precision(options.models.precision), device_),
      llm_(options.models.llm, models::parse_precision(options.models.precision), device_),
      tokenizer_(options.models.llm),
      training_(make_loader(options.dataset, tokenizer_, options_, shapes_)),
      total_steps_(options.steps > 0 ? options.steps
                                     : options.epochs * training_.steps_per_epoch()),
      trace_(static_cast<int>(place.replica * options.pipeline.stages + place.stage)) {
  if (!options.validation.empty()) {
    BatchOptions batch = options_.batch;
    batch.global_size = 1;
    validation_.emplace(options.validation, tokenizer_, batch, shapes_.adapter.queries,
                        options.seed, options.selection);
  }
  const std::vector<StagePart> parts = own_parts();
  if (std::ranges::any_of(parts, &StagePart::learns)) {
    start_trial();
  }
  if (parts.front().encoder_front && !options.features.empty()) {
    const auto layers = std::min(parts.front().encoder_end, shapes_.trained_from());
    const std::string setup = feature_setup(options, shapes_, layers, device_);
    const auto limit = static_cast<std::uint64_t>(std::ceil(options.features_gib * (1U << 30)));
    features_.emplace(options.features == "memory" ? FeatureFolder::in_memory(setup, limit)
                                                   : FeatureFolder::on_disk(options.features, limit),
                      setup, device_);
  }
  stages_.reserve(parts.size());
  for (const StagePart& part : parts) {
    stages_.emplace_back(part, shapes_, speech_, llm_,
                         trial_.has_value() ? trial_->parameters().tensors() : models::TensorMap(),
                         part.encoder_front && features_.has_value() ? &*features_ : nullptr);
  }
  frozen_.take("speech", speech_.loaded());
  frozen_.take("llm", llm_.loaded());
  trace_.enable(options.trace);
  executor_.emplace(stages_, trial(), links_, training_, validation_ ? &*validation_ : nullptr,
                    trace_, device_, options.pipeline.fill);
  if (options_.batch.share_prefix) {
    executor_->share_prefix();
  }
}

std::vector<StagePart> ReplicaEngine::own_parts() const {
  std::vector<StagePart> own;
  for (auto s = place_.stage; s < options_.pipeline.parts(); s += options_.pipeline.stages) {
    own.push_back(parts_[static_cast<std::size_t>(s)]);
  }
  return own;
}

void ReplicaEngine::start_trial() {
  models::TensorMap others;
  bool has_adapter = false;
  for (const StagePart& part : own_parts()) {
    others.merge(initial_beside_adapter(part, shapes_, options_.models.speech, options_.seed));
    has_adapter = has_adapter || part.adapter;
  }
  trial_.emplace(0, has_adapter ? std::optional(shapes_.adapter) : std::nullopt,
                 options_.optimizer, options_.seed, total_steps_,
                 models::parse_precision(options_.models.precision), device_, others);
  trial_->join_replicas(*links_.replicas, options_.reduction);
  const RunIdentity identity = identity_of(options_, shapes_, training_);
  if (has_adapter && place_.replica == 0) {
    sweep_up(options_.folder);
  }
  checkpoint_ =
      load_newest_checkpoint(options_.folder, *trial_, problems_, identity).string();
  if (checkpoint_.empty() && !options_.train.start_from.empty()) {
    const auto unused = trial_->start_from(read_parameters(options_.train.start_from));
    if (!unused.empty() && links_.learning.size() == 1) {
      runtime::log().warn("train.start_from {}: {} of its tensors are not learned here and left out ({}, "
                          "...): is train.what as it was there?",
                          options_.train.start_from, unused.size(), unused.front());
    }
  }
  if (has_adapter && place_.replica == 0) {
    writer_.emplace(options_.folder, options_.checkpoint, identity);
  }
}

StageInfo ReplicaEngine::info() const {
  StageInfo info;
  for (const Stage& stage : stages_) {
    info.part += (info.part.empty() ? "" : " and ") + stage.part().describe();
  }
  info.device = device_.str();
  info.frozen_tensors = frozen_.tensors();
  info.frozen_bytes = frozen_.bytes();
  if (trial_.has_value()) {
    // Values, gradients and two moments.
    info.adapter_bytes =
        4 * sizeof(float) *
        static_cast<std::uint64_t>(trial_->parameters().count());
    info.start_step = trial_->step();
    info.skipped_in_a_row = trial_->skipped_in_a_row();
    const std::string& before = trial_->schedule_before();
    if (!before.empty() && before != trial_->schedule()) {
      info.schedule_change = fmt::format("was: {}; is: {}", before, trial_->schedule());
    }
    info.adapter_checksum = models::checksum(trial_->parameters().values());
  }
  info.resident_bytes = resident_bytes();
  info.steps_per_epoch = training_.steps_per_epoch();
  info.checkpoint = checkpoint_;
  info.problems = problems_;
  return info;
}

StepPlan ReplicaEngine::training_plan(std::int64_t step) const {
  StepPlan plan;
  const std::int64_t own = training_.microbatches() / options_.replicas;
  plan.first_microbatch = place_.replica * own;
  for (std::int64_t m = 0; m < own; ++m) {
    plan.rows.push_back(training_.training_rows(step, plan.first_microbatch + m));
  }
  if (stages_.front().part().encoder_front && step + 1 < total_steps_) {
    for (std::int64_t m = 0; m < own; ++m) {
      plan.next_rows.push_back(training_.training_rows(step + 1, plan.first_microbatch + m));
    }
  }
  plan.loss_scale =
      stages_.back().part().head ? 1.0 / static_cast<double>(training_.response_tokens(step)) : 1.0;
  return plan;
}

StageReport ReplicaEngine::train_step(std::int64_t step) {
  const StepPlan plan = training_plan(step);
  StageReport report = executor_->run(table_, plan);
  report.stop_is_due = runtime::stop_is_due(report.seconds);
  if (writer_.has_value()) {
    report.saves = writer_->take_outcomes();
  }
  return report;
}

StageReport ReplicaEngine::accumulate_gradient(std::int64_t step) {
  StepPlan plan = training_plan(step);
  plan.updates = false;
  RankTable table = table_;
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
  const Schedule schedule = evaluation_schedule(
      shape_of(options_, parts_, static_cast<std::int64_t>(plan.rows.size())));
  RankTable table = schedule.ranks[static_cast<std::size_t>(place_.stage)];
  std::erase_if(table, [](const Action& a) { return a.op == Op::kReduce || a.op == Op::kStep; });
  return executor_->run(table, plan);
}

std::vector<SaveOutcome> ReplicaEngine::save(bool wait) {
  if (trial_.has_value()) {
    trial_->even_out();
  }
  if (!trial_.has_value() || place_.replica != 0) {
    return {};
  }
  const auto adapter = static_cast<int>(adapter_stage(parts_) % options_.pipeline.stages);
  if (place_.stage != adapter) {
    trial_->copy_to(sent_);
    send_state(*links_.pipeline, sent_, adapter);
    return {};
  }
  std::vector<TrialState>& states = writer_->buffer();
  states.resize(links_.learning.size());
  trial_->copy_to(states.front());  // the position is the same on all stages
  std::size_t next = 1;
  for (const auto rank : links_.learning) {
    if (rank != adapter) {
      receive_state(*links_.pipeline, states[next++], static_cast<int>(rank));
    }
  }
  writer_->start();
  return wait ? finish_saving() : std::vector<SaveOutcome>();
}

std::vector<SaveOutcome> ReplicaEngine::finish_saving() {
  if (!writer_.has_value()) {
    return {};
  }
  writer_->wait();
  return writer_->take_outcomes();
}

FrozenReport ReplicaEngine::verify_frozen() const {
  return {frozen_.tensors(), frozen_.changed()};
}

ReplicaTraffic ReplicaEngine::replica_traffic() const {
  const runtime::Communicator& replicas = *links_.replicas;
  return {replicas.traffic().sent, replicas.size() > 1 ? replicas.algorithms() : ""};
}

void ReplicaEngine::write_trace(const std::filesystem::path& path) const { trace_.write(path); }

}  // namespace desta::trainer
