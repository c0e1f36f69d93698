#include "trainer/trial_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>

#include "runtime/core/error.h"
#include "trainer/ahead_schedule.h"

namespace desta::trainer {
namespace {

// What belongs to the job, by setting.
std::map<std::string, std::string> shared_settings(const TrainingOptions& options) {
  const PipelineOptions& pipeline = options.pipeline;
  return {{"models.speech", options.models.speech},
          {"models.llm", options.models.llm},
          {"models.precision", options.models.precision},
          {"models.device", options.models.device},
          {"adapter.taps", fmt::format("{}", fmt::join(options.adapter.taps, " "))},
          {"train.what", options.train.what},
          {"pipeline.stages", std::to_string(pipeline.stages)},
          {"pipeline.chunks", std::to_string(pipeline.chunks)},
          {"pipeline.schedule", pipeline.schedule},
          {"pipeline.fill", fmt::format("{}", pipeline.fill)},
          {"pipeline.costs", pipeline.costs},
          {"pipeline.cut", fmt::format("{}", fmt::join(pipeline.cut, ", "))},
          {"pipeline.recompute", fmt::format("{}", pipeline.recompute)},
          {"pipeline.memory_gib", fmt::format("{}", pipeline.memory_gib)},
          {"data_parallel.replicas", std::to_string(options.replicas)},
          {"batch.share_prefix", fmt::format("{}", options.batch.share_prefix)},
          {"data.features", options.features},
          {"data.features_gib", fmt::format("{}", options.features_gib)}};
}

// Several trials share the models; neither a table of one's own nor one that reaches into the next step, which
// not all trials may have, knows of several.
bool can_share(const TrainingOptions& options) {
  return options.train.what == "adapter" && !options.pipeline.schedule.ends_with(".csv") &&
         options.pipeline.schedule != kAhead;
}

void check_pair(const TrainingOptions& first, const TrainingOptions& other) {
  const auto theirs = shared_settings(other);
  for (const auto& [key, value] : shared_settings(first)) {
    if (value != theirs.at(key)) {
      throw runtime::ConfigError("the trials of {} and {} cannot share one job: {} is '{}' and '{}'; make it "
                                 "the same, or train them one after the other",
                                 first.folder, other.folder, key, value, theirs.at(key));
    }
  }
}

}  // namespace

std::string job_key(const TrainingOptions& options) {
  std::string key = can_share(options) ? "" : options.folder + "\n";
  for (const auto& [setting, value] : shared_settings(options)) {
    key += fmt::format("{}: {}\n", setting, value);
  }
  return key;
}

TrialSet::TrialSet(TrainingOptions only) { trials_.push_back(std::move(only)); }

TrialSet::TrialSet(std::vector<TrainingOptions> trials) : trials_(std::move(trials)) {
  if (trials_.empty()) {
    throw runtime::InternalError("a job without a trial");
  }
  const TrainingOptions& first = trials_.front();
  for (std::size_t i = 1; i < trials_.size(); ++i) {
    check_pair(first, trials_[i]);
    if (first.train.what != "adapter") {
      throw runtime::ConfigError("train.what is {}: it changes the models, which several trials share; train "
                                 "{} and {} one after the other",
                                 first.train.what, first.folder, trials_[i].folder);
    }
    if (!can_share(first)) {
      throw runtime::ConfigError("pipeline.schedule {} is for one trial, here are {}; take 1f1b",
                                 first.pipeline.schedule, trials_.size());
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (trials_[i].folder == trials_[j].folder) {
        throw runtime::ConfigError("two trials have run.folder {}; give each its own", trials_[i].folder);
      }
    }
  }
}

std::size_t TrialSet::first_with_same_rows(std::size_t trial) const {
  const TrainingOptions& mine = trials_[trial];
  for (std::size_t i = 0; i < trial; ++i) {
    const TrainingOptions& other = trials_[i];
    if (mine.dataset == other.dataset && mine.selection == other.selection && mine.seed == other.seed &&
        mine.batch.global_size == other.batch.global_size &&
        mine.batch.micro_size == other.batch.micro_size && mine.batch.cut == other.batch.cut &&
        (mine.batch.cut == "rows" || mine.batch.max_text_tokens == other.batch.max_text_tokens)) {
      return i;
    }
  }
  return trial;
}

std::size_t TrialSet::streams() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < trials_.size(); ++i) {
    count += first_with_same_rows(i) == i ? 1 : 0;
  }
  return count;
}

}  // namespace desta::trainer
