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

// An open shard. Construction checks that it is whole: the format, the row counts of all columns
// and the checksum over the rows' checksums; else DataError naming the file and what to do.
class ShardReader {
 public:
  explicit ShardReader(std::filesystem::path path);

  [[nodiscard]] std::size_t size() const { return checksums_.size(); }
  [[nodiscard]] std::vector<std::string> ids() const;
  [[nodiscard]] Row row(std::size_t index) const;

 private:
  std::filesystem::path path_;
  Hdf5Handle file_;
  std::vector<Hdf5Handle> columns_;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace desta::datagen
