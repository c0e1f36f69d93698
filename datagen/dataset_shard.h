// One HDF5 file of a dataset. The layout is in README.md; dataset.h is what the rest of the
// program uses.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "datagen/dataset.h"

namespace desta::datagen {

// Owns an HDF5 identifier of any kind.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Hdf5Handle() {
    if (id_ >= 0) {
      close_(id_);
    }
  }
  [[nodiscard]] hid_t get() const { return id_; }
  [[nodiscard]] bool valid() const { return id_ >= 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// The lock under which HDF5 is called; the first call also silences its error printing.
[[nodiscard]] std::unique_lock<std::recursive_mutex> lock_hdf5();

// The file's bytes. It is built in memory, so that writing it is one ordinary, checked write.
[[nodiscard]] std::string encode_shard(const std::vector<Row>& rows);

[[nodiscard]] std::uint64_t checksum_of(const Row& row);

// What the rows of a shard are called, without reading them.
struct ShardKeys {
  std::vector<std::uint64_t> keys;  // key_of() each id, in the order of the rows
  std::vector<std::string> ids;     // as many; empty when each is its key in hexadecimal digits
};

// One read of eight bytes a row, compared with their checksum; of a shard without a key column (version
// 1, or with ids of another form) the ids. Throws DataError naming the file and what to do.
[[nodiscard]] ShardKeys read_shard_keys(const std::filesystem::path& path);

// An open shard. Construction checks that it is whole: format and version, the row counts of all
// columns and the checksum over the rows' checksums; else DataError naming the file and what to do.
class ShardReader {
 public:
  explicit ShardReader(std::filesystem::path path);

  [[nodiscard]] std::size_t size() const { return checksums_.size(); }
  [[nodiscard]] std::uint32_t version() const { return version_; }
  [[nodiscard]] std::vector<std::string> ids() const;
  // DataError naming the row when it is not what its checksum says.
  [[nodiscard]] Row row(std::size_t index) const { return rows(index, 1).front(); }
  // `count` rows from `first` on, column by column: much faster than one by one.
  [[nodiscard]] std::vector<Row> rows(std::size_t first, std::size_t count) const;

 private:
  std::filesystem::path path_;
  Hdf5Handle file_;
  std::uint32_t version_ = 0;
  std::vector<Hdf5Handle> texts_;  // as text_columns() has them
  Hdf5Handle seeds_;
  Hdf5Handle durations_;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace desta::datagen
