#include "launch/sweep_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "launch/sweep_statistics.h"

namespace desta::launch {
namespace {

// Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008), without
// the yellow that white swallows; after them the same with dashes.
constexpr std::array kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                 "#e69f00", "#56b4e9", "#7f7f7f"};
constexpr std::array kDashes = {"", "6 3", "2 2", "8 3 2 3"};

constexpr double kCharacter = 7.0;  // width at 12 px, for names of many wide letters
constexpr double kLineHeight = 20;

std::string colour(std::size_t index) { return kColours[index % kColours.size()]; }

std::string dash(std::size_t index) {
  const std::string pattern = kDashes[index / kColours.size() % kDashes.size()];
  return pattern.empty() ? "" : fmt::format(" stroke-dasharray=\"{}\"", pattern);
}

double text_width(const std::string& text) { return kCharacter * static_cast<double>(text.size()); }

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  [[nodiscard]] bool empty() const { return low > high; }
};

// Ticks at 1, 2 or 5 times a power of ten; about `count`.
std::vector<double> ticks(const Range& range, int count) {
  const double span = std::max(range.high - range.low, 1e-9);
  const double power = std::pow(10.0, std::floor(std::log10(span / count)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (span / step <= count) {
      break;
    }
  }
  std::vector<double> found;
  for (double value = std::ceil(range.low / step - 1e-9) * step; value <= range.high + 1e-9 * span;
       value += step) {
    found.push_back(std::abs(value) < 1e-12 * span ? 0.0 : value);
  }
  return found;
}

std::string number(double value) { return fmt::format("{:.6g}", std::round(value * 1e9) / 1e9); }

class Svg {
 public:
  void line(double x1, double y1, double x2, double y2, const std::string& style) {
    out_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1,
                        y1, x2, y2, style);
  }
  void circle(double x, double y, double radius, const std::string& style) {
    out_ +=
        fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" {}/>\n", x, y, radius, style);
  }
  // `anchor`: start, middle or end.
  void text(double x, double y, const std::string& words, const char* anchor = "start",
            const std::string& more = "") {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                        anchor, more, escape_markup(words));
  }
  void add(const std::string& element) { out_ += element; }

  [[nodiscard]] std::string finish(double width, double height) const {
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
               "width=\"{0:.0f}\" height=\"{1:.0f}\" font-family=\"system-ui, sans-serif\" "
               "font-size=\"12\" fill=\"currentColor\">\n",
               width, height) +
           "<style>svg{color:#222}@media(prefers-color-scheme:dark){svg{color:#ddd}}</style>\n" +
           out_ + "</svg>\n";
  }

 private:
  std::string out_;
};

const std::string kGrid = "stroke=\"currentColor\" stroke-opacity=\"0.15\"";
const std::string kAxis = "stroke=\"currentColor\" stroke-opacity=\"0.6\"";

Range dot_range(const DotPanel& panel) {
  Range range;
  for (const auto& row : panel.rows) {
    if (row.values.empty()) {
      continue;
    }
    const Spread all = spread(row.values);
    range.add(100 * (all.mean - all.deviation));
    range.add(100 * (all.mean + all.deviation));
    for (const double value : row.values) {
      range.add(100 * value);
    }
  }
  if (range.empty()) {
    return {0, 100};
  }
  const double margin = std::max(1.0, 0.08 * (range.high - range.low));
  return {std::max(0.0, range.low - margin), std::min(100.0, range.high + margin)};
}

