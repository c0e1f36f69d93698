#include "launch/sweep_report.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "desta_version.h"
#include "launch/sweep_plot.h"
#include "launch/sweep_state.h"
#include "launch/sweep_tables.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/log.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:.6rem 0}
th,td{padding:.2rem .55rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:11rem}
td.text,th.text{text-align:left}
tr.reference td{font-style:italic}tr.baseline td{background:var(--soft)}
small{opacity:.75}.sure{font-weight:700;opacity:1}
figure{margin:1.2rem 0}figcaption{font-size:.9rem;opacity:.8}
pre{background:var(--soft);padding:.8rem;overflow-x:auto}
)";

std::string percent(double share) { return fmt::format("{:.1f}", 100 * share); }

std::string measure_cell(const Measure& measure) {
  if (measure.empty()) {
    return "<td>–</td>";
  }
  const Spread all = measure.spread();
  std::string text = percent(all.mean);
  if (all.n > 1) {
    text += " <small>± " + percent(all.deviation) + "</small>";
  }
  if (const auto& difference = measure.difference) {
    text += fmt::format("<br><small{}>{:+.1f} [{:+.1f}, {:+.1f}]{}</small>",
                        difference->excludes_zero() ? " class=\"sure\"" : "",
                        100 * difference->difference, 100 * difference->low, 100 * difference->high,
                        difference->excludes_zero() ? " *" : "");
  }
  return "<td>" + text + "</td>";
}

class Page {
 public:
  Page(const Plan& plan, const SweepResults& results, const Summary& summary)
      : plan_(plan), results_(results), summary_(summary) {}

