#include "launch/sweep_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>

#include "launch/sweep_plot.h"

namespace desta::launch {
namespace {

constexpr std::size_t kPanelsBeside = 4;
constexpr std::size_t kLossPoints = 150;  // of a line

// The rows of the last round that each condition has come to.
std::vector<const SummaryRow*> last_rows(const Plan& plan, const Summary& summary) {
  std::vector<const SummaryRow*> last(plan.conditions.size());
  for (const auto& row : summary.rows) {
    last[row.condition] = &row;
  }
  std::erase(last, nullptr);
  return last;
}

std::string file_name(const std::string& text) {
  std::string name;
  for (const char c : text) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
  }
  return name;
}

template <typename Get>
DotPanel panel(const Plan& plan, const std::vector<const SummaryRow*>& rows,
               const std::string& title, const Get& get) {
  DotPanel panel{.title = title, .rows = {}};
  for (const SummaryRow* row : rows) {
    const Measure& measure = get(*row);
    panel.rows.push_back({plan.conditions[row->condition], measure.values});
  }
  return panel;
}

// A figure for every few panels.
void add_dots(std::vector<Figure>& figures, const Plan& plan, const std::string& name,
              const std::string& caption, const std::vector<DotPanel>& panels,
              const std::string& set = "") {
  for (std::size_t i = 0; i < panels.size(); i += kPanelsBeside) {
    const auto from = panels.begin() + static_cast<std::ptrdiff_t>(i);
    const auto to =
        panels.begin() + static_cast<std::ptrdiff_t>(std::min(panels.size(), i + kPanelsBeside));
    figures.push_back(
        {panels.size() <= kPanelsBeside ? name : fmt::format("{}-{}", name, i / kPanelsBeside + 1),
         i == 0 ? caption : "", dot_plot({from, to}, plan.baseline), set});
  }
}

Figure loss_figure(const Plan& plan, const Summary& summary) {
  LinePlot plot{.title = "Training loss",
                .x_label = "step",
                .y_label = "loss (logarithmic)",
                .series = {},
                .logarithmic = true};
  std::map<const Trial*, LineSeries> lines;
  std::map<const Trial*, std::int64_t> offsets;  // steps of earlier rounds
  for (const auto& row : summary.rows) {
    for (const RoundResult* run : row.runs) {
      LineSeries& line = lines[run->trial];
      line.name = plan.conditions[row.condition];
      line.colour = row.condition;
      line.marks = false;
      auto& offset = offsets[run->trial];
      for (const auto& loss : run->losses) {
        if (loss.loss > 0) {
          line.points.push_back({static_cast<double>(offset + loss.step), loss.loss});
        }
      }
      offset += run->losses.empty() ? 0 : run->losses.back().step;
    }
  }
  for (auto& [trial, line] : lines) {
    line.points = thinned(line.points, kLossPoints);
    plot.series.push_back(std::move(line));
  }
  std::stable_sort(plot.series.begin(), plot.series.end(),
                   [](const auto& a, const auto& b) { return a.colour < b.colour; });
  return {"loss",
          "Training loss: a line a run, a colour a condition; of long runs the mean over "
          "stretches of steps.",
          line_plot(plot)};
}

LinePoint point(double x, const Measure& measure) {
  const Spread all = measure.spread();
  return {x, 100 * all.mean, 100 * all.deviation};
}

// A line a condition over the rounds.
template <typename Get>
Figure round_figure(const Plan& plan, const Summary& summary, const std::string& name,
                    const std::string& title, const Get& get) {
  LinePlot plot{
      .title = title, .x_label = "round", .y_label = "accuracy (%)", .series = {}, .whole_x = true};
  for (std::size_t condition = 0; condition < plan.conditions.size(); ++condition) {
    LineSeries line{.name = plan.conditions[condition], .points = {}, .colour = condition};
    for (const auto& row : summary.rows) {
      if (row.condition == condition && !get(row).empty()) {
        line.points.push_back(point(static_cast<double>(row.round), get(row)));
      }
    }
    if (!line.points.empty()) {
      plot.series.push_back(std::move(line));
    }
  }
  return {"rounds-" + file_name(name), title + " after each round; bars: one standard deviation.",
          line_plot(plot)};
}

void add_rounds(std::vector<Figure>& figures, const Plan& plan, const Summary& summary) {
  for (std::size_t set = 0; set < summary.sets.size(); ++set) {
    const std::string& name = summary.sets[set].name;
    figures.push_back(round_figure(
        plan, summary, name, "Average of " + name,
        [&](const SummaryRow& row) -> const Measure& { return row.sets[set].average; }));
  }
  if (summary.has_text) {
    figures.push_back(
        round_figure(plan, summary, "text", "The LLM's answers to questions on text alone",
                     [](const SummaryRow& row) -> const Measure& { return row.text; }));
  }
}

// Sets whose names differ in the number at their end alone.
void add_numbered(std::vector<Figure>& figures, const Plan& plan, const Summary& summary) {
  std::map<std::string, std::map<double, std::size_t>> groups;
  for (std::size_t set = 0; set < summary.sets.size(); ++set) {
    if (const auto split = split_number(summary.sets[set].name)) {
      groups[split->stem][split->number] = set;
    }
  }
  for (const auto& [stem, sets] : groups) {
    if (sets.size() < 2) {
      continue;
    }
    LinePlot plot{.title = "Average of the sets " + stem,
                  .x_label = stem,
                  .y_label = "accuracy (%)",
                  .series = {},
                  .whole_x = true};
    for (const SummaryRow* row : last_rows(plan, summary)) {
      LineSeries line{
          .name = plan.conditions[row->condition], .points = {}, .colour = row->condition};
      for (const auto& [number, set] : sets) {
        if (!row->sets[set].average.empty()) {
          line.points.push_back(point(number, row->sets[set].average));
        }
      }
      plot.series.push_back(std::move(line));
    }
    figures.push_back({"sets-" + file_name(stem),
                       "Average accuracy over the number in the sets' names; bars: one standard "
                       "deviation.",
                       line_plot(plot)});
  }
}

}  // namespace

