// Rows of a dataset that is written while it is learned from: what writers ask for, what trainers get, and the
// dataset actor between them. On the coordinator's process; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "actors/dataset_actor.h"
#include "datagen/dataset.h"
#include "datagen/row_stream.h"
#include "runtime/actor/actor_ref.h"
#include "trainer/pipeline_generator.h"
#include "trainer/row_feed.h"

namespace desta::actors {

class RowSupply {
 public:
  // `planned`: the rows, without their responses; those that the dataset in `folder` has already are taken from
  // there. `dataset`: its actor. `record`: as RowStream's; empty: the steps are not recorded. Throws as
  // RowStream does.
  RowSupply(runtime::ActorRef<DatasetActor> dataset, std::filesystem::path folder,
            std::vector<datagen::Row> planned, const datagen::StreamOptions& options,
            const std::filesystem::path& record);

  // What the stages are told of the rows. `steps`: of training; 0: as many as so many epochs have.
  [[nodiscard]] trainer::StreamInfo info(std::int64_t epochs, std::int64_t steps) const;
  [[nodiscard]] std::size_t size() const { return planned_.size(); }

  // ---- For writers ----

  // Texts to write next, at most so many (RowStream::take). Their numbers are those of the rows.
  [[nodiscard]] std::vector<trainer::TextOrder> take(std::size_t most);
  void give_back(const std::vector<trainer::TextOrder>& orders);
  // Hands rows to the dataset. Throws ModelError for a text that went wrong, once the others are kept.
  void accept(const std::vector<trainer::WrittenText>& texts);

  // ---- For trainers ----

  void start_at(std::int64_t step);
  [[nodiscard]] bool has(std::int64_t step) const;
  [[nodiscard]] std::size_t missing_for(std::int64_t step) const;
  [[nodiscard]] bool is_complete() const;
  [[nodiscard]] std::size_t written() const;
  // Rows of a step that is there.
  [[nodiscard]] std::vector<datagen::Row> rows_of(std::int64_t step);
  // All rows so far are on disk when this returns.
  void flush();

 private:
  void take_known();
  [[nodiscard]] datagen::Row row(std::size_t number);

  mutable std::mutex mutex_;
  runtime::ActorRef<DatasetActor> dataset_;
  std::filesystem::path folder_;
  std::vector<datagen::Row> planned_;
  datagen::RowStream stream_;
  std::unordered_map<std::size_t, std::string> responses_;  // of rows that are not on disk or not used yet
  std::vector<std::size_t> used_;                           // of these, since the last flush()
  std::optional<datagen::Dataset> on_disk_;
  std::unordered_map<std::string, std::size_t> places_;     // of its rows
};

}  // namespace desta::actors