  std::string make(const std::vector<Figure>& figures) {
    head();
    if (!results_.missing.empty()) {
      missing();
    }
    if (!summary_.rows.empty()) {
      summary_table();
      draw(figures, "");
      if (summary_.has_text || summary_.has_retention) {
        text_table();
      }
      for (std::size_t set = 0; set < summary_.sets.size(); ++set) {
        set_table(set);
        draw(figures, summary_.sets[set].name);
      }
      runs_table();
    }
    add("<h2>Sweep file</h2>\n<pre>{}</pre>\n", escape_markup(plan_.sweep_text));
    add("<p><small>desta {}, {}</small></p>\n</body></html>\n", DESTA_VERSION, utc_now());
    return std::move(html_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    html_ += fmt::format(format, std::forward<Args>(args)...);
  }

  void head() {
    const std::string title = escape_markup(plan_.name);
    add("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>"
        "<meta name=\"viewport\" content=\"width=device-width\"><style>{}</style></head><body>\n",
        title, kStyle);
    add("<h1>{}</h1>\n", title);
    add("<p>{} conditions, {} trials, {} round{}; {} evaluations are here{}.</p>\n",
        plan_.conditions.size(), plan_.trials.size(), plan_.rounds, plan_.rounds == 1 ? "" : "s",
        results_.runs.size(),
        results_.missing.empty() ? "" : fmt::format(", {} are missing", results_.missing.size()));
    html_ +=
        "<h2>What was varied</h2>\n<div class=\"wide\"><table><tr><th>condition</th>"
        "<th class=\"text\">settings</th></tr>\n";
    for (const auto& condition : plan_.conditions) {
      const auto trial = std::find_if(plan_.trials.begin(), plan_.trials.end(),
                                      [&](const Trial& t) { return t.condition == condition; });
      std::string settings;
      for (const auto& setting : trial->settings) {
        settings +=
            (settings.empty() ? "" : "<br>") + escape_markup(setting.key + ": " + setting.value);
      }
      add("<tr{}><td>{}</td><td class=\"text\">{}</td></tr>\n", row_class(condition),
          name_of(condition), settings.empty() ? "those of the base" : settings);
    }
    html_ += "</table></div>\n";
  }

  void missing() {
    html_ += "<h2>What is missing</h2>\n<ul>\n";
    for (const auto& line : results_.missing) {
      add("<li>{}</li>\n", escape_markup(line));
    }
    html_ += "</ul>\n";
  }

  [[nodiscard]] std::string row_class(const std::string& condition) const {
    return condition == plan_.baseline ? " class=\"baseline\"" : "";
  }
  [[nodiscard]] std::string name_of(const std::string& condition) const {
    return escape_markup(condition) +
           (condition == plan_.baseline ? " <small>(baseline)</small>" : "");
  }

  void explain() {
    html_ += "<p>Accuracy in per cent, mean ± standard deviation over seeds.";
    if (!plan_.baseline.empty()) {
      html_ +=
          " Below it the difference to the baseline, run by run of the same seed and question by "
          "question, with its 95% interval (percentile bootstrap over seeds and, within them, "
          "recordings; 10,000 resamples). <b>*</b>: the interval excludes zero.";
    }
    html_ += "</p>\n";
  }

  void begin_row(const SummaryRow& row) {
    const std::string& condition = plan_.conditions[row.condition];
    add("<tr{}><td>{}</td>", row_class(condition), name_of(condition));
    if (plan_.rounds > 1) {
      add("<td>{}</td>", row.round);
    }
    add("<td>{}</td>", row.runs.size());
  }
  [[nodiscard]] std::string first_heads() const {
    return std::string("<th>condition</th>") + (plan_.rounds > 1 ? "<th>round</th>" : "") +
           "<th>seeds</th>";
  }

  void summary_table() {
    html_ += "<h2>Averages</h2>\n";
    explain();
    add("<div class=\"wide\"><table><tr>{}", first_heads());
    for (const auto& set : summary_.sets) {
      add("<th>{}</th>", escape_markup(set.name));
    }
    html_ += "</tr>\n";
    for (const auto& row : summary_.rows) {
      begin_row(row);
      for (const auto& set : row.sets) {
        html_ += measure_cell(set.average);
      }
      html_ += "</tr>\n";
    }
    html_ += "</table></div>\n";
  }

  // What training has left of the LLM that the adapter speaks to.
  void text_table() {
    add("<h2>Text alone</h2>\n<p>Questions to the LLM without sound, answered right; answers to "
        "the "
        "dataset's prompts that are the same texts as before training.</p>\n"
        "<div class=\"wide\"><table><tr>{}<th>answered right</th><th>same text</th></tr>\n",
        first_heads());
    for (const auto& row : summary_.rows) {
      begin_row(row);
      html_ += measure_cell(row.text) + measure_cell(row.retention) + "</tr>\n";
    }
    html_ += "</table></div>\n";
  }

  // `values`: by task, the average last, as SetColumns has them.
  void reference_row(const std::string& name, const std::vector<double>& values,
                     std::size_t formats) {
    add("<tr class=\"reference\"><td>{}</td>{}<td></td><td>{}</td>", name,
        plan_.rounds > 1 ? "<td></td>" : "", percent(values.back()));
    for (std::size_t task = 0; task + 1 < values.size(); ++task) {
      add("<td>{}</td>", percent(values[task]));
    }
    for (std::size_t i = 0; i < formats; ++i) {
      html_ += "<td></td>";
    }
    html_ += "</tr>\n";
  }

  void set_table(std::size_t index) {
    const SetColumns& set = summary_.sets[index];
    add("<h2>{}</h2>\n<div class=\"wide\"><table><tr>{}<th>average</th>", escape_markup(set.name),
        first_heads());
    for (const auto& task : set.tasks) {
      add("<th>{}</th>", escape_markup(task));
    }
    for (const auto& format : set.instructions) {
      add("<th>format: {}</th>", escape_markup(format));
    }
    html_ += "</tr>\n";
    for (const auto& row : summary_.rows) {
      const SetMeasures& measures = row.sets[index];
      begin_row(row);
      html_ += measure_cell(measures.average);
      for (const auto& task : measures.tasks) {
        html_ += measure_cell(task);
      }
      for (const auto& format : measures.instructions) {
        html_ += measure_cell(format);
      }
      html_ += "</tr>\n";
    }
    const std::string of = escape_markup(reference_condition(plan_));
    reference_row("majority class", set.majority, set.instructions.size());
    reference_row("transcription only (" + of + ")", set.transcription_only, set.instructions.size());
    reference_row("ceiling: true seed transcript (" + of + ")", set.ceiling,
                  set.instructions.size());
    html_ += "</table></div>\n";
  }

  // The figures that belong to a set, or to none.
  void draw(const std::vector<Figure>& figures, const std::string& set) {
    for (const auto& figure : figures) {
      if (figure.set == set) {
        add("<figure><div class=\"wide\">{}</div><figcaption>{}</figcaption></figure>\n",
            figure.svg, escape_markup(figure.caption));
      }
    }
  }

  void runs_table() {
    add("<h2>Runs</h2>\n<p>Where every number comes from.</p>\n<div class=\"wide\"><table>"
        "<tr><th>trial</th>{}<th>seed</th><th>steps</th><th>final loss</th>"
        "<th>version</th><th class=\"text\">evaluation</th></tr>\n",
        plan_.rounds > 1 ? "<th>round</th>" : "");
    for (const auto& run : results_.runs) {
      const TrialState state = TrialFolder(plan_.trial_folder(*run.trial)).read();
      const auto link = fs::path("..") / run.evaluation.lexically_relative(plan_.folder);
      add("<tr><td>{}</td>{}<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">"
          "<a href=\"{}\">{}</a></td></tr>\n",
          escape_markup(run.trial->id),
          plan_.rounds > 1 ? fmt::format("<td>{}</td>", run.round) : std::string(), run.trial->seed,
          run.losses.empty() ? 0 : run.losses.back().step,
          run.losses.empty() ? "–" : fmt::format("{:.4f}", run.losses.back().loss),
          escape_markup(state.version), escape_markup(link.string()),
          escape_markup(run.evaluation.string()));
    }
    html_ += "</table></div>\n";
  }

  const Plan& plan_;
  const SweepResults& results_;
  const Summary& summary_;
  std::string html_;
};

}  // namespace

std::string report_html(const Plan& plan, const SweepResults& results, const Summary& summary,
                        const std::vector<Figure>& figures) {
  return Page(plan, results, summary).make(figures);
}

fs::path write_report(const Plan& plan) {
  const SweepResults results = read_results(plan);
  for (const auto& line : results.missing) {
    runtime::log().warn("missing: {}", line);
  }
  const Summary summary = summarise(plan, results);
  const auto figures = make_figures(plan, summary);
  const fs::path folder = plan.folder / "report";
  for (const auto& figure : figures) {
    runtime::write_file_atomically(folder / (figure.name + ".svg"), figure.svg);
  }
  runtime::write_file_atomically(folder / "results.csv", results_csv(results));
  runtime::write_file_atomically(folder / "table.tex", results_latex(plan, summary));
  runtime::write_file_atomically(folder / "report.html",
                                 report_html(plan, results, summary, figures));
  return folder;
}

}  // namespace desta::launch
