#include "trainer/trial_lane.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "models/torch_util.h"
#include "runtime/core/hash.h"
#include "runtime/core/log.h"
#include "trainer/checkpoint.h"
#include "trainer/learned.h"
#include "trainer/trial_exchange.h"

namespace desta::trainer {
namespace {

BatchLoader make_loader(const std::string& dataset, const models::Tokenizer& tokenizer,
                        const TrainingOptions& options, const ModelShapes& shapes) {
  return BatchLoader(dataset, tokenizer, options.batch, shapes.adapter.queries, options.seed,
                     options.selection);
}

RunIdentity identity_of(const TrainingOptions& options, const ModelShapes& shapes,
                        std::uint64_t rows) {
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
          {kRowsOfIdentity, runtime::to_hex(rows)},
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

}  // namespace

TrialLane::TrialLane(const TrainingOptions& options, RankPlace place, Links& links,
                     const models::Tokenizer& tokenizer, const std::vector<StagePart>& own,
                     const std::vector<StagePart>& parts, at::Device device,
                     const std::optional<StreamInfo>& stream)
    : options_(settled(options)),
      place_(place),
      links_(links),
      shapes_(read_shapes(options)),
      adapter_rank_(adapter_stage(parts) % options.pipeline.stages),
      ends_(own.back().head),
      tokenizer_(tokenizer),
      stream_(stream),
      feed_(stream.has_value() ? std::optional<RowFeed>(options_.batch.global_size) : std::nullopt),
      training_(feed_.has_value()
                    ? BatchLoader(*feed_, tokenizer, options_.batch, shapes_.adapter.queries)
                    : make_loader(options.dataset, tokenizer, options_, shapes_)),
      total_steps_(stream.has_value()  ? stream->total_steps
                   : options.steps > 0 ? options.steps
                                       : options.epochs * training_.steps_per_epoch()) {
  if (!stream.has_value()) {
    open_validation();
  }
  if (std::ranges::any_of(own, &StagePart::learns)) {
    models::TensorMap others;
    for (const StagePart& part : own) {
      others.merge(initial_beside_adapter(part, shapes_, options.models.speech, options.seed));
    }
    start_trial(own, others, device);
  }
}

void TrialLane::open_validation() {
  if (options_.validation.empty() || validation_.has_value()) {
    return;
  }
  BatchOptions batch = options_.batch;
  batch.global_size = 1;
  validation_.emplace(options_.validation, tokenizer_, batch, shapes_.adapter.queries, options_.seed,
                      options_.selection);
}

void TrialLane::start_trial(const std::vector<StagePart>& own, const models::TensorMap& others,
                            at::Device device) {
  const bool has_adapter = std::ranges::any_of(own, &StagePart::adapter);
  trial_.emplace(0, has_adapter ? std::optional(shapes_.adapter) : std::nullopt,
                 options_.optimizer, options_.seed, total_steps_,
                 models::parse_precision(options_.models.precision), device, others);
  trial_->join_replicas(*links_.replicas, options_.reduction);
  const RunIdentity identity = identity_of(
      options_, shapes_, stream_.has_value() ? stream_->fingerprint : training_.fingerprint());
  if (has_adapter && place_.replica == 0) {
    sweep_up(options_.folder);
  }
  checkpoint_ = load_newest_checkpoint(options_.folder, *trial_, problems_, identity).string();
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

TrialInfo TrialLane::info() const {
  TrialInfo info;
  if (trial_.has_value()) {
    // Values, gradients and two moments.
    info.adapter_bytes =
        4 * sizeof(float) * static_cast<std::uint64_t>(trial_->parameters().count());
    info.start_step = trial_->step();
    info.skipped_in_a_row = trial_->skipped_in_a_row();
    const std::string& before = trial_->schedule_before();
    if (!before.empty() && before != trial_->schedule()) {
      info.schedule_change = fmt::format("was: {}; is: {}", before, trial_->schedule());
    }
    info.adapter_checksum = models::checksum(trial_->parameters().values());
  }
  info.total_steps = total_steps_;
  info.left_out = training_.left_out();
  info.checkpoint = checkpoint_;
  info.problems = problems_;
  return info;
}

TrialWork TrialLane::work() {
  return {trial(), &training_, &validation_};
}

TrialPlan TrialLane::training_plan(std::int64_t step) const {
  TrialPlan plan;
  const std::int64_t own = options_.own_microbatches();
  plan.first_microbatch = place_.replica * own;
  for (std::int64_t m = 0; m < own; ++m) {
    plan.rows.push_back(training_.training_rows(step, plan.first_microbatch + m));
  }
  if (step + 1 < total_steps_ && (!feed_.has_value() || feed_->has(step + 1))) {
    for (std::int64_t m = 0; m < own; ++m) {
      plan.next_rows.push_back(training_.training_rows(step + 1, plan.first_microbatch + m));
    }
  }
  if (ends_) {
    plan.loss_scale = 1.0 / static_cast<double>(training_.response_tokens(step));
  }
  return plan;
}

TrialPlan TrialLane::validation_plan() {
  open_validation();
  TrialPlan plan;
  for (std::int64_t m = place_.replica; m < validation_->ordered_microbatches();
       m += options_.replicas) {
    plan.rows.push_back(validation_->ordered_rows(m));
  }
  return plan;
}

void TrialLane::save() {
  if (!trial_.has_value()) {
    return;
  }
  trial_->even_out();
  if (place_.replica != 0) {
    return;
  }
  if (place_.stage != adapter_rank_) {
    trial_->copy_to(sent_);
    send_state(*links_.pipeline, sent_, static_cast<int>(adapter_rank_));
    return;
  }
  std::vector<TrialState>& states = writer_->buffer();
  states.resize(links_.learning.size());
  trial_->copy_to(states.front());  // the position is the same on all stages
  std::size_t next = 1;
  for (const auto rank : links_.learning) {
    if (rank != adapter_rank_) {
      receive_state(*links_.pipeline, states[next++], static_cast<int>(rank));
    }
  }
  writer_->start();
}

void TrialLane::finish_saving() {
  if (writer_.has_value()) {
    writer_->wait();
  }
}

std::vector<SaveOutcome> TrialLane::take_outcomes() {
  return writer_.has_value() ? writer_->take_outcomes() : std::vector<SaveOutcome>();
}

}  // namespace desta::trainer
