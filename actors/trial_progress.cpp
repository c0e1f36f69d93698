#include "actors/trial_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::actors {
namespace {

// A run whose steps or saves fail one after the other will not mend itself.
constexpr std::int64_t kMaximumSkips = 3;
constexpr int kMaximumFailedSaves = 3;

}  // namespace

TrialProgress::TrialProgress(const trainer::TrainingOptions& options, std::string label)
    : options_(options),
      label_(std::move(label)),
      lock_(runtime::lock_folder(options.folder, {.what = "run folder", .key = "run.folder"})),
      metrics_(std::filesystem::path(options.folder) / "metrics.jsonl") {}

void TrialProgress::start_from(const trainer::TrialInfo& adapter) {
  first_step_ = step_ = adapter.start_step;
  skips_ = adapter.skipped_in_a_row;
  total_steps_ = adapter.total_steps;
  if (!adapter.schedule_change.empty()) {
    runtime::log().warn("{}the schedule has changed since the checkpoint, which bends the learning rate: {}",
                        label_, adapter.schedule_change);
  }
  if (!adapter.left_out.empty()) {
    runtime::log().info("{}{}", label_, adapter.left_out);
  }
  if (!adapter.checkpoint.empty()) {
    runtime::log().info("{}resuming from {} at step {} of {}", label_, adapter.checkpoint, first_step_,
                        total_steps_);
  }
  if (is_done()) {
    runtime::log().info("{}all {} steps are done already", label_, total_steps_);
  }
}

bool TrialProgress::is_due(std::int64_t every) const {
  return is_done() || (every > 0 && step_ % every == 0);
}

bool TrialProgress::validates() const {
  return !options_.validation.empty() && options_.validate_every > 0 &&
         is_due(options_.validate_every);
}

void TrialProgress::finish_step(const trainer::TrialReport& report,
                                const nlohmann::ordered_json& rest) {
  ++step_;
  loss_ = report.loss;
  nlohmann::ordered_json line = {{"step", step_},
                                 {"loss", report.loss},
                                 {"gradient_norm", report.gradient_norm},
                                 {"learning_rate", report.learning_rate},
                                 {"response_tokens", report.tokens}};
  line.update(rest);
  if (!report.skipped) {
    skips_ = 0;
  } else {
    line["skipped"] = true;
    runtime::log().warn("{}step {} skipped: its loss or gradient is not finite (loss {})", label_, step_,
                        report.loss);
    if (++skips_ == kMaximumSkips) {
      fail(fmt::format("{}steps {} to {} were not finite; lower optimizer.learning_rate or look at their "
                       "rows; checkpoints are in {}/checkpoints",
                       label_, step_ + 1 - kMaximumSkips, step_, options_.folder));
    }
  }
  metrics_.write(line);
}

void TrialProgress::note_validation(double loss, std::int64_t tokens, std::int64_t right) {
  const double count = static_cast<double>(std::max<std::int64_t>(1, tokens));
  metrics_.write({{"step", step_},
                  {"validation_loss", loss / count},
                  {"validation_token_accuracy", static_cast<double>(right) / count},
                  {"response_tokens", tokens}});
  runtime::log().info("{}step {}: validation loss {:.4f}, token accuracy {:.1f}% over {} tokens", label_,
                      step_, loss / count, 100.0 * static_cast<double>(right) / count, tokens);
}

void TrialProgress::note(const std::vector<trainer::SaveOutcome>& saves) {
  for (const auto& save : saves) {
    if (save.problem.empty()) {
      failed_saves_ = 0;
      runtime::log().info("saved {}", save.path);
    } else if (++failed_saves_ == kMaximumFailedSaves) {
      fail(save.problem);
    } else {
      runtime::log().warn("not saved; training goes on and will save again: {}", save.problem);
    }
  }
}

void TrialProgress::note_wait_for_save(double seconds, bool to_its_end) {
  metrics_.write({{"step", step_}, {"seconds_waited_for_save", seconds}, {"to_its_end", to_its_end}});
}

void TrialProgress::fail(std::string problem) {
  if (failure_.empty()) {
    failure_ = std::move(problem);
  }
}

}  // namespace desta::actors
