#include "launch/sweep_tables.h"

#include <fmt/format.h>

#include <map>

namespace desta::launch {
namespace {

std::string cell(const Measure& measure) {
  if (measure.empty()) {
    return "--";
  }
  const Spread all = measure.spread();
  const bool sure = measure.difference && measure.difference->excludes_zero();
  return (all.n > 1 ? fmt::format("${:.1f} \\pm {:.1f}$", 100 * all.mean, 100 * all.deviation)
                    : fmt::format("${:.1f}$", 100 * all.mean)) +
         (sure ? "*" : "");
}

}  // namespace

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + "\"";
}

std::string escape_latex(const std::string& text) {
  static const std::map<char, std::string> kSpecial = {{'\\', "\\textbackslash{}"},
                                                       {'{', "\\{"},
                                                       {'}', "\\}"},
                                                       {'$', "\\$"},
                                                       {'&', "\\&"},
                                                       {'#', "\\#"},
                                                       {'%', "\\%"},
                                                       {'_', "\\_"},
                                                       {'^', "\\textasciicircum{}"},
                                                       {'~', "\\textasciitilde{}"},
                                                       {'<', "\\textless{}"},
                                                       {'>', "\\textgreater{}"}};
  std::string escaped;
  for (const char c : text) {
    const auto found = kSpecial.find(c);
    escaped += found == kSpecial.end() ? std::string(1, c) : found->second;
  }
  return escaped;
}

std::string results_csv(const SweepResults& results) {
  std::string text = "trial,condition,seed,round,set,task,accuracy,n,path\n";
  for (const auto& run : results.runs) {
    const auto line = [&](const std::string& set, const std::string& task, double accuracy,
                          std::int64_t n) {
      text +=
          fmt::format("{},{},{},{},{},{},{},{},{}\n", run.trial->id,
                      csv_field(run.trial->condition), run.trial->seed, run.round, csv_field(set),
                      csv_field(task), accuracy, n, csv_field(run.evaluation.string()));
    };
    for (const auto& set : run.sets) {
      for (const auto& task : set.tasks) {
        line(set.name, task.task, task.accuracy, task.n);
      }
      line(set.name, "average", set.average.accuracy, set.average.n);
      for (const auto& task : set.instructions) {
        line(set.name, task.task, task.accuracy, task.n);
      }
    }
    if (run.text) {
      line("text", "text", run.text->accuracy, run.text->n);
    }
    if (run.retention) {
      line("retention", "retention", run.retention->accuracy, run.retention->n);
    }
  }
  return text;
}

std::string results_latex(const Plan& plan, const Summary& summary) {
  std::string columns = plan.rounds > 1 ? "lr" : "l";
  std::string head = plan.rounds > 1 ? "condition & round" : "condition";
  for (const auto& set : summary.sets) {
    columns += "r";
    head += " & " + escape_latex(set.name);
  }
  if (summary.has_text) {
    columns += "r";
    head += " & text only";
  }
  std::string text = fmt::format(
      "% Average accuracy in per cent, mean and standard deviation over seeds.{}\n"
      "% Needs \\usepackage{{booktabs}}.\n\\begin{{tabular}}{{{}}}\n\\toprule\n{} "
      "\\\\\n\\midrule\n",
      plan.baseline.empty() ? "" : " *: differs from the baseline (95% bootstrap interval)",
      columns, head);
  for (const auto& row : summary.rows) {
    const std::string& name = plan.conditions[row.condition];
    text += escape_latex(name) + (name == plan.baseline ? " (baseline)" : "");
    if (plan.rounds > 1) {
      text += fmt::format(" & {}", row.round);
    }
    for (const auto& set : row.sets) {
      text += " & " + cell(set.average);
    }
    if (summary.has_text) {
      text += " & " + cell(row.text);
    }
    text += " \\\\\n";
  }
  return text + "\\bottomrule\n\\end{tabular}\n";
}

}  // namespace desta::launch
