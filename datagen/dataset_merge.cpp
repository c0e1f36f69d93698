#include "datagen/dataset_merge.h"

#include <unordered_set>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/rejected_rows.h"
#include "runtime/core/error.h"
#include "runtime/core/file_lock.h"
#include "runtime/core/log.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::ConfigError;

// Without links, dots and a slash at the end.
fs::path plain(const fs::path& folder) {
  const fs::path path = fs::weakly_canonical(fs::absolute(folder));
  return path.has_filename() ? path : path.parent_path();
}

bool lies_in(const fs::path& inner, const fs::path& outer) {
  const fs::path relative = inner.lexically_relative(outer);
  return !relative.empty() && *relative.begin() != "..";
}

void refuse_unsafe(const fs::path& output, const std::vector<fs::path>& inputs) {
  for (const fs::path& input : inputs) {
    if (lies_in(output, plain(input)) || lies_in(plain(input), output)) {
      throw ConfigError("{}: this is the input {}, or one lies in the other; merge into a new folder",
                        output.string(), input.string());
    }
  }
  std::error_code error;
  if (fs::exists(output, error) && !(fs::is_directory(output, error) && fs::is_empty(output, error))) {
    throw ConfigError("{}: is there already; merge into a new folder, or delete this one",
                      output.string());
  }
}

// What filters took out of the inputs and what is no row of any of them.
void carry_rejected(const fs::path& parts, const DatasetWriter& writer, std::vector<MergedInput>& inputs) {
  std::unordered_set<std::string> known;
  for (MergedInput& input : inputs) {
    RejectedReport report = read_rejected(input.folder);
    for (const std::string& problem : report.problems) {
      runtime::log().warn("{}", problem);
    }
    std::erase_if(report.rows, [&](const RejectedRow& rejected) {
      return writer.contains(rejected.row.id) || !known.insert(rejected.row.id).second;
    });
    append_rejected(parts, report.rows);
    input.rejected = report.rows.size();
  }
}

}  // namespace

std::vector<MergedInput> merge_datasets(const fs::path& output, const std::vector<fs::path>& inputs,
                                        std::size_t rows_per_shard) {
  const fs::path target = plain(output);
  refuse_unsafe(target, inputs);
  for (const fs::path& input : inputs) {
    (void)require_shards(input);
  }
  const fs::path parts = target.parent_path() / ("." + target.filename().string() + ".merging");
  const fs::path lock_file = parts.string() + ".lock";
  const auto lock = runtime::FileLock::try_take(lock_file);
  if (!lock.has_value()) {
    throw ConfigError("{}: another process is merging into it; wait for its end", target.string());
  }
  std::error_code ignored;
  std::vector<MergedInput> report;
  try {
    fs::remove_all(parts);  // of a merge that was killed
    DatasetWriter writer(parts, rows_per_shard);
    for (const fs::path& folder : inputs) {
      MergedInput input{.folder = folder};
      Dataset::open(folder).for_each([&](std::size_t, const Row& row) {
        ++(writer.append(row) ? input.taken : input.duplicates);
      });
      report.push_back(input);
    }
    writer.finish();
    if (writer.size() == 0) {
      throw runtime::DataError("{}: not one row to merge", inputs.front().string());
    }
    carry_rejected(parts, writer, report);
    fs::rename(parts, target);  // what is in it is on the disk already
  } catch (...) {
    fs::remove_all(parts, ignored);
    fs::remove(lock_file, ignored);
    throw;
  }
  fs::remove(lock_file, ignored);
  return report;
}

}  // namespace desta::datagen