std::optional<NumberedName> split_number(const std::string& name) {
  static const std::regex kPattern(R"((.*[^0-9.-])-?(-?\d+(?:\.\d+)?))");
  std::smatch match;
  if (!std::regex_match(name, match, kPattern)) {
    return std::nullopt;
  }
  return NumberedName{match[1], std::stod(match[2])};
}

std::vector<Figure> make_figures(const Plan& plan, const Summary& summary) {
  std::vector<Figure> figures;
  if (summary.rows.empty()) {
    return figures;
  }
  const auto rows = last_rows(plan, summary);
  std::vector<DotPanel> averages;
  for (std::size_t set = 0; set < summary.sets.size(); ++set) {
    averages.push_back(
        panel(plan, rows, summary.sets[set].name,
              [&](const SummaryRow& row) -> const Measure& { return row.sets[set].average; }));
  }
  const std::string how =
      " Large dots: mean over seeds, bars: one standard deviation, small dots: "
      "single runs" +
      std::string(plan.rounds > 1 ? ", after the last round" : "") +
      std::string(plan.baseline.empty() ? "." : "; dashed: the baseline.");
  add_dots(figures, plan, "average", "Average accuracy (%) of each set by condition." + how,
           averages);
  for (std::size_t set = 0; set < summary.sets.size(); ++set) {
    std::vector<DotPanel> panels;
    for (std::size_t task = 0; task < summary.sets[set].tasks.size(); ++task) {
      panels.push_back(panel(
          plan, rows, summary.sets[set].tasks[task],
          [&](const SummaryRow& row) -> const Measure& { return row.sets[set].tasks[task]; }));
    }
    add_dots(
        figures, plan, "tasks-" + file_name(summary.sets[set].name),
        fmt::format("Accuracy (%) of each task of {} by condition.{}", summary.sets[set].name, how),
        panels, summary.sets[set].name);
  }
  add_numbered(figures, plan, summary);
  if (plan.rounds > 1) {
    add_rounds(figures, plan, summary);
  }
  figures.push_back(loss_figure(plan, summary));
  return figures;
}

}  // namespace desta::launch
