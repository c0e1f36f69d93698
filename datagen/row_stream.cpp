#include "datagen/row_stream.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::datagen {

RowStream::RowStream(std::vector<std::string> ids, const StreamOptions& options,
                     const std::filesystem::path& record)
    : ids_(std::move(ids)),
      options_(options),
      states_(ids_.size(), State::kPlanned),
      record_file_(record),
      used_(ids_.size()),
      open_(ids_.size()) {
  if (static_cast<std::int64_t>(ids_.size()) < options_.step_rows) {
    throw runtime::ConfigError(
        "{} rows are planned, fewer than batch.global_size ({}); plan more data or a smaller batch",
        ids_.size(), options_.step_rows);
  }
  if (!record.empty()) {
    read_record(record);
    record_.emplace(record);
  }
  missing_used_ = static_cast<std::size_t>(std::ranges::count(used_, true));
  for (const bool used : {true, false}) {
    for (std::size_t row = 0; row < ids_.size(); ++row) {
      if (used_[row] == used) {
        to_write_.push_back(row);
      }
    }
  }
}

void RowStream::read_record(const std::filesystem::path& record) {
  std::ifstream in(record);
  if (!in) {
    return;
  }
  std::unordered_map<std::string, std::size_t> numbers;
  for (std::size_t row = 0; row < ids_.size(); ++row) {
    numbers[ids_[row]] = row;
  }
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_discarded()) {
      continue;  // a killed run has not finished it: that step was not made
    }
    Step step;
    try {
      step.epoch = json.at("epoch").get<std::int64_t>();
      if (json.at("step").get<std::size_t>() != steps_.size()) {
        throw runtime::DataError("{}:{}: step {} stands where {} should; remove the run folder to start "
                                 "over",
                                 record.string(), number, json.at("step").dump(), steps_.size());
      }
      for (const auto& id : json.at("rows")) {
        const auto found = numbers.find(id.get<std::string>());
        if (found == numbers.end()) {
          throw runtime::ConfigError(
              "{}:{}: row {} of step {} is none that this configuration makes: it was written with other "
              "data, prompts or generation settings; use another run.folder",
              record.string(), number, id.dump(), steps_.size());
        }
        step.rows.push_back(found->second);
      }
    } catch (const nlohmann::json::exception& error) {
      throw runtime::DataError("{}:{}: no record of a step: {}", record.string(), number, error.what());
    }
    epoch_steps_ = !steps_.empty() && steps_.back().epoch == step.epoch ? epoch_steps_ + 1 : 1;
    for (const auto row : step.rows) {
      used_[row] = true;
    }
    steps_.push_back(std::move(step));
  }
}

std::int64_t RowStream::steps_per_epoch() const {
  return static_cast<std::int64_t>(ids_.size()) / options_.step_rows;
}

// What recorded steps need is written first.
void RowStream::start_at(std::int64_t step) {
  for (std::size_t i = steps_.size(); i > static_cast<std::size_t>(step); --i) {
    const auto& rows = steps_[i - 1].rows;
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
      if (states_[*row] == State::kPlanned) {
        std::erase(to_write_, *row);
        to_write_.push_front(*row);
      }
    }
  }
}

std::vector<std::size_t> RowStream::take(std::size_t most) {
  std::vector<std::size_t> rows;
  while (rows.size() < most && !to_write_.empty()) {
    const std::size_t row = to_write_.front();
    const auto waiting = static_cast<std::int64_t>(unused_.size() + taken_);
    if (!used_[row] && (missing_used_ > 0 || waiting >= options_.ahead_rows)) {
      break;
    }
    to_write_.pop_front();
    if (states_[row] != State::kPlanned) {
      continue;  // it is there already
    }
    states_[row] = State::kTaken;
    ++taken_;
    rows.push_back(row);
  }
  return rows;
}

void RowStream::give_back(const std::vector<std::size_t>& rows) {
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    if (states_[*row] == State::kTaken) {
      states_[*row] = State::kPlanned;
      --taken_;
      to_write_.push_front(*row);
    }
  }
}

