#include "datagen/dataset_check.h"

#include <algorithm>
#include <optional>
#include <set>

#include "datagen/dataset.h"
#include "datagen/dataset_shard.h"
#include "datagen/dataset_statistics.h"
#include "datagen/key_set.h"
#include "datagen/rejected_rows.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::DataError;

constexpr std::size_t kRowsAtOnce = 1000;

struct Place {
  std::uint64_t key;
  std::uint32_t shard;
  std::uint32_t row;
  friend auto operator<=>(const Place&, const Place&) = default;
};

// Whether the id is the key of the row's contents; nothing where that cannot be known.
std::optional<bool> id_is_right(const Row& row) {
  const auto key = [&](const std::string& decoding) {
    return row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                   decoding);
  };
  if (!row.decoding.empty()) {
    return row.id == key(row.decoding);
  }
  return row.id == key("import") ? std::optional(true) : std::nullopt;
}

class Check {
 public:
  Check(bool audio, const std::function<void(const std::string&)>& report)
      : audio_(audio), report_(report) {}

  DatasetCheck run(const fs::path& folder) {
    shards_ = require_shards(folder);
    result_.shards = shards_.size();
    for (std::uint32_t shard = 0; shard < shards_.size(); ++shard) {
      try {
        check_shard(shard);
      } catch (const runtime::Error& error) {
        complain(shard, error.what());
      }
    }
    check_ids_differ();
    try {
      for (const std::string& problem : read_rejected(folder).problems) {
        complain(problem);
      }
    } catch (const runtime::Error& error) {
      complain(error.what());
    }
    for (std::uint32_t shard = 0; shard < shards_.size(); ++shard) {
      if (!damaged_.contains(shard)) {
        result_.whole.push_back(shards_[shard].filename().string());
      }
    }
    return std::move(result_);
  }

 private:
  void complain(const std::string& line) {
    ++result_.problems;
    report_(line);
  }
  void complain(std::uint32_t shard, const std::string& line) {
    damaged_.insert(shard);
    complain(line);
  }

  void check_shard(std::uint32_t shard) {
    const ShardReader reader(shards_[shard]);
    const ShardKeys keys = read_shard_keys(shards_[shard]);
    if (keys.keys.size() != reader.size()) {
      complain(shard, fmt::format("{}: {} keys for {} rows", shards_[shard].string(),
                                  keys.keys.size(), reader.size()));
      return;
    }
    for (std::size_t first = 0; first < reader.size(); first += kRowsAtOnce) {
      const std::size_t count = std::min(kRowsAtOnce, reader.size() - first);
      std::vector<Row> rows;
      try {
        rows = reader.rows(first, count);
      } catch (const runtime::Error&) {
        // One of them is damaged: which ones are not?
      }
      for (std::size_t i = 0; i < count; ++i) {
        try {
          check_row(shard, first + i, rows.empty() ? reader.row(first + i) : rows[i],
                    keys.keys[first + i]);
        } catch (const runtime::Error& error) {
          complain(shard, error.what());
        }
      }
    }
  }

  void check_row(std::uint32_t shard, std::size_t index, const Row& row, std::uint64_t key) {
    ++result_.rows;
    const auto wrong = [&](const std::string& what) {
      complain(shard, fmt::format("{}: row {}: {}", shards_[shard].string(), index, what));
    };
    places_.push_back({key, shard, static_cast<std::uint32_t>(index)});
    if (key_of(row.id) != key) {
      wrong(fmt::format("its id is {}, its key {}", row.id, runtime::to_hex(key)));
    }
    const std::optional<bool> right = id_is_right(row);
    result_.recomputed += right.has_value() ? 1 : 0;
    if (right == false) {
      wrong(fmt::format("its id {} is not the key of its contents", row.id));
    }
    try {
      (void)metadata_of(row);
    } catch (const DataError& error) {
      wrong(error.what());
    }
    if (audio_ && recordings_.insert(runtime::hash64(row.audio_filepath))) {
      check_recording(row.audio_filepath,
                      fmt::format("{}: row {}", shards_[shard].string(), index));
    }
  }

  // What is wrong with a recording is not the shard's fault.
  void check_recording(const fs::path& path, const std::string& row) {
    ++result_.recordings;
    std::error_code error;
    if (!fs::is_regular_file(path, error)) {
      complain(fmt::format("{}: no such recording: {}", row, path.string()));
    } else if (fs::file_size(path, error) == 0) {
      complain(fmt::format("{}: an empty recording: {}", row, path.string()));
    }
  }

  void check_ids_differ() {
    std::sort(places_.begin(), places_.end());
    for (std::size_t i = 1; i < places_.size(); ++i) {
      const Place& first = places_[i - 1];
      const Place& second = places_[i];
      if (first.key == second.key) {
        complain(second.shard,
                 fmt::format("{}: row {}: has the id of row {} of {} ({})",
                             shards_[second.shard].string(), second.row, first.row,
                             shards_[first.shard].filename().string(), runtime::to_hex(first.key)));
      }
    }
  }

  bool audio_;
  const std::function<void(const std::string&)>& report_;
  std::vector<fs::path> shards_;
  DatasetCheck result_;
  std::set<std::uint32_t> damaged_;
  std::vector<Place> places_;
  KeySet recordings_;
};

std::uint64_t number_of(const std::string& shard) {
  return std::strtoull(shard.c_str() + shard.find('-') + 1, nullptr, 10);
}

}  // namespace

DatasetCheck check_dataset(const fs::path& folder, bool audio,
                           const std::function<void(const std::string&)>& report) {
  return Check(audio, report).run(folder);
}

std::string check_text(const DatasetCheck& check) {
  std::string text = fmt::format(
      "{} of {} shards are whole; {} rows can be read, the ids of {} were recomputed{}; {} problem{}\n",
      check.whole.size(), check.shards, check.rows, check.recomputed,
      check.recordings == 0 ? "" : fmt::format(", {} recordings looked for", check.recordings),
      check.problems, check.problems == 1 ? "" : "s");
  for (std::size_t i = 0; i < check.whole.size();) {
    std::size_t end = i + 1;
    while (end < check.whole.size() &&
           number_of(check.whole[end]) == number_of(check.whole[end - 1]) + 1) {
      ++end;
    }
    text += "whole: " + check.whole[i] + (end - i > 1 ? " to " + check.whole[end - 1] : "") + "\n";
    i = end;
  }
  return text;
}

}  // namespace desta::datagen
