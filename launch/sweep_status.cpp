#include "launch/sweep_status.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "launch/sweep_state.h"
#include "launch/sweep_trial.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

constexpr std::streamoff kTail = 16384;  // bytes of metrics.jsonl that hold its last steps
constexpr std::size_t kLongestMessage = 100;

// The last step of a run and its loss.
struct LastStep {
  std::int64_t step = 0;
  std::string loss;
};

LastStep last_step(const fs::path& metrics) {
  std::ifstream in(metrics, std::ios::binary | std::ios::ate);
  LastStep last;
  if (!in) {
    return last;
  }
  in.seekg(std::max<std::streamoff>(0, in.tellg() - std::streampos(kTail)));
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json.contains("loss")) {
      last.step = json["step"];
      last.loss =
          json["loss"].is_number() ? fmt::format("{:.3f}", json["loss"].get<double>()) : "nan";
    }
  }
  return last;
}

bool is_number(const std::string& cell) {
  return cell.find_first_not_of("0123456789.+-/%") == std::string::npos;
}

std::string quoted(const std::string& word) {
  static constexpr const char* kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./=:,+";
  return !word.empty() && word.find_first_not_of(kPlain) == std::string::npos ? word
                                                                              : "'" + word + "'";
}

std::string command_text(const CommandLine& command) {
  std::vector<std::string> words;
  std::transform(command.begin(), command.end(), std::back_inserter(words), quoted);
  return fmt::format("  {}\n", fmt::join(words, " "));
}

std::string shortened(std::string text) {
  if (text.size() > kLongestMessage) {
    text = text.substr(0, kLongestMessage) + " ...";
  }
  return text;
}

}  // namespace

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += is_number(row[i]) ? fmt::format("{:>{}}  ", row[i], widths[i])
                                : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    line.resize(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string plan_text(const Plan& plan) {
  std::vector<std::vector<std::string>> rows = {{"trial", "id", "job", "ranks", "seed", "differs in"}};
  for (const auto& trial : plan.trials) {
    std::string settings;
    for (const auto& setting : trial.settings) {
      settings += (settings.empty() ? "" : "; ") + setting.key + "=" + setting.value;
    }
    rows.push_back({std::to_string(trial.index), trial.id, std::to_string(trial.job), std::to_string(trial.ranks()),
                    std::to_string(trial.seed),
                    settings.empty() ? "nothing" : shortened(settings)});
  }
  std::string text = text_table(rows) + "\n";
  const auto jobs = plan.data_jobs();
  text += fmt::format("{} conditions, {} trials of {} round{}; {} data generation{}\n",
                      plan.conditions.size(), plan.trials.size(), plan.rounds,
                      plan.rounds == 1 ? "" : "s", jobs.size(), jobs.size() == 1 ? "" : "s");
  for (const Trial* job : jobs) {
    text += fmt::format("  {} for '{}' in {}{}\n", job->data_key, job->condition, job->data_folder,
                        is_prepared(plan, *job) ? " (done)" : "");
  }
  const Trial& first = plan.trials.front();
  text += fmt::format("\nTrial {}{}:\n", first.id, plan.job(first.job).size() > 1 ? " and its job" : "");
  if (!first.data_key.empty()) {
    text += command_text(datagen_command(plan, first, 0));
  }
  for (std::int64_t round = 1; round <= plan.rounds; ++round) {
    const auto job = plan.job(first.job);
    text += command_text(job.size() > 1 ? train_command(plan, job) : train_command(plan, first, round));
    text += command_text(evaluation_command(plan, first, round));
  }
  return text;
}

std::string status_text(const Plan& plan) {
  std::map<TrialStatus, int> counts;
  std::vector<std::vector<std::string>> rows = {
      {"trial", "id", "state", "round", "step", "loss", "tries", "message"}};
  for (const auto& trial : plan.trials) {
    const TrialState state = TrialFolder(plan.trial_folder(trial)).current();
    ++counts[state.status];
    const auto last =
        last_step(plan.run_folder(trial, std::max<std::int64_t>(1, state.round)) / "metrics.jsonl");
    rows.push_back(
        {std::to_string(trial.index), trial.id, to_string(state.status),
         fmt::format("{}/{}", state.round, plan.rounds),
         trial.steps > 0 ? fmt::format("{}/{}", last.step, trial.steps) : std::to_string(last.step),
         last.loss, std::to_string(state.attempts), shortened(state.message)});
  }
  std::string text = fmt::format("{}: {} trials", plan.folder.string(), plan.trials.size());
  for (const auto status :
       {TrialStatus::kDone, TrialStatus::kRunning, TrialStatus::kPending, TrialStatus::kFailed}) {
    text += fmt::format(", {} {}", counts[status], to_string(status));
  }
  std::set<std::string> ids;
  for (const auto& trial : plan.trials) {
    ids.insert(trial.id);
  }
  std::error_code absent;
  const auto others = std::count_if(
      fs::directory_iterator(plan.folder / "trials", absent), fs::directory_iterator(),
      [&](const auto& entry) { return !ids.contains(entry.path().filename().string()); });
  if (others > 0) {
    text += fmt::format("; {} of other settings are not shown", others);
  }
  return text + "\n" + text_table(rows);
}

}  // namespace desta::launch
