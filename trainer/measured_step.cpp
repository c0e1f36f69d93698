#include "trainer/measured_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "trainer/median.h"

namespace desta::trainer {
namespace {

struct Span {
  std::string name;
  double begin = 0;  // seconds
  double end = 0;
};

struct RankSpans {
  std::vector<Span> actions;  // of the tables, in order of their beginning
  std::vector<Span> fills;    // what ran while actions waited, or behind them
};

RankSpans read_spans(const std::filesystem::path& file) {
  if (!std::filesystem::is_regular_file(file)) {
    throw runtime::DataError("{}: no such trace; run desta-train with run.trace true and to its end",
                             file.string());
  }
  const auto json = nlohmann::json::parse(runtime::read_file(file), nullptr, false);
  if (!json.is_object() || !json.contains("traceEvents")) {
    throw runtime::DataError("{}: not a trace", file.string());
  }
  RankSpans spans;
  try {
    for (const auto& event : json["traceEvents"]) {
      if (event.value("cat", "") == "pipeline") {
        const double begin = event.at("ts").get<double>() * 1e-6;
        auto& list = event.at("name") == "look ahead" ? spans.fills : spans.actions;
        list.push_back({event.at("name"), begin, begin + event.at("dur").get<double>() * 1e-6});
      }
    }
  } catch (const nlohmann::json::exception& error) {
    throw runtime::DataError("{}: not a trace: {}", file.string(), error.what());
  }
  // Stable: of two at one moment, a thread's first stands first.
  std::ranges::stable_sort(spans.actions, {}, &Span::begin);
  std::ranges::stable_sort(spans.fills, {}, &Span::begin);
  return spans;
}

// One rank's part of a step, in seconds.
struct OwnStep {
  double work = 0;
  double length = 0;  // from its first action to the end of its last
  double behind = 0;  // of filling, behind that
};

// Of fills that began within [begin, end).
double seconds_of(const std::vector<Span>& fills, double begin, double end) {
  double seconds = 0;
  for (auto fill = std::ranges::lower_bound(fills, begin, {}, &Span::begin);
       fill != fills.end() && fill->begin < end; ++fill) {
    seconds += std::min(fill->end, end) - fill->begin;
  }
  return seconds;
}

// When each action of a step was sent, or had come.
using Moments = std::map<std::tuple<Op, std::int64_t, std::int64_t, std::int64_t>, double>;

// What a rank's clock must be ahead of its neighbour's in front, at least and at most.
struct Ahead {
  std::optional<double> least;
  std::optional<double> most;