void draw_panel(Svg& svg, const DotPanel& panel, double left, double top, double width,
                const std::string& reference) {
  const Range range = dot_range(panel);
  const double height = kLineHeight * static_cast<double>(panel.rows.size());
  const auto x = [&](double value) {
    return left + width * (value - range.low) / std::max(range.high - range.low, 1e-9);
  };
  svg.text(left + width / 2, top - 8, panel.title, "middle", " font-weight=\"600\"");
  for (const double tick : ticks(range, static_cast<int>(width / 45))) {
    svg.line(x(tick), top, x(tick), top + height, kGrid);
    svg.text(x(tick), top + height + 15, number(tick), "middle");
  }
  svg.line(left, top + height, left + width, top + height, kAxis);
  for (std::size_t i = 0; i < panel.rows.size(); ++i) {
    const auto& row = panel.rows[i];
    if (row.values.empty()) {
      continue;
    }
    const Spread all = spread(row.values);
    const double y = top + kLineHeight * (static_cast<double>(i) + 0.5);
    const double mean = 100 * all.mean;
    if (row.name == reference) {
      svg.line(x(mean), top, x(mean), top + height,
               "stroke=\"currentColor\" stroke-opacity=\"0.5\" stroke-dasharray=\"3 3\"");
    }
    const std::string ink = colour(0);
    svg.line(x(mean - 100 * all.deviation), y, x(mean + 100 * all.deviation), y,
             fmt::format("stroke=\"{}\" stroke-width=\"2\"", ink));
    for (const double value : row.values) {
      svg.circle(x(100 * value), y, 2.5, "fill=\"currentColor\" fill-opacity=\"0.45\"");
    }
    svg.add(fmt::format("<g><title>{}: {:.1f} ± {:.1f} % ({} runs)</title>\n",
                        escape_markup(row.name), mean, 100 * all.deviation, all.n));
    svg.circle(x(mean), y, 4.5, fmt::format("fill=\"{}\"", ink));
    svg.add("</g>\n");
  }
}

struct Frame {
  double left, top, width, height;
  Range x, y;
  bool logarithmic;

  [[nodiscard]] double at_x(double value) const {
    return left + width * (value - x.low) / std::max(x.high - x.low, 1e-9);
  }
  [[nodiscard]] double at_y(double value) const {
    const auto place = [&](double v) { return logarithmic ? std::log(v) : v; };
    return top + height * (1 - (place(value) - place(y.low)) /
                                   std::max(place(y.high) - place(y.low), 1e-9));
  }
};

Frame make_frame(const LinePlot& plot, double left, double top, double width, double height) {
  Frame frame{left, top, width, height, {}, {}, plot.logarithmic};
  for (const auto& series : plot.series) {
    for (const auto& point : series.points) {
      frame.x.add(point.x);
      frame.y.add(point.y + point.deviation);
      frame.y.add(plot.logarithmic ? point.y : point.y - point.deviation);
    }
  }
  if (frame.x.empty()) {
    frame.x = frame.y = {0, 1};
  }
  if (plot.whole_x || frame.x.low == frame.x.high) {
    const double margin = std::max(0.5, 0.12 * (frame.x.high - frame.x.low));
    frame.x = {frame.x.low - margin, frame.x.high + margin};
  }
  if (plot.logarithmic) {
    frame.y = {frame.y.low / 1.1, frame.y.high * 1.1};
  } else {
    const double margin = std::max(0.05 * (frame.y.high - frame.y.low), 1e-3);
    frame.y = {frame.y.low - margin, frame.y.high + margin};
  }
  return frame;
}

std::vector<double> x_ticks(const LinePlot& plot, const Frame& frame) {
  if (!plot.whole_x) {
    return ticks(frame.x, 8);
  }
  std::set<double> places;
  for (const auto& series : plot.series) {
    for (const auto& point : series.points) {
      places.insert(point.x);
    }
  }
  return {places.begin(), places.end()};
}

// Powers of ten with their double and fivefold.
std::vector<double> y_ticks(const Frame& frame) {
  if (!frame.logarithmic) {
    return ticks(frame.y, 6);
  }
  std::vector<double> found;
  for (double power = std::pow(10, std::floor(std::log10(frame.y.low))); power <= frame.y.high;
       power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= frame.y.low && factor * power <= frame.y.high) {
        found.push_back(factor * power);
      }
    }
  }
  return found.size() >= 2 ? found : ticks(frame.y, 5);
}

void draw_axes(Svg& svg, const LinePlot& plot, const Frame& frame) {
  for (const double tick : y_ticks(frame)) {
    const double y = frame.at_y(tick);
    svg.line(frame.left, y, frame.left + frame.width, y, kGrid);
    svg.text(frame.left - 6, y + 4, number(tick), "end");
  }
  const double bottom = frame.top + frame.height;
  for (const double tick : x_ticks(plot, frame)) {
    svg.line(frame.at_x(tick), bottom, frame.at_x(tick), bottom + 4, kAxis);
    svg.text(frame.at_x(tick), bottom + 18, number(tick), "middle");
  }
  svg.line(frame.left, bottom, frame.left + frame.width, bottom, kAxis);
  svg.line(frame.left, frame.top, frame.left, bottom, kAxis);
  svg.text(frame.left + frame.width / 2, bottom + 36, plot.x_label, "middle");
  const double middle = frame.top + frame.height / 2;
  svg.text(14, middle, plot.y_label, "middle",
           fmt::format(" transform=\"rotate(-90 14 {:.1f})\"", middle));
  svg.text(frame.left + frame.width / 2, frame.top - 10, plot.title, "middle",
           " font-weight=\"600\"");
}

