#include "trainer/replica_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "runtime/core/stop_request.h"
#include "trainer/ahead_schedule.h"

namespace desta::trainer {
namespace {

// What the features of the first `layers` encoder layers depend on besides audio and code.
std::string feature_setup(const TrainingOptions& options, const ModelShapes& shapes,
                          std::int64_t layers, at::Device device) {
  return fmt::format("{} {} {} {} {} {}", c10::DeviceTypeName(device.type()), models::model_fingerprint(options.models.speech),
                     options.models.precision, layers, fmt::join(shapes.adapter.taps, ","),
                     shapes.whisper.mel_frames());
}

}  // namespace

Links make_links(runtime::Communicator& world, const TrialSet& trials,
                 runtime::Communicator* gpu_world) {
  const std::int64_t stages = trials.common().pipeline.stages;
  const auto place = RankPlace::of(world.rank(), stages);
  const auto parts = cut_models(trials);
  // Ranks that do not train have no part in the replicas.
  const bool trains = place.replica < trials.common().replicas;
  return {world.split(static_cast<int>(place.replica)),
          (gpu_world == nullptr ? world : *gpu_world)
              .split(trains ? static_cast<int>(place.stage) : static_cast<int>(stages) + world.rank()),
          learning_ranks(parts, stages)};
}

ReplicaEngine::ReplicaEngine(const TrialSet& trials, RankPlace place, Links& links,
                             const std::optional<StreamInfo>& stream)
    : trials_(trials),
      place_(place),
      links_(links),
      shapes_(read_shapes(trials.common())),
      parts_(cut_models(trials)),
      device_(models::choose_device(common().models.device, common().models.local_rank)),
      speech_(common().models.speech, models::parse_precision(common().models.precision), device_),
      llm_(common().models.llm, models::parse_precision(common().models.precision), device_),
      tokenizer_(common().models.llm),
      trace_(static_cast<int>(place.replica * common().pipeline.stages + place.stage)) {
  const std::vector<StagePart> parts = own_parts();
  std::vector<TrialWork> work;
  for (const TrainingOptions& options : trials_) {
    lanes_.push_back(std::make_unique<TrialLane>(options, place_, links_, tokenizer_, parts, parts_, device_,
                                                 stream));
    work.push_back(lanes_.back()->work());
  }
  if (parts.front().encoder_front && !common().features.empty()) {
    const std::string setup = feature_setup(common(), shapes_, frozen_end(parts.front(), shapes_), device_);
    const auto limit = static_cast<std::uint64_t>(std::ceil(common().features_gib * (1U << 30)));
    features_.emplace(common().features == "memory" ? FeatureFolder::in_memory(setup, limit)
                                                    : FeatureFolder::on_disk(common().features, limit),
                      setup, device_);
  }
  // What learns in the models is the only trial's.
  const models::TensorMap learned =
      trial() != nullptr ? trial()->parameters().tensors() : models::TensorMap();
  stages_.reserve(parts.size());
  for (const StagePart& part : parts) {
    stages_.emplace_back(part, shapes_, speech_, llm_, learned,
                         part.encoder_front && features_.has_value() ? &*features_ : nullptr);
  }
  if (common().colocated.has_value() && parts.back().head && !shapes_.llama.tie_word_embeddings) {
    embedding_.emplace(shapes_.llama, models::LlamaPart{0, 0, true, false}, llm_);
  }
  frozen_.take("speech", speech_.loaded());
  frozen_.take("llm", llm_.loaded());
  trace_.enable(common().trace);
  const bool fills = common().pipeline.fill && common().pipeline.schedule != kAhead;
  executor_.emplace(stages_, std::move(work), links_, trace_, device_, fills);
  if (settled(common()).batch.share_prefix) {
    executor_->share_prefix();
  }
  if (common().colocated.has_value()) {
    std::int64_t first = adapter_stage(parts_);
    while (parts_[static_cast<std::size_t>(first)].llama_begin == parts_[static_cast<std::size_t>(first)].llama_end &&
           !parts_[static_cast<std::size_t>(first)].head) {
      ++first;
    }
    std::map<std::int64_t, const models::Llama*> llamas;
    for (const Stage& stage : stages_) {
      if (stage.part().stage >= first) {
        llamas[stage.part().stage] = stage.llama();
      }
    }
    const models::Llama* embedding = embedding_.has_value() ? &*embedding_ : stages_.back().llama();
    generator_.emplace(std::move(llamas), embedding, first,
                       common().pipeline.parts(), *links_.pipeline, tokenizer_, shapes_.llama,
                       common().colocated->decoding, common().colocated->groups);
    executor_->generate_with(&*generator_);
  }
}

std::vector<StagePart> ReplicaEngine::own_parts() const {
  const PipelineOptions& pipeline = common().pipeline;
  std::vector<StagePart> own;
  for (auto s = place_.stage; s < pipeline.parts(); s += pipeline.stages) {
    own.push_back(parts_[static_cast<std::size_t>(s)]);
  }
  return own;
}

StageInfo ReplicaEngine::info() const {
  StageInfo info;
  for (const Stage& stage : stages_) {
    info.part += (info.part.empty() ? "" : " and ") + stage.part().describe();
  }
  info.device = device_.str();
  info.frozen_tensors = frozen_.tensors();
  info.frozen_bytes = frozen_.bytes();
  for (const auto& lane : lanes_) {
    info.trials.push_back(lane->info());
  }
  info.resident_bytes = resident_bytes();
  return info;
}

StepPlan ReplicaEngine::training_plan(std::span<const std::int64_t> steps) {
  StepPlan plan;
  plan.trials.resize(lanes_.size());
  std::vector<TrialShare> shares = shares_of(trials_, steps);
  for (const TrialShare& share : shares) {
    const auto trial = static_cast<std::size_t>(share.trial);
    TrialPlan& mine = plan.trials[trial];
    mine = lanes_[trial]->training_plan(steps[trial]);
    mine.stream = static_cast<std::size_t>(share.stream);
    mine.heard_by = std::ranges::count(shares, share.stream, &TrialShare::stream);
  }
  if (common().pipeline.schedule == kAhead) {
    make_ahead_table(steps.front(), plan.trials.front());
  } else if (shares != shares_) {
    const Schedule schedule = schedule_trials(common().pipeline.schedule,
                                              schedule_shape(common(), parts_, 0), shares);
    table_ = schedule.ranks[static_cast<std::size_t>(place_.stage)];
    shares_ = std::move(shares);
  }
  return plan;
}

void ReplicaEngine::make_ahead_table(std::int64_t step, const TrialPlan& plan) {
  if (!ahead_tables_.has_value()) {
    ahead_tables_ = ahead_tables_of(common(), parts_);
  }
  const auto rank = static_cast<std::size_t>(place_.stage);
  const bool has_next = !plan.next_rows.empty();
  table_.clear();
  if (ahead_for_ != step) {
    executor_->forget_next();
    table_ = ahead_tables_->catch_up.ranks[rank];
  }
  const RankTable& body = (has_next ? ahead_tables_->step : ahead_tables_->last).ranks[rank];
  table_.insert(table_.end(), body.begin(), body.end());
  ahead_for_ = has_next ? step + 1 : -1;
}

StageReport ReplicaEngine::train_step(const std::vector<std::int64_t>& steps) {
  const StepPlan plan = training_plan(steps);
  StageReport report = executor_->run(table_, plan);
  report.stop_is_due = runtime::stop_is_due(report.seconds);
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    report.trials[i].saves = lanes_[i]->take_outcomes();
  }
  return report;
}

