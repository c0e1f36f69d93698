// The report of a sweep: one page that needs nothing else, tables for other programs, and the plots
// as files. A sweep that is not finished gets one too: of what is there, saying what is missing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launch/sweep_figures.h"
#include "launch/sweep_summary.h"

namespace desta::launch {

// The page.
[[nodiscard]] std::string report_html(const Plan& plan, const SweepResults& results,
                                      const Summary& summary, const std::vector<Figure>& figures);

// Writes report.html, results.csv, table.tex and the plots into the sweep's folder under report/;
// returns that folder. Throws InternalError when it cannot be written.
std::filesystem::path write_report(const Plan& plan);

}  // namespace desta::launch
