#include "trainer/schedule_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kColumns = "rank,stage,op,microbatch";
constexpr Op kOps[] = {Op::kReceiveForward, Op::kForward,      Op::kSendForward, Op::kReceiveBackward,
                       Op::kBackward,       Op::kSendBackward, Op::kReduce,      Op::kStep};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::optional<std::int64_t> parse_number(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size() && number >= 0;
  return whole ? std::optional(number) : std::nullopt;
}

std::optional<Op> parse_op(std::string_view text) {
  for (const Op op : kOps) {
    if (name_of(op) == text) {
      return op;
    }
  }
  return std::nullopt;
}

// Four cells; what is missing is empty.
std::array<std::string_view, 4> cells_of(std::string_view line) {
  std::array<std::string_view, 4> cells;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto comma = i + 1 < cells.size() ? line.find(',') : std::string_view::npos;
    cells[i] = trimmed(line.substr(0, comma));
    line = comma == std::string_view::npos ? std::string_view() : line.substr(comma + 1);
  }
  return cells;
}

bool has_several_trials(const Schedule& schedule) {
  return std::ranges::any_of(schedule.ranks, [](const RankTable& table) {
    return std::ranges::any_of(table, [](const Action& action) { return action.trial > 0; });
  });
}

}  // namespace

std::string to_csv(const Schedule& schedule) {
  const bool several = has_several_trials(schedule);
  std::string csv = fmt::format("{}{}\n", kColumns, several ? ",trial" : "");
  for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    for (const Action& action : schedule.ranks[rank]) {
      csv += fmt::format("{},{},{},{}{}\n", rank, action.stage, name_of(action.op), action.microbatch,
                         several ? fmt::format(",{}", action.trial) : "");
    }
  }
  return csv;
}

Schedule read_schedule(const fs::path& file, const ScheduleShape& shape) {
  std::ifstream stream(file);
  if (!stream) {
    throw runtime::ConfigError("{}: cannot be read; pipeline.schedule names it", file.string());
  }
  Schedule schedule;
  schedule.ranks.resize(static_cast<std::size_t>(shape.ranks));
  std::string line;
  for (std::int64_t number = 1; std::getline(stream, line); ++number) {
    const std::string_view text = trimmed(line);
    if (text.empty() || text.front() == '#' || text == kColumns) {
      continue;
    }
    const auto cells = cells_of(text);
    const auto rank = parse_number(cells[0]);
    const auto stage = parse_number(cells[1]);
    const auto op = parse_op(cells[2]);
    const auto microbatch = parse_number(cells[3]);
    if (!rank || !stage || !op || !microbatch) {
      throw runtime::ConfigError("{}:{}: '{}' is not an action; write {}, such as 0,0,forward,3",
                                 file.string(), number, text, kColumns);
    }
    if (*rank >= shape.ranks) {
      throw runtime::ConfigError("{}:{}: rank {} is not there; the pipeline has {}", file.string(),
                                 number, *rank, shape.ranks);
    }
    schedule.ranks[static_cast<std::size_t>(*rank)].push_back(
        {*op, *microbatch, *stage, shape.trial});
  }
  check_schedule(schedule, shape, file.string());
  return schedule;
}

std::string to_text(const Schedule& schedule) {
  const auto ranks = static_cast<std::int64_t>(schedule.ranks.size());
  bool several = false;
  for (const RankTable& table : schedule.ranks) {
    for (const Action& action : table) {
      several = several || action.stage >= ranks;
    }
  }
  const bool trials = has_several_trials(schedule);
  std::string text;
  for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    text += fmt::format("rank {} |", rank);
    for (const Action& action : schedule.ranks[rank]) {
      if (action.op == Op::kForward || action.op == Op::kBackward) {
        text += fmt::format(" {}{}{}", action.op == Op::kForward ? 'F' : 'B',
                            trials ? fmt::format("{}:", action.trial) : "", action.microbatch);
        text += several ? fmt::format(".{}", action.stage / ranks) : "";
      }
    }
    text += '\n';
  }
  return text;
}

Schedule make_schedule(const std::string& name, const ScheduleShape& shape) {
  return fs::path(name).extension() == ".csv" ? read_schedule(name, shape)
                                              : training_schedule(name, shape);
}

}  // namespace desta::trainer
