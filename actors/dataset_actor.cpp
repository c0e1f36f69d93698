#include "actors/dataset_actor.h"

#include "runtime/actor/actor_system.h"

namespace desta::actors {

std::vector<std::string> DatasetActor::missing(const std::vector<std::string>& keys) {
  std::vector<std::string> absent;
  for (const auto& key : keys) {
    if (!writer_.contains(key)) {
      absent.push_back(key);
    }
  }
  return absent;
}

std::vector<RowFate> DatasetActor::fates(const std::vector<std::string>& keys) {
  std::vector<RowFate> fates;
  for (const auto& key : keys) {
    fates.push_back(writer_.contains(key) ? RowFate::kWritten : RowFate::kUnknown);
  }
  return fates;
}

std::vector<RowFate> DatasetActor::append(const std::vector<datagen::Row>& rows) {
  for (const auto& row : rows) {
    writer_.append(row);
  }
  return std::vector<RowFate>(rows.size(), RowFate::kWritten);
}

std::uint64_t DatasetActor::finish() {
  writer_.finish();
  return writer_.size();
}

void register_dataset_actor() {
  runtime::actor_type<DatasetActor>("Dataset")
      .constructor<std::string, std::uint64_t>()
      .method<&DatasetActor::missing>("missing")
      .method<&DatasetActor::fates>("fates")
      .method<&DatasetActor::append>("append")
      .method<&DatasetActor::finish>("finish");
}

}  // namespace desta::actors
