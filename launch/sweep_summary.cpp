#include "launch/sweep_summary.h"

#include <algorithm>
#include <unordered_map>

namespace desta::launch {
namespace {

constexpr const char* kTextSet = "text";  // of answers.jsonl

const SetResult* find_set(const RoundResult& run, const std::string& name) {
  const auto found = std::find_if(run.sets.begin(), run.sets.end(),
                                  [&](const SetResult& set) { return set.name == name; });
  return found == run.sets.end() ? nullptr : &*found;
}

const TaskResult* find_task(const std::vector<TaskResult>& tasks, const std::string& name) {
  const auto found = std::find_if(tasks.begin(), tasks.end(),
                                  [&](const TaskResult& task) { return task.task == name; });
  return found == tasks.end() ? nullptr : &*found;
}

void add_names(std::vector<std::string>& names, const std::vector<TaskResult>& tasks) {
  for (const auto& task : tasks) {
    if (std::find(names.begin(), names.end(), task.task) == names.end()) {
      names.push_back(task.task);
    }
  }
}

double mean_or_zero(const std::vector<double>& values) {
  return values.empty() ? 0 : spread(values).mean;
}

// Of one condition's runs: another prompt or another list of attributes has another ceiling.
void add_references(SetColumns& columns, const SweepResults& results,
                    const std::string& condition) {
  const auto add = [&](auto&& find) {
    std::vector<double> majority, transcription_only, ceiling;
    for (const auto& run : results.runs) {
      if (run.trial->condition != condition) {
        continue;
      }
      const SetResult* set = find_set(run, columns.name);
      const TaskResult* task = set == nullptr ? nullptr : find(*set);
      if (task != nullptr) {
        majority.push_back(task->majority);
        transcription_only.push_back(task->transcription_only);
        ceiling.push_back(task->ceiling);
      }
    }
    columns.majority.push_back(mean_or_zero(majority));
    columns.transcription_only.push_back(mean_or_zero(transcription_only));
    columns.ceiling.push_back(mean_or_zero(ceiling));
  };
  for (const auto& name : columns.tasks) {
    add([&](const SetResult& set) { return find_task(set.tasks, name); });
  }
  add([](const SetResult& set) { return &set.average; });
}

std::vector<SetColumns> find_columns(const Plan& plan, const SweepResults& results) {
  std::vector<SetColumns> sets;
  for (const auto& run : results.runs) {
    for (const auto& set : run.sets) {
      auto found = std::find_if(sets.begin(), sets.end(),
                                [&](const SetColumns& one) { return one.name == set.name; });
      if (found == sets.end()) {
        sets.emplace_back().name = set.name;
        found = sets.end() - 1;
      }
      add_names(found->tasks, set.tasks);
      add_names(found->instructions, set.instructions);
    }
  }
  for (auto& set : sets) {
    add_references(set, results, reference_condition(plan));
  }
  return sets;
}

SetMeasures measure_set(const SummaryRow& row, const SetColumns& columns) {
  SetMeasures measures;
  measures.tasks.resize(columns.tasks.size());
  measures.instructions.resize(columns.instructions.size());
  for (const RoundResult* run : row.runs) {
    const SetResult* set = find_set(*run, columns.name);
    if (set == nullptr) {
      continue;
    }
    const auto collect = [](const std::vector<std::string>& names,
                            const std::vector<TaskResult>& tasks, std::vector<Measure>& into) {
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (const TaskResult* task = find_task(tasks, names[i])) {
          into[i].values.push_back(task->accuracy);
        }
      }
    };
    collect(columns.tasks, set->tasks, measures.tasks);
    collect(columns.instructions, set->instructions, measures.instructions);
    measures.average.values.push_back(set->average.accuracy);
  }
  return measures;
}

// The answers of two runs of one seed to the same questions of one set. `tasks`: the number of each
// task by its number among the names; empty: all are one task.
std::vector<PairedAnswer> pair_answers(const RoundResult& run, const RoundResult& baseline,
                                       std::size_t set,
                                       const std::unordered_map<std::size_t, std::size_t>& tasks) {
  std::unordered_map<std::uint64_t, bool> right;
  for (const auto& answer : baseline.answers) {
    if (answer.set == set) {
      right.emplace(answer.key, answer.right);
    }
  }
  std::vector<PairedAnswer> pairs;
  for (const auto& answer : run.answers) {
    const auto other = answer.set == set ? right.find(answer.key) : right.end();
    const auto task = tasks.find(answer.task);
    if (other != right.end() && (tasks.empty() || task != tasks.end())) {
      pairs.push_back({.task = tasks.empty() ? 0 : task->second,
                       .recording = answer.recording,
                       .difference = int{answer.right} - int{other->second}});
    }
  }
  return pairs;
}

class Comparison {
 public:
  Comparison(const SweepResults& results, const SummaryRow& baseline, std::size_t resamples)
      : results_(results), baseline_(baseline), resamples_(resamples) {}