  [[nodiscard]] double likeliest() const {
    return least.has_value() && most.has_value() ? (*least + *most) / 2 : least.value_or(most.value_or(0));
  }
};

// By rank: what is to be added to its times, so that they are the first rank's.
std::vector<double> clock_differences(const Schedule& schedule, const std::vector<RankSpans>& spans) {
  std::vector<double> differences(schedule.ranks.size(), 0);
  const auto moments_of = [&](std::size_t rank, std::size_t step) {
    const RankTable& table = schedule.ranks[rank];
    Moments moments;
    for (std::size_t i = 0; i < table.size(); ++i) {
      const Action& action = table[i];
      const Span& span = spans[rank].actions[step * table.size() + i];
      const bool comes = action.op == Op::kReceiveForward || action.op == Op::kReceiveBackward;
      moments[{action.op, action.stage, action.trial, action.microbatch}] = comes ? span.end : span.begin;
    }
    return moments;
  };
  for (std::size_t rank = 1; rank < differences.size(); ++rank) {
    Ahead ahead;
    const std::size_t steps = spans[rank].actions.size() / schedule.ranks[rank].size();
    for (std::size_t step = 1; step < steps; ++step) {
      const Moments front = moments_of(rank - 1, step);
      const Moments back = moments_of(rank, step);
      for (const auto& [key, sent] : front) {
        const auto& [op, stage, trial, microbatch] = key;
        if (const auto came = back.find({Op::kReceiveForward, stage + 1, trial, microbatch});
            op == Op::kSendForward && came != back.end()) {
          ahead.least = std::max(ahead.least.value_or(sent - came->second), sent - came->second);
        }
      }
      for (const auto& [key, sent] : back) {
        const auto& [op, stage, trial, microbatch] = key;
        if (const auto came = front.find({Op::kReceiveBackward, stage - 1, trial, microbatch});
            op == Op::kSendBackward && came != front.end()) {
          ahead.most = std::min(ahead.most.value_or(came->second - sent), came->second - sent);
        }
      }
    }
    differences[rank] = differences[rank - 1] + ahead.likeliest();
  }
  return differences;
}

// One step of all ranks, on the first rank's clock and from its first pass on.
std::vector<std::vector<TimedAction>> timeline_of(const Schedule& schedule, const std::vector<RankSpans>& spans,
                                                  std::size_t step) {
  const std::vector<double> differences = clock_differences(schedule, spans);
  std::vector<std::vector<TimedAction>> timeline(schedule.ranks.size());
  double first = std::numeric_limits<double>::infinity();
  for (std::size_t rank = 0; rank < timeline.size(); ++rank) {
    const RankTable& table = schedule.ranks[rank];
    for (std::size_t i = 0; i < table.size(); ++i) {
      const Span& span = spans[rank].actions[step * table.size() + i];
      timeline[rank].push_back({table[i], span.begin + differences[rank], span.end + differences[rank]});
      if (table[i].op == Op::kForward) {
        first = std::min(first, timeline[rank].back().begin);
      }
    }
  }
  for (auto& rank : timeline) {
    for (TimedAction& timed : rank) {
      timed.begin -= first;
      timed.end -= first;
    }
  }
  return timeline;
}

}  // namespace

double MeasuredStep::bubble() const {
  const double all = seconds * static_cast<double>(busy.size());
  return all > 0 ? 1.0 - std::accumulate(busy.begin(), busy.end(), 0.0) / all : 0.0;
}

MeasuredStep read_measured_step(const std::filesystem::path& folder, const Schedule& schedule) {
  MeasuredStep measured;
  std::vector<double> longest;                                    // by step
  std::map<std::tuple<std::int64_t, Op>, std::vector<double>> passes;  // by stage
  std::vector<double> finishes;
  std::vector<std::vector<OwnStep>> own(schedule.ranks.size());
  std::vector<RankSpans> all;  // by rank
  for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    const auto file = folder / (rank == 0 ? "trace.json" : fmt::format("trace-rank{}.json", rank));
    const RankTable& table = schedule.ranks[rank];
    const RankSpans& spans = all.emplace_back(read_spans(file));
    const std::vector<Span>& actions = spans.actions;
    const std::size_t steps = actions.size() / table.size();
    if (steps < 2 || actions.size() % table.size() != 0) {
      throw runtime::DataError("{}: {} actions are not two or more steps of {}; is it a run of this "
                               "schedule, with training.validate_every 0?",
                               file.string(), actions.size(), table.size());
    }
    if (rank > 0 && steps != longest.size()) {
      throw runtime::DataError("{}: {} steps, but trace.json has {}: they are not of one run",
                               file.string(), steps, longest.size());
    }
    longest.resize(steps, 0);
    own[rank].resize(steps);
    for (std::size_t step = 1; step < steps; ++step) {
      double work = 0;
      double finish = 0;
      for (std::size_t i = 0; i < table.size(); ++i) {
        const Span& span = actions[step * table.size() + i];
        const Action& action = table[i];
        if (span.name != name_of(action.op)) {
          throw runtime::DataError("{}: action {} of step {} is '{}', but the schedule has '{}'",
                                   file.string(), i + 1, step + 1, span.name, name_of(action.op));
        }
        const double seconds = span.end - span.begin;
        switch (action.op) {
          case Op::kForward:
          case Op::kBackward:
            passes[{action.stage, action.op}].push_back(seconds);
            work += seconds;
            break;
          case Op::kReduce:
          case Op::kStep:
            finish += seconds;
            work += seconds;
            break;
          default:
            work += seconds_of(spans.fills, span.begin, span.end);
            break;
        }
      }
      if (finish > 0) {
        finishes.push_back(finish);
      }
      const Span& first = actions[step * table.size()];
      const Span& last = actions[(step + 1) * table.size() - 1];
      const double next = step + 1 < steps ? actions[(step + 1) * table.size()].begin
                                           : std::numeric_limits<double>::infinity();
      own[rank][step] = {work, last.end - first.begin, seconds_of(spans.fills, last.end, next)};
      longest[step] = std::max(longest[step], last.end - first.begin);
    }
    measured.steps = static_cast<std::int64_t>(steps) - 1;
  }
  for (const std::vector<OwnStep>& steps : own) {
    std::vector<double> busy;
    for (std::size_t step = 1; step < steps.size(); ++step) {
      // What a rank does behind its table counts as long as others are in the step.
      busy.push_back(steps[step].work +
                     std::min(steps[step].behind, longest[step] - steps[step].length));
    }
    measured.busy.push_back(median(std::move(busy)));
  }
  const std::vector<double> lengths(longest.begin() + 1, longest.end());
  measured.seconds = median(lengths);
  const auto usual = std::ranges::min_element(
      lengths, {}, [&](double length) { return std::abs(length - measured.seconds); });
  measured.timeline = timeline_of(schedule, all, static_cast<std::size_t>(usual - lengths.begin()) + 1);
  measured.finish = median(std::move(finishes));
  const std::int64_t stages = std::get<0>(passes.rbegin()->first) + 1;
  for (std::int64_t stage = 0; stage < stages; ++stage) {
    measured.costs.push_back({.forward = median(passes[{stage, Op::kForward}]),
                              .backward = median(passes[{stage, Op::kBackward}])});
  }
  return measured;
}

Simulation as_played(const MeasuredStep& measured) {
  Simulation played;
  played.timeline = measured.timeline;
  for (const auto& rank : measured.timeline) {
    double busy = 0;
    for (const TimedAction& timed : rank) {
      const Op op = timed.action.op;
      if (op == Op::kForward || op == Op::kBackward || op == Op::kReduce || op == Op::kStep) {
        busy += timed.end - timed.begin;
      }
      played.step_time = std::max(played.step_time, timed.end);
    }
    played.busy.push_back(busy);
  }
  return played;
}

}  // namespace desta::trainer
