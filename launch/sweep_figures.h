// Which plots a sweep's report has.
#pragma once

#include <string>
#include <vector>

#include "launch/sweep_summary.h"

namespace desta::launch {

struct Figure {
  std::string name;     // of its file, without ".svg"
  std::string caption;  // one sentence
  std::string svg;
  std::string set = "";  // whose tasks it shows; empty: all sets, or none
};

// Averages by condition; each task by condition, a figure a set; losses; over rounds, where there
// are several; over the number at the end of set names ("noise-30", "noise-20"), where there are
// such.
[[nodiscard]] std::vector<Figure> make_figures(const Plan& plan, const Summary& summary);

// "noise" and 20 for "noise-20"; nothing for a name without a number at its end.
struct NumberedName {
  std::string stem;
  double number = 0;
};
[[nodiscard]] std::optional<NumberedName> split_number(const std::string& name);

}  // namespace desta::launch
