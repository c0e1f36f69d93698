// Plots as SVG texts, for a page or a file of their own: dots with error bars by condition, and
// lines. They take the text colour of what they stand on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/core/markup.h"

namespace desta::launch {

using runtime::escape_markup;

// Mean and deviation (the bar) of a row, and its single values (the small dots).
struct DotRow {
  std::string name;
  std::vector<double> values;  // none: nothing is drawn
};

struct DotPanel {
  std::string title;
  std::vector<DotRow> rows;  // the same names in every panel
};

// Panels side by side, the names at the left; where `reference` names a row, a line goes through
// its mean. Values are shares and shown in per cent.
[[nodiscard]] std::string dot_plot(const std::vector<DotPanel>& panels,
                                   const std::string& reference);

struct LinePoint {
  double x = 0;
  double y = 0;
  double deviation = 0;  // half the length of its bar
};

struct LineSeries {
  std::string name;
  std::vector<LinePoint> points;
  bool marks = true;  // a dot at each point
  // Series of one colour belong together and share a line of the legend: that of the first.
  std::size_t colour = 0;
};

struct LinePlot {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<LineSeries> series;
  bool whole_x = false;      // x are whole numbers, each with a tick of its own
  bool logarithmic = false;  // y, where it is positive
};

[[nodiscard]] std::string line_plot(const LinePlot& plot);

// At most `count` points: means over equal stretches.
[[nodiscard]] std::vector<LinePoint> thinned(const std::vector<LinePoint>& points,
                                             std::size_t count);

}  // namespace desta::launch
