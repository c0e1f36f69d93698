// A dataset's statistics and some of its rows as one HTML page that needs nothing else: style, plots and
// sound are in it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datagen/dataset_statistics.h"

namespace desta::datagen {

// The first 15 s of each example's recording are in the page, as FLAC (some 15 kB a second); of a
// recording that cannot be read the page says why.
[[nodiscard]] std::string dataset_report_html(const DatasetStatistics& statistics,
                                              const std::vector<Row>& examples);

// The report with `examples` rows drawn by `seed`, written whole or not at all; see write_output().
// Throws DataError for a damaged dataset, InternalError when the page cannot be written.
void write_dataset_report(const std::filesystem::path& page, const DatasetStatistics& statistics,
                          std::size_t examples, std::uint64_t seed);

}  // namespace desta::datagen
