// Rows of coming training steps, where they are told step by step: from a dataset that is still being written.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "datagen/dataset.h"

namespace desta::trainer {

// What is known of such a dataset beforehand.
struct StreamInfo {
  std::int64_t total_steps = 0;
  std::uint64_t fingerprint = 0;  // of the rows that are planned
  template <class Archive>
  void serialize(Archive& archive) {
    archive(total_steps, fingerprint);
  }
};

// A row's number is its place in all steps, one behind the other.
class RowFeed {
 public:
  explicit RowFeed(std::int64_t step_rows) : step_rows_(step_rows) {}

  // Rows of a step, as many as each has; steps before `oldest` are forgotten. What is there already stays.
  void put(std::int64_t step, std::vector<datagen::Row> rows, std::int64_t oldest);
  [[nodiscard]] bool has(std::int64_t step) const { return steps_.contains(step); }
  // Throws InternalError for a row of a step that is not there.
  [[nodiscard]] const datagen::Row& row(std::size_t number) const;

 private:
  std::int64_t step_rows_;
  std::map<std::int64_t, std::vector<datagen::Row>> steps_;
};

}  // namespace desta::trainer
