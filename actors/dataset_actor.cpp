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

void DatasetActor::append(const std::vector<datagen::Row>& rows) {
  for (const auto& row : rows) {
    writer_.append(row);
  }
}

std::uint64_t DatasetActor::finish() {
  writer_.finish();
  return writer_.size();
}

void register_dataset_actor() {
  runtime::actor_type<DatasetActor>("Dataset")
      .constructor<std::string, std::uint64_t>()
      .method<&DatasetActor::missing>("missing")
      .method<&DatasetActor::append>("append")
      .method<&DatasetActor::finish>("finish");
}

}  // namespace desta::actors
