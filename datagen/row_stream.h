// A dataset that is learned from while it is being written: which rows are to be written next, and which make
// a training step. It knows rows by their numbers in the plan and does no writing of its own but one: the record
// of the steps.
//
// First epoch: a step takes the rows that have been there longest and were in no step yet, so which rows make it
// depends on who was fast. Later epochs: all rows, shuffled by seed and epoch, whoever wrote them. An epoch ends
// where fewer rows are left than a step has. The record (JSON Lines: {"step": 0, "epoch": 0, "rows": [ids]})
// says what each step was made of, and a run that is resumed makes the recorded ones of the same rows: such a
// row that got lost before it was on disk is written again first, to the same text, and no other before all of
// them are there: a row with the same words that came sooner would be the one that `filters.duplicates` keeps.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/telemetry/metrics_writer.h"

namespace desta::datagen {

struct StreamOptions {
  std::int64_t step_rows = 16;   // rows a training step
  std::int64_t start_rows = 16;  // that must be there before the first step
  std::int64_t ahead_rows = 512; // that may wait for their step or be on their way; then writing waits
  std::uint64_t seed = 1;        // of the later epochs' order
};

class RowStream {
 public:
  // `ids`: of the planned rows, each once. `record`: where the steps are kept; what stands there is taken up.
  // Empty: they are not.
  // Throws ConfigError when fewer rows are planned than a step has, and when the record names rows that are
  // not planned (another configuration wrote it), DataError for a record that cannot be read.
  RowStream(std::vector<std::string> ids, const StreamOptions& options,
            const std::filesystem::path& record);

  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  // Steps that an epoch has when all planned rows come to be.
  [[nodiscard]] std::int64_t steps_per_epoch() const;

  // ---- The writers' side ----

  // Planned rows to write next, at most so many: none when enough wait for their step, and while others write the
  // last ones that recorded steps need.
  [[nodiscard]] std::vector<std::size_t> take(std::size_t most);
  // Rows that were taken and that nobody is writing any more.
  void give_back(const std::vector<std::size_t>& rows);
  // The row is in the dataset.
  void accept(std::size_t row);
  // It will never be: a filter refused it. Throws DataError when a recorded step has it.
  void reject(std::size_t row);
  // All planned rows are in the dataset, or never will be.
  [[nodiscard]] bool is_complete() const { return open_ == 0; }
  [[nodiscard]] std::size_t accepted() const { return accepted_; }
  [[nodiscard]] std::size_t rejected() const { return ids_.size() - open_ - accepted_; }

  // ---- The trainers' side ----

  // The first step to be made: the recorded ones before it are over.
  void start_at(std::int64_t step);
  // Whether the rows of a step are there. Steps are asked for in order.
  [[nodiscard]] bool has(std::int64_t step) const;
  // How many rows are missing for it, so far as is known.
  [[nodiscard]] std::size_t missing_for(std::int64_t step) const;
  // Its rows; a new step is recorded. Throws DataError when all rows are there and too few for a step.
  [[nodiscard]] std::vector<std::size_t> rows_of(std::int64_t step);

 private:
  enum class State : std::uint8_t { kPlanned, kTaken, kThere, kNever };
  struct Step {
    std::int64_t epoch = 0;
    std::vector<std::size_t> rows;
  };

  void read_record(const std::filesystem::path& record);
  [[nodiscard]] Step next_step();
  [[nodiscard]] std::vector<std::size_t> order_of(std::int64_t epoch) const;
  [[nodiscard]] bool is_there(std::size_t row) const { return states_[row] == State::kThere; }

  std::vector<std::string> ids_;
  StreamOptions options_;
  std::vector<State> states_;
  std::filesystem::path record_file_;
  std::vector<bool> used_;             // in a step
  std::size_t missing_used_ = 0;       // of them: neither there nor refused; steps of a run before had them
  std::deque<std::size_t> to_write_;
  std::deque<std::size_t> unused_;     // there, and in no step yet
  std::size_t taken_ = 0;
  std::size_t open_ = 0;               // planned or taken
  std::size_t accepted_ = 0;
  std::vector<Step> steps_;
  std::int64_t epoch_steps_ = 0;       // of the last step's epoch, made so far
  std::int64_t order_epoch_ = -1;
  std::vector<std::size_t> order_;     // of that epoch
  std::optional<runtime::MetricsWriter> record_;
};

}  // namespace desta::datagen
