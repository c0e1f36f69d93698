#include "datagen/dataset.h"

#include <algorithm>
#include <charconv>
#include <list>
#include <unordered_map>

#include "datagen/dataset_shard.h"
#include "datagen/manifest.h"
#include "datagen/metadata.h"
#include "datagen/seed_transcript.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "runtime/core/random.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::ConfigError;
using runtime::DataError;
using runtime::InternalError;

constexpr std::size_t kOpenShards = 32;
constexpr std::size_t kRowsAtOnce = 1000;
constexpr std::string_view kPrefix = "shard-";
constexpr std::string_view kSuffix = ".h5";

fs::path shard_path(const fs::path& folder, std::size_t number) {
  return folder / fmt::format("{}{:06}{}", kPrefix, number, kSuffix);
}

// HDF5 keeps strings zero-terminated.
void drop_zeros(std::string& text) { std::erase(text, '\0'); }

}  // namespace

std::string row_key(std::string_view audio, std::string_view seed_transcript,
                    std::string_view prompt, std::string_view generator, std::uint64_t seed,
                    std::string_view decoding) {
  std::uint64_t key = runtime::hash64(std::to_string(seed));
  for (const std::string_view part : {audio, seed_transcript, prompt, generator, decoding}) {
    key = runtime::hash64(part, key);
  }
  return runtime::to_hex(key);
}

std::uint64_t key_of(std::string_view id) {
  std::uint64_t key = 0;
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (id.size() == 16 && std::all_of(id.begin(), id.end(), is_digit)) {
    std::from_chars(id.data(), id.data() + id.size(), key, 16);
    return key;
  }
  return runtime::hash64(id);
}

std::uint64_t sampling_seed(const Row& row) {
  return runtime::mix_seed(row.seed, runtime::hash64(row.id));
}

std::vector<fs::path> list_shards(const fs::path& folder) {
  std::vector<fs::path> shards;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) {
      shards.push_back(entry.path());
    }
  }
  std::sort(shards.begin(), shards.end());
  return shards;
}

std::vector<fs::path> require_shards(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) {
    throw DataError("{}: no such folder; a dataset is a folder of shard-NNNNNN.h5",
                    folder.string());
  }
  if (!fs::is_directory(folder, ignored)) {
    throw DataError("{}: a file; give the folder of a dataset, which holds shard-NNNNNN.h5",
                    folder.string());
  }
  std::vector<fs::path> shards = list_shards(folder);
  if (shards.empty()) {
    throw DataError("{}: no dataset here: not one shard-NNNNNN.h5", folder.string());
  }
  return shards;
}

DatasetWriter::DatasetWriter(fs::path folder, std::size_t rows_per_shard)
    : folder_(std::move(folder)), rows_per_shard_(rows_per_shard) {
  if (rows_per_shard_ == 0) {
    throw ConfigError("a dataset of 0 rows a shard cannot be written; use 1 or more");
  }
  for (const fs::path& path : list_shards(folder_)) {
    for (const std::uint64_t key : read_shard_keys(path).keys) {
      keys_.insert(key);
    }
  }
}

bool DatasetWriter::append(Row row) {
  for (std::string* text : {&row.id, &row.audio_filepath, &row.transcription, &row.seed_transcript,
                            &row.prompt, &row.response, &row.metadata_json, &row.generator,
                            &row.decoding, &row.group}) {
    drop_zeros(*text);
  }
  if (row.id.empty()) {
    throw DataError("a row of the dataset {} has no id", folder_.string());
  }
  const bool is_new = keys_.insert(key_of(row.id));
  if (is_new) {
    buffer_.push_back(std::move(row));
  }
  if (buffer_.size() >= rows_per_shard_) {
    write_shard();
  }
  return is_new;
}

void DatasetWriter::finish() {
  if (!buffer_.empty()) {
    write_shard();
  }
}

void DatasetWriter::write_shard() {
  // The first free number; deleted shards are filled in again.
  while (fs::exists(shard_path(folder_, next_shard_))) {
    ++next_shard_;
  }
  runtime::write_file_atomically(shard_path(folder_, next_shard_), encode_shard(buffer_));
  ++next_shard_;
  buffer_.clear();
}

// The open shards, most lately used in front, and which rows each holds.
struct Dataset::Shards {
  struct Place {
    std::uint32_t shard;
    std::size_t row;
  };
  std::vector<fs::path> paths;
  std::vector<std::size_t> ends;  // by shard: the index behind its last row
  std::vector<std::uint64_t> keys;
  std::unordered_map<std::size_t, std::string> other_ids;  // those that are not their keys' digits
  std::vector<std::string> problems;
  std::list<std::pair<std::uint32_t, ShardReader>> open;