// `aside`: how far to the right of its place, so that bars do not hide each other.
void draw_series(Svg& svg, const LineSeries& series, const Frame& frame, double aside) {
  const std::string ink = colour(series.colour);
  std::string places;
  for (const auto& point : series.points) {
    places += fmt::format("{:.1f},{:.1f} ", frame.at_x(point.x) + aside, frame.at_y(point.y));
  }
  svg.add(
      fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"{} points=\"{}\"/>\n",
                  ink, series.marks ? 2 : 1.2, dash(series.colour), places));
  if (!series.marks) {
    return;
  }
  for (const auto& point : series.points) {
    const double x = frame.at_x(point.x) + aside;
    if (point.deviation > 0) {
      svg.line(x, frame.at_y(point.y - point.deviation), x, frame.at_y(point.y + point.deviation),
               fmt::format("stroke=\"{}\"", ink));
    }
    svg.circle(x, frame.at_y(point.y), 3.5, fmt::format("fill=\"{}\"", ink));
  }
}

}  // namespace

std::string dot_plot(const std::vector<DotPanel>& panels, const std::string& reference) {
  static constexpr double kTop = 34;
  static constexpr double kGap = 26;
  static constexpr double kPage = 1040;
  if (panels.empty()) {
    return Svg().finish(10, 10);
  }
  const auto& rows = panels.front().rows;
  double names = 0;
  for (const auto& row : rows) {
    names = std::max(names, text_width(row.name));
  }
  const double left = names + 16;
  const double width =
      std::clamp((kPage - left) / static_cast<double>(panels.size()) - kGap, 120.0, 420.0);
  Svg svg;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    svg.text(names, kTop + kLineHeight * (static_cast<double>(i) + 0.5) + 4, rows[i].name, "end");
  }
  for (std::size_t i = 0; i < panels.size(); ++i) {
    draw_panel(svg, panels[i], left + static_cast<double>(i) * (width + kGap), kTop, width,
               reference);
  }
  const double height = kTop + kLineHeight * static_cast<double>(rows.size()) + 26;
  return svg.finish(left + static_cast<double>(panels.size()) * (width + kGap), height);
}

std::string line_plot(const LinePlot& plot) {
  static constexpr double kWidth = 560;
  static constexpr double kHeight = 300;
  const Frame frame = make_frame(plot, 64, 30, kWidth, kHeight);
  Svg svg;
  draw_axes(svg, plot, frame);
  std::set<std::size_t> shown;
  double legend = 0;
  const double left = frame.left + frame.width + 20;
  double y = frame.top + 6;
  double place = 0;
  for (const auto& series : plot.series) {
    const auto middle = static_cast<double>(plot.series.size() - 1) / 2;
    const double step = std::min(4.0, 40.0 / std::max(middle, 1.0));
    draw_series(svg, series, frame, series.marks ? (place++ - middle) * step : 0.0);
    if (!shown.insert(series.colour).second) {
      continue;
    }
    svg.line(left, y, left + 22, y,
             fmt::format("stroke=\"{}\" stroke-width=\"2\"{}", colour(series.colour),
                         dash(series.colour)));
    svg.text(left + 28, y + 4, series.name);
    legend = std::max(legend, 28 + text_width(series.name));
    y += 18;
  }
  return svg.finish(left + legend + 10, std::max(frame.top + frame.height + 50, y + 10));
}

std::vector<LinePoint> thinned(const std::vector<LinePoint>& points, std::size_t count) {
  if (points.size() <= count) {
    return points;
  }
  std::vector<LinePoint> fewer(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t from = i * points.size() / count;
    const std::size_t to = (i + 1) * points.size() / count;
    for (std::size_t j = from; j < to; ++j) {
      fewer[i].x += points[j].x / static_cast<double>(to - from);
      fewer[i].y += points[j].y / static_cast<double>(to - from);
    }
  }
  return fewer;
}

}  // namespace desta::launch
