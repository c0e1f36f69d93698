#include "launch/sweep_results.h"

#include <cmath>
#include <fstream>

#include "launch/sweep_state.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::launch {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

TaskResult task_result(const std::string& name, const Json& json) {
  return {.task = name,
          .accuracy = json.at("accuracy"),
          .majority = json.at("majority"),
          .transcription_only = json.at("transcription_only"),
          .ceiling = json.at("ceiling"),
          .n = json.at("n")};
}

std::vector<TaskResult> task_results(const Json& set, const std::string& key) {
  std::vector<TaskResult> results;
  if (set.contains(key)) {
    for (const auto& [name, json] : set.at(key).items()) {
      results.push_back(task_result(name, json));
    }
  }
  return results;
}

std::optional<Share> share(const Json& report, const std::string& key, const std::string& count) {
  if (!report.contains(key)) {
    return std::nullopt;
  }
  const std::int64_t n = report.at(key).at("n");
  const double right = report.at(key).at(count);
  return n == 0 ? std::nullopt : std::optional(Share{right / static_cast<double>(n), n});
}

class AnswerReader {
 public:
  explicit AnswerReader(std::map<std::string, std::size_t>& names) : names_(names) {}

  // Nothing for a file that is not there. Throws DataError for a line that is not an answer.
  std::vector<Answer> read(const fs::path& path) {
    std::vector<Answer> answers;
    std::ifstream in(path);
    std::size_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      const Json json = Json::parse(line, nullptr, false);
      try {
        answers.push_back(answer(json));
      } catch (const Json::exception& error) {
        throw runtime::DataError("{}:{}: not an answer: {}", path.string(), number, error.what());
      }
    }
    return answers;
  }

 private:
  Answer answer(const Json& json) {
    const auto set = json.at("set").get<std::string>();
    const auto task = json.at("task").get<std::string>();
    const auto audio = json.at("audio").get<std::string>();
    const auto question = json.at("question").get<std::string>();
    return {.key = runtime::hash64(set + '\0' + task + '\0' + audio + '\0' + question),
            .set = id(set),
            .task = id(task),
            .recording = id(audio),
            .right = json.at("right")};
  }
  std::size_t id(const std::string& name) {
    return names_.emplace(name, names_.size()).first->second;
  }

  std::map<std::string, std::size_t>& names_;
};

std::vector<StepLoss> read_losses(const fs::path& path) {
  std::map<std::int64_t, double> by_step;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const auto json = Json::parse(line, nullptr, false);  // a killed run may leave half a line
    if (json.is_object() && json.contains("step") && json.contains("loss") &&
        json["loss"].is_number()) {
      by_step[json["step"]] = json["loss"];
    }
  }
  std::vector<StepLoss> losses;
  for (const auto& [step, loss] : by_step) {
    if (std::isfinite(loss)) {
      losses.push_back({step, loss});
    }
  }
  return losses;
}

std::string why_missing(const Plan& plan, const Trial& trial, std::int64_t round) {
  const TrialState state = TrialFolder(plan.trial_folder(trial)).current();
  return fmt::format("{}{}: {}{}", trial.id,
                     plan.rounds > 1 ? fmt::format(" round {}", round) : std::string(),
                     to_string(state.status), state.message.empty() ? "" : ": " + state.message);
}

}  // namespace

std::optional<std::size_t> SweepResults::number(const std::string& name) const {
  const auto found = names.find(name);
  return found == names.end() ? std::nullopt : std::optional(found->second);
}

RoundResult read_evaluation(const fs::path& path) {
  RoundResult result;
  result.evaluation = path;
  try {
    const Json report = Json::parse(runtime::read_file(path));
    for (const auto& [name, set] : report.at("sets").items()) {
      result.sets.push_back({.name = name,
                             .tasks = task_results(set, "tasks"),
                             .average = task_result("average", set.at("average")),
                             .instructions = task_results(set, "instruction_following")});
    }
    result.retention = share(report, "retention", "same");
    result.text = share(report, "text", "right");
  } catch (const Json::exception& error) {
    throw runtime::DataError("{}: not an evaluation: {}", path.string(), error.what());
  }
  return result;
}

SweepResults read_results(const Plan& plan) {
  SweepResults results;
  AnswerReader answers(results.names);
  for (const auto& trial : plan.trials) {
    for (std::int64_t round = 1; round <= plan.rounds; ++round) {
      const fs::path run = plan.run_folder(trial, round);
      if (!fs::exists(run / "evaluation.json")) {
        results.missing.push_back(why_missing(plan, trial, round));
        continue;
      }
      try {
        RoundResult result = read_evaluation(run / "evaluation.json");
        result.trial = &trial;
        result.round = round;
        result.answers = answers.read(run / "answers.jsonl");
        result.losses = read_losses(run / "metrics.jsonl");
        results.runs.push_back(std::move(result));
      } catch (const runtime::DataError& error) {
        results.missing.push_back(fmt::format("{}: {}", trial.id, error.what()));
      }
    }
  }
  return results;
}

}  // namespace desta::launch