void ReplicaEngine::supply(StepSupply supply) {
  for (auto& step : supply.rows) {
    lanes_.front()->feed().put(step.step, std::move(step.rows), supply.oldest);
  }
  if (generator_.has_value() && generator_->leads()) {
    generator_->add(supply.orders);
  }
}

WritingReport ReplicaEngine::write_texts(std::int64_t texts) {
  generator_->run(texts);
  const GenerationWork work = generator_->take_work();
  return {generator_->take_written(), work.tokens, work.seconds};
}

void ReplicaEngine::stop_writing() { generator_->finish(); }

StageReport ReplicaEngine::accumulate_gradient(const std::vector<std::int64_t>& steps) {
  StepPlan plan = training_plan(steps);
  plan.updates = false;
  RankTable table = table_;
  std::erase_if(table, [](const Action& action) { return action.op == Op::kStep; });
  return executor_->run(table, plan);
}

StageReport ReplicaEngine::validate(std::int64_t trial) {
  StepPlan plan;
  plan.learn = false;
  plan.trials.resize(lanes_.size());
  TrialPlan& mine = plan.trials[static_cast<std::size_t>(trial)];
  mine = lanes_[static_cast<std::size_t>(trial)]->validation_plan();
  mine.stream = static_cast<std::size_t>(trial);
  ScheduleShape shape = schedule_shape(common(), parts_, static_cast<std::int64_t>(mine.rows.size()));
  shape.trial = trial;
  return executor_->run(
      evaluation_schedule(shape).ranks[static_cast<std::size_t>(place_.stage)], plan);
}

std::vector<SaveOutcome> ReplicaEngine::save(std::int64_t trial, bool wait) {
  lanes_[static_cast<std::size_t>(trial)]->save();
  return wait ? finish_saving(trial) : std::vector<SaveOutcome>();
}

std::vector<SaveOutcome> ReplicaEngine::finish_saving(std::int64_t trial) {
  TrialLane& lane = *lanes_[static_cast<std::size_t>(trial)];
  lane.finish_saving();
  return lane.take_outcomes();
}

FrozenReport ReplicaEngine::verify_frozen() const {
  return {frozen_.tensors(), frozen_.changed(), peak_resident_bytes()};
}

ReplicaTraffic ReplicaEngine::replica_traffic() const {
  const runtime::Communicator& replicas = *links_.replicas;
  return {replicas.traffic().sent, replicas.size() > 1 ? replicas.algorithms() : ""};
}

void ReplicaEngine::write_trace(const std::filesystem::path& path) const { trace_.write(path); }

}  // namespace desta::trainer
