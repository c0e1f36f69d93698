// Proof that frozen means untouched: every frozen tensor's checksum, taken twice.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/tensor_source.h"

namespace desta::trainer {

class FrozenChecksums {
 public:
  // Takes the checksum of every tensor. `owner` goes before the names ("llm", "speech").
  void take(const std::string& owner, const models::TensorMap& tensors);

  // Names of tensors whose bytes have changed since, or that have got a gradient. Empty: all is well.
  [[nodiscard]] std::vector<std::string> changed() const;
  [[nodiscard]] std::size_t tensors() const { return entries_.size(); }
  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct Entry {
    models::Tensor tensor;
    std::uint64_t checksum;
  };
  std::map<std::string, Entry> entries_;
};

// Resident memory of this process in bytes, as Linux counts it.
[[nodiscard]] std::uint64_t resident_bytes();
// The most that it has ever been.
[[nodiscard]] std::uint64_t peak_resident_bytes();

}  // namespace desta::trainer
