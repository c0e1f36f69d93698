#include "actors/dataset_actor.h"

#include <set>

#include "runtime/actor/actor_system.h"

namespace desta::actors {

datagen::FilteredWriter& DatasetActor::writer() {
  if (!writer_) {
    writer_.emplace(folder_, rows_per_shard_);
  }
  return *writer_;
}

void DatasetActor::set_filters(const datagen::FilterOptions& filters) { writer().set_filters(filters); }

std::vector<std::string> DatasetActor::missing(const std::vector<std::string>& keys) {
  return writer().missing(keys);
}

std::vector<RowFate> DatasetActor::fates(const std::vector<std::string>& keys) {
  const auto absent = missing(keys);
  const std::set<std::string> unknown(absent.begin(), absent.end());
  std::vector<RowFate> fates;
  for (const auto& key : keys) {
    fates.push_back(unknown.contains(key)  ? RowFate::kUnknown
                    : writer().passes(key) ? RowFate::kWritten
                                           : RowFate::kRejected);
  }
  return fates;
}

std::vector<RowFate> DatasetActor::append(const std::vector<datagen::Row>& rows) {
  writer().append(rows);
  std::vector<RowFate> fates;
  for (const auto& row : rows) {
    fates.push_back(writer().passes(row.id) ? RowFate::kWritten : RowFate::kRejected);
  }
  return fates;
}

std::uint64_t DatasetActor::finish() {
  writer().finish();
  return writer().size();
}

std::vector<datagen::FilterLoss> DatasetActor::losses() { return writer().losses(); }

void register_dataset_actor() {
  runtime::actor_type<DatasetActor>("Dataset")
      .constructor<std::string, std::uint64_t>()
      .method<&DatasetActor::set_filters>("set_filters")
      .method<&DatasetActor::missing>("missing")
      .method<&DatasetActor::fates>("fates")
      .method<&DatasetActor::append>("append")
      .method<&DatasetActor::finish>("finish")
      .method<&DatasetActor::losses>("losses");
}

}  // namespace desta::actors
