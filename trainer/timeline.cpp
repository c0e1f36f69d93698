#include "trainer/timeline.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace desta::trainer {
namespace {

constexpr double kWidth = 1000;
constexpr double kLeft = 60;
constexpr double kTop = 40;
constexpr double kRow = 26;
constexpr double kGap = 6;
// What a number of two digits takes.
constexpr double kSmallestLabel = 14;

// Stages after the first of a rank are lighter. Null: the action takes no time of the rank's own.
const char* colour_of(const Action& action, std::size_t ranks) {
  const bool later = static_cast<std::size_t>(action.stage) >= ranks;
  switch (action.op) {
    case Op::kForward:
      return later ? "#a9d0f5" : "#6aaeea";
    case Op::kBackward:
      return later ? "#8fd19e" : "#4aa564";
    case Op::kReduce:
    case Op::kStep:
      return "#e8a33d";
    default:
      return nullptr;
  }
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    out += letter == '&' ? "&amp;" : letter == '<' ? "&lt;" : std::string(1, letter);
  }
  return out;
}

}  // namespace

std::string to_svg(const Simulation& simulation, const std::string& title, const std::string& unit) {
  const std::size_t ranks = simulation.timeline.size();
  const double scale = simulation.step_time > 0 ? kWidth / simulation.step_time : 0;
  const double height = kTop + static_cast<double>(ranks) * (kRow + kGap) + 24;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0f}\" height=\"{:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{}\" y=\"20\" font-size=\"14\">{}: {:.4g} {} a step, {:.1f} % idle</text>\n",
      kLeft + kWidth + 20, height, kLeft, escaped(title), simulation.step_time, unit,
      100 * simulation.bubble());
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const double y = kTop + static_cast<double>(rank) * (kRow + kGap);
    svg += fmt::format("<text x=\"8\" y=\"{:.0f}\">rank {}</text>\n", y + kRow / 2 + 4, rank);
    svg += fmt::format(
        "<rect x=\"{}\" y=\"{:.0f}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#cccccc\"/>\n", kLeft,
        y, kWidth, kRow);
    for (const TimedAction& timed : simulation.timeline[rank]) {
      const char* colour = colour_of(timed.action, ranks);
      const double width = (timed.end - timed.begin) * scale;
      if (colour == nullptr || width <= 0) {
        continue;
      }
      const double x = kLeft + timed.begin * scale;
      svg += fmt::format(
          "<rect x=\"{:.2f}\" y=\"{:.0f}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\" stroke=\"white\" "
          "stroke-width=\"0.5\"><title>{} {} of stage {}, trial {}: {:.4g} to {:.4g} {}</title></rect>\n",
          x, y, width, kRow, colour, name_of(timed.action.op), timed.action.microbatch,
          timed.action.stage, timed.action.trial, timed.begin, timed.end, unit);
      if (width >= kSmallestLabel && (timed.action.op == Op::kForward || timed.action.op == Op::kBackward)) {
        svg += fmt::format("<text x=\"{:.2f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text>\n",
                           x + width / 2, y + kRow / 2 + 4, timed.action.microbatch);
      }
    }
  }
  svg += fmt::format("<text x=\"{}\" y=\"{:.0f}\" fill=\"#666666\">blue: forward, green: backward, orange: "
                     "reduce and step; lighter: a rank's further stages</text>\n</svg>\n",
                     kLeft, height - 8);
  return svg;
}

std::string to_chrome_trace(const Simulation& simulation) {
  nlohmann::json events = nlohmann::json::array();
  for (std::size_t rank = 0; rank < simulation.timeline.size(); ++rank) {
    for (const TimedAction& timed : simulation.timeline[rank]) {
      events.push_back({{"name", name_of(timed.action.op)},
                        {"cat", "pipeline"},
                        {"ph", "X"},
                        {"pid", rank},
                        {"tid", 0},
                        {"ts", 1e6 * timed.begin},
                        {"dur", 1e6 * (timed.end - timed.begin)},
                        {"args",
                         {{"microbatch", timed.action.microbatch},
                          {"stage", timed.action.stage},
                          {"trial", timed.action.trial}}}});
    }
  }
  return nlohmann::json{{"traceEvents", events}}.dump();
}

}  // namespace desta::trainer