void RowStream::accept(std::size_t row) {
  if (states_[row] == State::kThere || states_[row] == State::kNever) {
    return;
  }
  taken_ -= states_[row] == State::kTaken ? 1 : 0;
  states_[row] = State::kThere;
  --open_;
  ++accepted_;
  if (used_[row]) {
    --missing_used_;
  } else {
    unused_.push_back(row);
  }
}

void RowStream::reject(std::size_t row) {
  if (states_[row] == State::kThere || states_[row] == State::kNever) {
    return;
  }
  if (used_[row]) {
    throw runtime::DataError("{}: row {} made a step of this run and is refused by a filter now; use the filters "
                             "that the run began with, or another run.folder",
                             record_file_.string(), ids_[row]);
  }
  taken_ -= states_[row] == State::kTaken ? 1 : 0;
  states_[row] = State::kNever;
  --open_;
}

std::size_t RowStream::missing_for(std::int64_t step) const {
  if (step < static_cast<std::int64_t>(steps_.size())) {
    const auto& rows = steps_[static_cast<std::size_t>(step)].rows;
    return static_cast<std::size_t>(
        std::ranges::count_if(rows, [&](std::size_t row) { return !is_there(row); }));
  }
  if (is_complete()) {
    return 0;
  }
  const std::int64_t wanted =
      std::max(options_.step_rows, steps_.empty() ? options_.start_rows : std::int64_t{0});
  return static_cast<std::size_t>(
      std::max<std::int64_t>(0, wanted - static_cast<std::int64_t>(unused_.size())));
}

bool RowStream::has(std::int64_t step) const { return missing_for(step) == 0; }

std::vector<std::size_t> RowStream::order_of(std::int64_t epoch) const {
  std::vector<std::size_t> order;
  for (std::size_t row = 0; row < ids_.size(); ++row) {
    if (is_there(row)) {
      order.push_back(row);
    }
  }
  std::ranges::sort(order, {}, [&](std::size_t row) -> const std::string& { return ids_[row]; });
  runtime::Random random(runtime::mix_seed(options_.seed, static_cast<std::uint64_t>(epoch)));
  random.shuffle(order);
  return order;
}

RowStream::Step RowStream::next_step() {
  const auto wanted = static_cast<std::size_t>(options_.step_rows);
  Step step{steps_.empty() ? 0 : steps_.back().epoch, {}};
  if (step.epoch == 0 && unused_.size() >= wanted) {
    step.rows.assign(unused_.begin(), unused_.begin() + options_.step_rows);
    unused_.erase(unused_.begin(), unused_.begin() + options_.step_rows);
    return step;
  }
  if (accepted_ < wanted) {
    throw runtime::DataError("only {} of {} planned rows came to be, the filters refused the others: fewer "
                             "than batch.global_size ({})",
                             accepted_, ids_.size(), options_.step_rows);
  }
  const auto in_epoch = static_cast<std::int64_t>(accepted_) / options_.step_rows;
  if (step.epoch == 0 || epoch_steps_ >= in_epoch) {
    ++step.epoch;
    epoch_steps_ = 0;
  }
  if (order_epoch_ != step.epoch) {
    order_ = order_of(step.epoch);
    order_epoch_ = step.epoch;
  }
  const auto begin = order_.begin() + epoch_steps_ * options_.step_rows;
  step.rows.assign(begin, begin + options_.step_rows);
  return step;
}

std::vector<std::size_t> RowStream::rows_of(std::int64_t step) {
  const auto number = static_cast<std::size_t>(step);
  if (number > steps_.size() || !has(step)) {
    throw runtime::InternalError("rows of step {} were asked for before they are there", step);
  }
  if (number == steps_.size()) {
    Step next = next_step();
    for (const auto row : next.rows) {
      used_[row] = true;
    }
    if (record_.has_value()) {
      std::vector<std::string> ids;
      for (const auto row : next.rows) {
        ids.push_back(ids_[row]);
      }
      record_->write({{"step", step}, {"epoch", next.epoch}, {"rows", ids}});
    }
    steps_.push_back(std::move(next));
    ++epoch_steps_;
  }
  return steps_[number].rows;
}

}  // namespace desta::datagen
