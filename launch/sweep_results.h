// What the finished rounds of a sweep have left in their run folders, read for comparison:
// evaluation.json, answers.jsonl and metrics.jsonl.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/sweep_plan.h"

namespace desta::launch {

// Shares are between 0 and 1.
struct TaskResult {
  std::string task;
  double accuracy = 0;
  double majority = 0;
  double transcription_only = 0;
  double ceiling = 0;
  std::int64_t n = 0;
};

struct SetResult {
  std::string name;
  std::vector<TaskResult> tasks;         // classification and words
  TaskResult average;                    // over them
  std::vector<TaskResult> instructions;  // accuracy: how often the format asked for was kept
};

// How many of n were right, or the same as before.
struct Share {
  double accuracy = 0;
  std::int64_t n = 0;
};

// One question of an evaluation. Equal names have equal numbers within one SweepResults.
struct Answer {
  std::uint64_t key = 0;  // of set, task, recording and question
  std::size_t set = 0;
  std::size_t task = 0;
  std::size_t recording = 0;
  bool right = false;
};

struct StepLoss {
  std::int64_t step = 0;
  double loss = 0;
};

// A round of a trial that has been evaluated.
struct RoundResult {
  const Trial* trial = nullptr;
  std::int64_t round = 1;
  std::filesystem::path evaluation;  // the path of evaluation.json
  std::vector<SetResult> sets;       // in the order of the evaluation
  std::optional<Share> retention;    // answers to text that are the same as before training
  std::optional<Share> text;         // the LLM's questions without sound
  std::vector<Answer> answers;       // in the order of the file
  std::vector<StepLoss> losses;      // by step; a step done again counts as it was last
};

struct SweepResults {
  std::vector<RoundResult> runs;             // by trial, then round
  std::vector<std::string> missing;          // "ID round 2: failed: no such file"
  std::map<std::string, std::size_t> names;  // numbers of sets, tasks and recordings

  // The number of a set or a task; none when no answer has it.
  [[nodiscard]] std::optional<std::size_t> number(const std::string& name) const;
};

// One evaluation without its answers and losses. Throws DataError naming the file.
[[nodiscard]] RoundResult read_evaluation(const std::filesystem::path& path);

// All that is there. An evaluation that cannot be read is among `missing`.
[[nodiscard]] SweepResults read_results(const Plan& plan);

}  // namespace desta::launch