  void add(const fs::path& path) {
    ShardKeys found = read_shard_keys(path);
    for (std::size_t i = 0; i < found.ids.size(); ++i) {
      other_ids.emplace(keys.size() + i, std::move(found.ids[i]));
    }
    keys.insert(keys.end(), found.keys.begin(), found.keys.end());
    paths.push_back(path);
    ends.push_back(keys.size());
  }

  [[nodiscard]] Place place_of(std::size_t index) const {
    const auto end = std::upper_bound(ends.begin(), ends.end(), index);
    const std::size_t first = end == ends.begin() ? 0 : *std::prev(end);
    return {static_cast<std::uint32_t>(end - ends.begin()), index - first};
  }

  ShardReader& reader(std::uint32_t shard) {
    const auto found = std::find_if(open.begin(), open.end(),
                                    [&](const auto& entry) { return entry.first == shard; });
    if (found != open.end()) {
      open.splice(open.begin(), open, found);
    } else {
      open.emplace_front(shard, ShardReader(paths[shard]));
      if (open.size() > kOpenShards) {
        open.pop_back();
      }
    }
    return open.front().second;
  }
};

Dataset::Dataset() : shards_(std::make_unique<Shards>()) {}
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() {
  const auto lock = lock_hdf5();
  shards_.reset();
}

Dataset Dataset::open(const fs::path& folder, DamagedShards damaged) {
  const auto lock = lock_hdf5();
  Dataset dataset;
  Shards& shards = *dataset.shards_;
  for (const fs::path& path : require_shards(folder)) {
    try {
      shards.add(path);
    } catch (const DataError& error) {
      if (damaged == DamagedShards::kRefuse) {
        throw;
      }
      shards.problems.emplace_back(error.what());
    }
  }
  return dataset;
}

std::size_t Dataset::size() const { return shards_->keys.size(); }

Row Dataset::row(std::size_t index) const {
  if (index >= size()) {
    throw InternalError("row {} of a dataset of {} rows", index, size());
  }
  const auto lock = lock_hdf5();
  const Shards::Place place = shards_->place_of(index);
  return shards_->reader(place.shard).row(place.row);
}

void Dataset::for_each(const std::function<void(std::size_t, const Row&)>& visit) const {
  std::size_t index = 0;
  for (std::size_t shard = 0; shard < shards_->paths.size(); ++shard) {
    const auto lock = lock_hdf5();
    const ShardReader reader(shards_->paths[shard]);
    for (std::size_t first = 0; first < reader.size(); first += kRowsAtOnce) {
      for (const Row& row : reader.rows(first, std::min(kRowsAtOnce, reader.size() - first))) {
        visit(index++, row);
      }
    }
  }
}

std::string Dataset::id(std::size_t index) const {
  const auto other = shards_->other_ids.find(index);
  return other != shards_->other_ids.end() ? other->second
                                           : runtime::to_hex(shards_->keys.at(index));
}

std::optional<std::size_t> Dataset::find(std::string_view id) const {
  const auto& keys = shards_->keys;
  const auto found = std::find(keys.begin(), keys.end(), key_of(id));
  return found == keys.end() ? std::nullopt
                             : std::optional(static_cast<std::size_t>(found - keys.begin()));
}

const std::vector<std::string>& Dataset::problems() const { return shards_->problems; }

ImportReport import_jsonl(const fs::path& path, const std::string& generator,
                          DatasetWriter& writer) {
  ManifestReport manifest = read_manifest(path);
  ImportReport report{.rows = 0, .problems = std::move(manifest.problems)};
  for (const ManifestRow& source : manifest.rows) {
    if (source.response.empty()) {
      report.problems.push_back(fmt::format("{}: the row \"{}\" has no answer (target or response)",
                                            path.string(), source.id));
      continue;
    }
    const Metadata metadata = annotate(source);
    Row row;
    row.audio_filepath = source.audio.string();
    row.transcription = source.transcription;
    row.seed_transcript = !source.seed_description.empty()
                              ? source.seed_description
                              : seed_transcript(source.transcription, source.duration, metadata);
    row.prompt = source.prompt;
    row.response = source.response;
    row.metadata_json = metadata_to_json(metadata).dump();
    row.generator = generator;
    row.decoding = "import";
    row.duration = source.duration;
    row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, generator, 0, row.decoding);
    report.rows += writer.append(std::move(row)) ? 1 : 0;
  }
  return report;
}

}  // namespace desta::datagen