  void fill(SummaryRow& row, const std::vector<SetColumns>& sets) const {
    for (std::size_t i = 0; i < sets.size(); ++i) {
      const auto intervals = compare(row, sets[i].name, sets[i].tasks);
      for (std::size_t task = 0; task < sets[i].tasks.size(); ++task) {
        row.sets[i].tasks[task].difference = intervals[task];
      }
      row.sets[i].average.difference = intervals.back();
    }
    row.text.difference = compare(row, kTextSet, {}).front();
  }

 private:
  // Of each task, and of the average; without `tasks`, of all answers together.
  [[nodiscard]] std::vector<std::optional<Interval>> compare(
      const SummaryRow& row, const std::string& set, const std::vector<std::string>& tasks) const {
    const std::size_t count = std::max<std::size_t>(1, tasks.size());
    const auto set_number = results_.number(set);
    if (!set_number) {
      return std::vector<std::optional<Interval>>(count + 1);
    }
    std::unordered_map<std::size_t, std::size_t> numbers;
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (const auto number = results_.number(tasks[i])) {
        numbers[*number] = i;
      }
    }
    std::vector<std::vector<PairedAnswer>> seeds;
    for (const RoundResult* run : row.runs) {
      for (const RoundResult* other : baseline_.runs) {
        if (run->trial->seed == other->trial->seed) {
          seeds.push_back(pair_answers(*run, *other, *set_number, numbers));
        }
      }
    }
    return paired_differences(seeds, count, resamples_);
  }

  const SweepResults& results_;
  const SummaryRow& baseline_;
  std::size_t resamples_;
};

}  // namespace

Summary summarise(const Plan& plan, const SweepResults& results, std::size_t resamples) {
  Summary summary;
  summary.sets = find_columns(plan, results);
  for (std::size_t condition = 0; condition < plan.conditions.size(); ++condition) {
    for (std::int64_t round = 1; round <= plan.rounds; ++round) {
      SummaryRow row;
      row.condition = condition;
      row.round = round;
      for (const auto& run : results.runs) {
        if (run.round == round && run.trial->condition == plan.conditions[condition]) {
          row.runs.push_back(&run);
          if (run.text) {
            row.text.values.push_back(run.text->accuracy);
          }
          if (run.retention) {
            row.retention.values.push_back(run.retention->accuracy);
          }
        }
      }
      if (row.runs.empty()) {
        continue;
      }
      for (const auto& set : summary.sets) {
        row.sets.push_back(measure_set(row, set));
      }
      summary.has_text = summary.has_text || !row.text.empty();
      summary.has_retention = summary.has_retention || !row.retention.empty();
      summary.rows.push_back(std::move(row));
    }
  }
  for (const auto& baseline : summary.rows) {
    if (plan.conditions[baseline.condition] != plan.baseline) {
      continue;
    }
    const Comparison comparison(results, baseline, resamples);
    for (auto& row : summary.rows) {
      if (row.round == baseline.round && row.condition != baseline.condition) {
        comparison.fill(row, summary.sets);
      }
    }
  }
  return summary;
}

}  // namespace desta::launch
