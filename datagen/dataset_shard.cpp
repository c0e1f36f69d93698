#include "datagen/dataset_shard.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::DataError;
using runtime::InternalError;

constexpr std::string_view kFormat = "desta-dataset";
constexpr std::uint32_t kVersion = 1;

struct TextColumn {
  const char* name;
  std::string Row::*member;
};
constexpr auto kTextColumns = std::to_array<TextColumn>({
    {"id", &Row::id},
    {"audio_filepath", &Row::audio_filepath},
    {"transcription", &Row::transcription},
    {"seed_transcript", &Row::seed_transcript},
    {"prompt", &Row::prompt},
    {"response", &Row::response},
    {"metadata_json", &Row::metadata_json},
    {"generator", &Row::generator},
});
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

void write_column(hid_t file, const char* name, hid_t stored, hid_t memory, std::size_t rows,
                  const void* values) {
  const hsize_t extent = rows;
  const Hdf5Handle space =
      checked(H5Screate_simple(1, &extent, nullptr), H5Sclose, "making a data space");
  const Hdf5Handle column =
      checked(H5Dcreate2(file, name, stored, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
              H5Dclose, "making a column");
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

std::string shard_checksum(const std::vector<std::uint64_t>& rows) {
  return runtime::to_hex(runtime::hash64(std::as_bytes(std::span(rows)), rows.size()));
}

Hdf5Handle access_list() {
  Hdf5Handle list = checked(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "access list");
  // The format of HDF5 1.8 checksums its own structures. That of 1.10 would also mark the image of
  // a file that is open as in use.
  check(H5Pset_libver_bounds(list.get(), H5F_LIBVER_V18, H5F_LIBVER_V18), "access list");
  return list;
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
  for (const TextColumn& column : kTextColumns) {
    sum = runtime::hash64(row.*column.member, sum);
  }
  return sum;
}

std::string encode_shard(const std::vector<Row>& rows) {
  const auto lock = lock_hdf5();
  const Hdf5Handle access = access_list();
  constexpr std::size_t kGrowth = 1 << 20;
  check(H5Pset_fapl_core(access.get(), kGrowth, 0), "a file in memory");
  const Hdf5Handle file = checked(H5Fcreate("shard", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()),
                                  H5Fclose, "making a shard");
  const Hdf5Handle text = text_type();
  for (const TextColumn& column : kTextColumns) {
    std::vector<const char*> values;
    for (const Row& row : rows) {
      values.push_back((row.*column.member).c_str());
    }
    write_column(file.get(), column.name, text.get(), text.get(), rows.size(), values.data());
  }
  std::vector<std::uint64_t> seeds;
  std::vector<std::uint64_t> checksums;
  std::vector<double> durations;
  for (const Row& row : rows) {
    seeds.push_back(row.seed);
    durations.push_back(row.duration);
    checksums.push_back(checksum_of(row));
  }
  write_column(file.get(), kSeed, H5T_STD_U64LE, H5T_NATIVE_UINT64, rows.size(), seeds.data());
  write_column(file.get(), kDuration, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, rows.size(),
               durations.data());
  write_column(file.get(), kChecksum, H5T_STD_U64LE, H5T_NATIVE_UINT64, rows.size(),
               checksums.data());
  const std::uint64_t count = rows.size();
  write_text_attribute(file.get(), "format", std::string(kFormat));
  write_attribute(file.get(), "version", H5T_STD_U32LE, H5T_NATIVE_UINT32, &kVersion);
  write_attribute(file.get(), "rows", H5T_STD_U64LE, H5T_NATIVE_UINT64, &count);
  write_text_attribute(file.get(), "checksum", shard_checksum(checksums));
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

ShardReader::ShardReader(fs::path path) : path_(std::move(path)) {
  const auto lock = lock_hdf5();
  const auto damaged = [&](const std::string& what) {
    return DataError(
        "{}: a damaged dataset shard ({}); delete it, and desta-datagen fills in what is missing",
        path_.string(), what);
  };
  const Hdf5Handle access = access_list();
  file_ = Hdf5Handle(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file_.valid()) {
    throw damaged("not an HDF5 file, or cut short");
  }
  if (read_text_attribute(file_.get(), "format") != kFormat) {
    throw damaged("its format attribute is not \"desta-dataset\"");
  }
  const auto open_column = [&](const char* name) -> hid_t {
    columns_.emplace_back(H5Dopen2(file_.get(), name, H5P_DEFAULT), H5Dclose);
    if (!columns_.back().valid()) {
      throw damaged(fmt::format("the column {} is missing", name));
    }
    return columns_.back().get();
  };
  const auto rows_of = [](hid_t column) -> std::int64_t {
    const Hdf5Handle space(H5Dget_space(column), H5Sclose);
    return space.valid() && H5Sget_simple_extent_ndims(space.get()) == 1
               ? H5Sget_simple_extent_npoints(space.get())
               : -1;
  };
  for (const TextColumn& column : kTextColumns) {
    open_column(column.name);
  }
  open_column(kSeed);
  open_column(kDuration);
  const hid_t checksums = open_column(kChecksum);
  const std::int64_t rows = rows_of(checksums);
  for (const Hdf5Handle& column : columns_) {
    if (rows < 0 || rows_of(column.get()) != rows) {
      throw damaged("its columns differ in length");
    }
  }
  checksums_.resize(static_cast<std::size_t>(rows));
  if (H5Dread(checksums, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, checksums_.data()) < 0 ||
      shard_checksum(checksums_) != read_text_attribute(file_.get(), "checksum")) {
    throw damaged("its checksum does not match");
  }
}

std::vector<std::string> ShardReader::ids() const {
  const auto lock = lock_hdf5();
  const Hdf5Handle type = text_type();
  std::vector<char*> texts(size(), nullptr);
  const herr_t status =
      H5Dread(columns_[0].get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.data());
  std::vector<std::string> ids;
  for (char* text : texts) {
    ids.emplace_back(text == nullptr ? "" : text);
    H5free_memory(text);
  }
  if (status < 0) {
    throw DataError(
        "{}: a damaged dataset shard (ids); delete it, and desta-datagen fills in what is missing",
        path_.string());
  }
  return ids;
}

Row ShardReader::row(std::size_t index) const {
  const auto lock = lock_hdf5();
  const hsize_t start = index;
  const hsize_t one = 1;
  const hsize_t extent = size();
  const Hdf5Handle file_space =
      checked(H5Screate_simple(1, &extent, nullptr), H5Sclose, "making a data space");
  check(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, &start, nullptr, &one, nullptr),
        "selecting a row");
  const Hdf5Handle memory_space =
      checked(H5Screate_simple(1, &one, nullptr), H5Sclose, "making a data space");
  const Hdf5Handle text = text_type();
  bool ok = true;
  const auto read = [&](std::size_t column, hid_t type, void* value) {
    ok = H5Dread(columns_[column].get(), type, memory_space.get(), file_space.get(), H5P_DEFAULT,
                 value) >= 0 &&
         ok;
  };
  Row row;
  for (std::size_t i = 0; i < kTextColumns.size(); ++i) {
    char* value = nullptr;
    read(i, text.get(), &value);
    if (value != nullptr) {
      row.*kTextColumns[i].member = value;
      H5free_memory(value);
    }
  }
  read(kTextColumns.size(), H5T_NATIVE_UINT64, &row.seed);
  read(kTextColumns.size() + 1, H5T_NATIVE_DOUBLE, &row.duration);
  if (!ok || checksum_of(row) != checksums_[index]) {
    throw DataError(
        "{}: row {} is damaged (checksum); delete the shard, and desta-datagen fills in what is "
        "missing",
        path_.string(), index);
  }
  return row;
}

}  // namespace desta::datagen
