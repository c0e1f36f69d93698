#include "datagen/dataset_shard.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "datagen/row_texts.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::DataError;
using runtime::InternalError;

constexpr std::string_view kFormat = "desta-dataset";
constexpr std::uint32_t kVersion = 3;

constexpr std::array<std::size_t, kVersion> kTextColumnsOfVersion = {8, 9, kRowTexts.size()};
constexpr const char* kKey = "key";
constexpr const char* kSeed = "seed";
constexpr const char* kDuration = "duration";
constexpr const char* kChecksum = "row_checksum";

Hdf5Handle checked(hid_t id, Hdf5Handle::Close close, const char* what) {
  if (id < 0) {
    throw InternalError("HDF5 failed: {}", what);
  }
  return {id, close};
}

void check(herr_t status, const char* what) {
  if (status < 0) {
    throw InternalError("HDF5 failed: {}", what);
  }
}

Hdf5Handle text_type() {
  Hdf5Handle type = checked(H5Tcopy(H5T_C_S1), H5Tclose, "string type");
  check(H5Tset_size(type.get(), H5T_VARIABLE), "string type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "string type");
  return type;
}

Hdf5Handle make_column(hid_t file, const char* name, hid_t stored, std::size_t rows) {
  const hsize_t extent = rows;
  const Hdf5Handle space =
      checked(H5Screate_simple(1, &extent, nullptr), H5Sclose, "making a data space");
  return checked(H5Dcreate2(file, name, stored, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                 H5Dclose, "making a column");
}

void write_column(hid_t file, const char* name, hid_t stored, hid_t memory, std::size_t rows,
                  const void* values) {
  const Hdf5Handle column = make_column(file, name, stored, rows);
  check(H5Dwrite(column.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "writing a column");
}

void write_attribute(hid_t file, const char* name, hid_t stored, hid_t memory, const void* value) {
  const Hdf5Handle space = checked(H5Screate(H5S_SCALAR), H5Sclose, "making a data space");
  const Hdf5Handle attribute =
      checked(H5Acreate2(file, name, stored, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
              "making an attribute");
  check(H5Awrite(attribute.get(), memory, value), "writing an attribute");
}

void write_text_attribute(hid_t file, const char* name, const std::string& value) {
  const Hdf5Handle type = text_type();
  const char* text = value.c_str();
  write_attribute(file, name, type.get(), type.get(), &text);
}

// Empty when the attribute is missing or of another type.
std::string read_text_attribute(hid_t file, const char* name) {
  const Hdf5Handle attribute(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle type = text_type();
  char* text = nullptr;
  if (!attribute.valid() || H5Aread(attribute.get(), type.get(), &text) < 0 || text == nullptr) {
    return {};
  }
  std::string value(text);
  H5free_memory(text);
  return value;
}

// Nothing when the attribute is missing or of another type.
std::optional<std::uint32_t> read_number_attribute(hid_t file, const char* name) {
  const Hdf5Handle attribute(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
  std::uint32_t value = 0;
  if (!attribute.valid() || H5Aread(attribute.get(), H5T_NATIVE_UINT32, &value) < 0) {
    return std::nullopt;
  }
  return value;
}

std::string checksum_over(const std::vector<std::uint64_t>& numbers) {
  return runtime::to_hex(runtime::hash64(std::as_bytes(std::span(numbers)), numbers.size()));
}

Hdf5Handle access_list() {
  Hdf5Handle list = checked(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "access list");
  // The format of HDF5 1.8 checksums its own structures. That of 1.10 would also mark the image of
  // a file that is open as in use.
  check(H5Pset_libver_bounds(list.get(), H5F_LIBVER_V18, H5F_LIBVER_V18), "access list");
  // What describes the columns lies together, at the beginning, and of a column only the row that is
  // wanted is read: by default HDF5 would keep 64 KiB of each.
  check(H5Pset_meta_block_size(list.get(), 8192), "access list");
  check(H5Pset_sieve_buf_size(list.get(), 512), "access list");
  return list;
}

// A few neighbouring rows of a column of `rows`.
class Block {
 public:
  Block(std::size_t rows, std::size_t first, std::size_t count) : count_(count) {
    const hsize_t extent = rows;
    const hsize_t start = first;
    const hsize_t length = count;
    file_ = checked(H5Screate_simple(1, &extent, nullptr), H5Sclose, "making a data space");
    check(H5Sselect_hyperslab(file_.get(), H5S_SELECT_SET, &start, nullptr, &length, nullptr),
          "selecting rows");
    memory_ = checked(H5Screate_simple(1, &length, nullptr), H5Sclose, "making a data space");
    // HDF5 would otherwise clear a megabyte for each call.
    constexpr std::size_t kStringReference = 16;
    transfer_ = checked(H5Pcreate(H5P_DATASET_XFER), H5Pclose, "transfer list");
    check(H5Pset_buffer(transfer_.get(), kStringReference * std::clamp<std::size_t>(count, 16, 4096),
                        nullptr, nullptr),
          "transfer list");
  }

  [[nodiscard]] bool read(hid_t column, hid_t type, void* values) const {
    return H5Dread(column, type, memory_.get(), file_.get(), transfer_.get(), values) >= 0;
  }
  // Calls take(row of the block, text).
  template <typename Take>
  [[nodiscard]] bool read_texts(hid_t column, hid_t type, const Take& take) const {
    std::vector<char*> texts(count_, nullptr);
    const bool ok = read(column, type, texts.data());
    for (std::size_t i = 0; i < count_; ++i) {
      take(i, texts[i] == nullptr ? "" : texts[i]);
      H5free_memory(texts[i]);
    }
    return ok;
  }
  void write(hid_t column, hid_t type, const void* values) const {
    check(H5Dwrite(column, type, memory_.get(), file_.get(), transfer_.get(), values),
          "writing a column");
  }

 private:
  std::size_t count_;
  Hdf5Handle file_;
  Hdf5Handle memory_;
  Hdf5Handle transfer_;
};

// All texts of a few rows, then those of the next: HDF5 puts them into the file as they come, and a row
// that is read alone then lies in one place.
void write_texts(hid_t file, const std::vector<Row>& rows, std::uint32_t version) {
  constexpr std::size_t kTogether = 8;
  const Hdf5Handle text = text_type();
  std::vector<Hdf5Handle> columns;
  for (std::size_t i = 0; i < kTextColumnsOfVersion[version - 1]; ++i) {
    columns.push_back(make_column(file, kRowTexts[i].name, text.get(), rows.size()));
  }
  for (std::size_t first = 0; first < rows.size(); first += kTogether) {
    const std::size_t count = std::min(kTogether, rows.size() - first);
    const Block block(rows.size(), first, count);
    for (std::size_t column = 0; column < columns.size(); ++column) {
      std::array<const char*, kTogether> values{};
      for (std::size_t i = 0; i < count; ++i) {
        values[i] = (rows[first + i].*kRowTexts[column].member).c_str();
      }
      block.write(columns[column].get(), text.get(), values.data());
    }
  }
}

DataError damaged(const fs::path& path, const std::string& what) {
  return DataError(
      "{}: a damaged dataset shard ({}); delete it, and desta-datagen fills in what is missing",
      path.string(), what);
}

struct OpenFile {
  Hdf5Handle file;
  std::uint32_t version;
};

OpenFile open_shard(const fs::path& path) {
  const Hdf5Handle access = access_list();
  Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file.valid()) {
    throw damaged(path, "not an HDF5 file, or cut short");
  }
  if (read_text_attribute(file.get(), "format") != kFormat) {
    throw DataError(
        "{}: an HDF5 file, but no shard of a dataset (its format attribute is not \"{}\"); move it "
        "out of this folder",
        path.string(), kFormat);
  }
  const auto version = read_number_attribute(file.get(), "version");
  if (!version || *version < 1 || *version > kVersion) {
    throw DataError(
        "{}: a dataset shard of version {}; this program reads 1 to {}: use the one that wrote it",
        path.string(), version ? std::to_string(*version) : "unknown", kVersion);
  }
  return {std::move(file), *version};
}

// -1 when it is no column.
std::int64_t rows_of(hid_t column) {
  const Hdf5Handle space(H5Dget_space(column), H5Sclose);
  return space.valid() && H5Sget_simple_extent_ndims(space.get()) == 1
             ? H5Sget_simple_extent_npoints(space.get())
             : -1;
}

// The whole of a column of numbers; false when it cannot be read.
bool read_numbers(hid_t column, std::vector<std::uint64_t>& numbers) {
  numbers.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, rows_of(column))));
  return H5Dread(column, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.data()) >= 0;
}

}  // namespace

std::unique_lock<std::recursive_mutex> lock_hdf5() {
  static std::recursive_mutex mutex;
  static const herr_t silenced = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  static_cast<void>(silenced);
  return std::unique_lock(mutex);
}

std::uint64_t checksum_of(const Row& row) {
  std::uint64_t sum = runtime::hash64(fmt::format("{}/{}", row.seed, row.duration));
  for (const RowText& column : kRowTexts) {
    // Rows of earlier versions have no decoding or group, and their checksums none of it.
    const bool is_late = column.member == &Row::decoding || column.member == &Row::group;
    if (!is_late || !(row.*column.member).empty()) {
      sum = runtime::hash64(row.*column.member, sum);
    }
  }
  return sum;
}

std::string encode_shard(const std::vector<Row>& rows) {
  const auto lock = lock_hdf5();
  const Hdf5Handle access = access_list();
  constexpr std::size_t kGrowth = 1 << 20;
  check(H5Pset_fapl_core(access.get(), kGrowth, 0), "a file in memory");
  // All columns are named in the root's own header: with more than eight, HDF5 would make an index.
  const Hdf5Handle creation = checked(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "creation list");
  check(H5Pset_link_phase_change(creation.get(), 32, 24), "creation list");
  const Hdf5Handle file = checked(H5Fcreate("shard", H5F_ACC_TRUNC, creation.get(), access.get()),
                                  H5Fclose, "making a shard");
  std::vector<std::uint64_t> seeds;
  std::vector<std::uint64_t> keys;
  std::vector<std::uint64_t> checksums;
  std::vector<double> durations;
  bool ids_are_keys = true;
  // Where no row has a group, nothing is new.
  const bool has_groups =
      std::any_of(rows.begin(), rows.end(), [](const Row& row) { return !row.group.empty(); });
  const std::uint32_t version = has_groups ? kVersion : kVersion - 1;
  for (const Row& row : rows) {
    seeds.push_back(row.seed);
    durations.push_back(row.duration);
    keys.push_back(key_of(row.id));
    ids_are_keys = ids_are_keys && row.id == runtime::to_hex(keys.back());
    checksums.push_back(checksum_of(row));
  }
  const auto write_numbers = [&](const char* name, const std::vector<std::uint64_t>& numbers) {
    write_column(file.get(), name, H5T_STD_U64LE, H5T_NATIVE_UINT64, numbers.size(), numbers.data());
  };
  // First what is read first, so that one look at the disk finds all of it.
  const std::uint64_t count = rows.size();
  write_text_attribute(file.get(), "format", std::string(kFormat));
  write_attribute(file.get(), "version", H5T_STD_U32LE, H5T_NATIVE_UINT32, &version);
  write_attribute(file.get(), "rows", H5T_STD_U64LE, H5T_NATIVE_UINT64, &count);
  write_text_attribute(file.get(), "checksum", checksum_over(checksums));
  if (ids_are_keys) {
    write_text_attribute(file.get(), "key_checksum", checksum_over(keys));
    write_numbers(kKey, keys);
  }
  write_numbers(kChecksum, checksums);
  write_numbers(kSeed, seeds);
  write_column(file.get(), kDuration, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, rows.size(),
               durations.data());
  write_texts(file.get(), rows, version);
  check(H5Fflush(file.get(), H5F_SCOPE_LOCAL), "flushing a shard");
  // The driver's own buffer: H5Fget_file_image would clear a flag without mending the checksum
  // over it (HDF5 1.10).
  hsize_t size = 0;
  void* handle = nullptr;
  check(H5Fget_filesize(file.get(), &size), "the size of a shard");
  check(H5Fget_vfd_handle(file.get(), access.get(), &handle), "the image of a shard");
  const char* image = *static_cast<const char* const*>(handle);
  // The buffer grows in steps; the end of the file stands at byte 28 of the superblock (version 2).
  std::uint64_t end = 0;
  std::memcpy(&end, image + 28, sizeof(end));
  if (end < 48 || end > size) {
    throw InternalError("HDF5 failed: a shard of {} bytes in a buffer of {}", end, size);
  }
  return {image, end};
}

ShardKeys read_shard_keys(const fs::path& path) {
  const auto lock = lock_hdf5();
  ShardKeys found;
  {
    const OpenFile shard = open_shard(path);
    const Hdf5Handle column(H5Dopen2(shard.file.get(), kKey, H5P_DEFAULT), H5Dclose);
    if (column.valid()) {
      if (!read_numbers(column.get(), found.keys) ||
          checksum_over(found.keys) != read_text_attribute(shard.file.get(), "key_checksum")) {
        throw damaged(path, "the checksum of its keys does not match");
      }
      return found;
    }
  }
  found.ids = ShardReader(path).ids();
  bool ids_are_keys = true;
  for (const std::string& id : found.ids) {
    found.keys.push_back(key_of(id));
    ids_are_keys = ids_are_keys && id == runtime::to_hex(found.keys.back());
  }
  if (ids_are_keys) {
    found.ids.clear();
  }
  return found;
}

ShardReader::ShardReader(fs::path path) : path_(std::move(path)) {
  const auto lock = lock_hdf5();
  OpenFile shard = open_shard(path_);
  file_ = std::move(shard.file);
  version_ = shard.version;
  const auto open_column = [&](const char* name) {
    Hdf5Handle column(H5Dopen2(file_.get(), name, H5P_DEFAULT), H5Dclose);
    if (!column.valid()) {
      throw damaged(path_, fmt::format("the column {} is missing", name));
    }
    return column;
  };
  for (std::size_t i = 0; i < kTextColumnsOfVersion[version_ - 1]; ++i) {
    texts_.push_back(open_column(kRowTexts[i].name));
  }
  seeds_ = open_column(kSeed);
  durations_ = open_column(kDuration);
  const Hdf5Handle checksums = open_column(kChecksum);
  const std::int64_t rows = rows_of(checksums.get());
  const auto differs = [&](const Hdf5Handle& column) { return rows_of(column.get()) != rows; };
  if (rows < 0 || differs(seeds_) || differs(durations_) ||
      std::any_of(texts_.begin(), texts_.end(), differs)) {
    throw damaged(path_, "its columns differ in length");
  }
  if (!read_numbers(checksums.get(), checksums_) ||
      checksum_over(checksums_) != read_text_attribute(file_.get(), "checksum")) {
    throw damaged(path_, "its checksum does not match");
  }
}

std::vector<std::string> ShardReader::ids() const {
  const auto lock = lock_hdf5();
  const Hdf5Handle type = text_type();
  std::vector<std::string> ids(size());
  if (size() > 0 && !Block(size(), 0, size()).read_texts(
                        texts_[0].get(), type.get(),
                        [&](std::size_t i, const char* text) { ids[i] = text; })) {
    throw damaged(path_, "ids");
  }
  return ids;
}

std::vector<Row> ShardReader::rows(std::size_t first, std::size_t count) const {
  const auto lock = lock_hdf5();
  std::vector<Row> rows(count);
  if (count == 0) {
    return rows;
  }
  const auto bad = [&](std::size_t row) {
    return DataError(
        "{}: row {} is damaged (checksum); delete the shard, and desta-datagen fills in what is "
        "missing",
        path_.string(), row);
  };
  const Block block(size(), first, count);
  const Hdf5Handle text = text_type();
  std::vector<std::uint64_t> seeds(count);
  std::vector<double> durations(count);
  bool ok = block.read(seeds_.get(), H5T_NATIVE_UINT64, seeds.data()) &&
            block.read(durations_.get(), H5T_NATIVE_DOUBLE, durations.data());
  for (std::size_t column = 0; column < texts_.size(); ++column) {
    const auto member = kRowTexts[column].member;
    ok = block.read_texts(texts_[column].get(), text.get(),
                          [&](std::size_t i, const char* value) { rows[i].*member = value; }) &&
         ok;
  }
  for (std::size_t i = 0; i < count; ++i) {
    rows[i].seed = seeds[i];
    rows[i].duration = durations[i];
    if (checksum_of(rows[i]) != checksums_[first + i]) {
      throw bad(first + i);
    }
  }
  if (!ok) {
    throw bad(first);
  }
  return rows;
}

}  // namespace desta::datagen
