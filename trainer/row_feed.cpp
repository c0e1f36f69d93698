#include "trainer/row_feed.h"

#include <utility>

#include "runtime/core/error.h"

namespace desta::trainer {

void RowFeed::put(std::int64_t step, std::vector<datagen::Row> rows, std::int64_t oldest) {
  if (static_cast<std::int64_t>(rows.size()) != step_rows_) {
    throw runtime::InternalError("step {} is fed {} rows, not {}", step, rows.size(), step_rows_);
  }
  steps_.erase(steps_.begin(), steps_.lower_bound(oldest));
  steps_.try_emplace(step, std::move(rows));
}

const datagen::Row& RowFeed::row(std::size_t number) const {
  const auto step = steps_.find(static_cast<std::int64_t>(number) / step_rows_);
  if (step == steps_.end()) {
    throw runtime::InternalError("row {} is of a step that has not been fed", number);
  }
  return step->second[number % static_cast<std::size_t>(step_rows_)];
}

}  // namespace desta::trainer
