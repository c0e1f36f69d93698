#include "datagen/dataset.h"

#include <algorithm>
#include <list>

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

DatasetWriter::DatasetWriter(fs::path folder, std::size_t rows_per_shard)
    : folder_(std::move(folder)), rows_per_shard_(rows_per_shard) {
  if (rows_per_shard_ == 0) {
    throw ConfigError("a dataset of 0 rows a shard cannot be written; use 1 or more");
  }
  for (const fs::path& path : list_shards(folder_)) {
    for (std::string& id : ShardReader(path).ids()) {
      ids_.insert(std::move(id));
    }
  }
}

bool DatasetWriter::append(Row row) {
  for (std::string* text : {&row.id, &row.audio_filepath, &row.transcription, &row.seed_transcript,
                            &row.prompt, &row.response, &row.metadata_json, &row.generator}) {
    drop_zeros(*text);
  }
  if (row.id.empty()) {
    throw DataError("a row of the dataset {} has no id", folder_.string());
  }
  const bool is_new = ids_.insert(row.id).second;
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

// The open shards, most lately used in front, and where each row lies.
struct Dataset::Shards {
  struct Place {
    std::uint32_t shard;
    std::uint32_t row;
  };
  std::vector<fs::path> paths;
  std::vector<Place> places;
  std::vector<std::string> ids;
  std::unordered_set<std::string> known;
  std::vector<std::string> problems;
  std::list<std::pair<std::uint32_t, ShardReader>> open;

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
  const std::vector<fs::path> paths = list_shards(folder);
  if (paths.empty()) {
    throw DataError("{}: no dataset here: not one shard-NNNNNN.h5", folder.string());
  }
  Dataset dataset;
  Shards& shards = *dataset.shards_;
  for (const fs::path& path : paths) {
    try {
      std::vector<std::string> ids = ShardReader(path).ids();
      const auto number = static_cast<std::uint32_t>(shards.paths.size());
      shards.paths.push_back(path);
      for (std::uint32_t row = 0; row < ids.size(); ++row) {
        shards.places.push_back({number, row});
        shards.known.insert(ids[row]);
        shards.ids.push_back(std::move(ids[row]));
      }
    } catch (const DataError& error) {
      if (damaged == DamagedShards::kRefuse) {
        throw;
      }
      shards.problems.emplace_back(error.what());
    }
  }
  return dataset;
}

std::size_t Dataset::size() const { return shards_->places.size(); }

Row Dataset::row(std::size_t index) const {
  if (index >= size()) {
    throw InternalError("row {} of a dataset of {} rows", index, size());
  }
  const auto lock = lock_hdf5();
  const Shards::Place place = shards_->places[index];
  return shards_->reader(place.shard).row(place.row);
}

const std::string& Dataset::id(std::size_t index) const { return shards_->ids.at(index); }

bool Dataset::contains(const std::string& id) const { return shards_->known.contains(id); }

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
    row.duration = source.duration;
    row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, generator, 0, "import");
    report.rows += writer.append(std::move(row)) ? 1 : 0;
  }
  return report;
}

}  // namespace desta::datagen
