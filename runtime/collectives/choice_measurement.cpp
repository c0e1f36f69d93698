#include "runtime/collectives/choice_measurement.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/file_lock.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// Sizes that are measured; each stands for those up to four times as large.
constexpr std::size_t kSizes[] = {1 << 10, 16 << 10, 256 << 10, 4 << 20};
constexpr std::size_t kReach = 4;
// Runs of each, of which the fastest counts: the machine may be busy with other things.
constexpr int kRuns = 5;
// No further size is begun after this. The sizes left out go by the largest one measured.
constexpr std::chrono::milliseconds kBudget{300};
// What is faster by less than this is noise, and the default stays.
constexpr double kMargin = 0.9;

// For another job that writes the same file; after it the file is written all the same.
constexpr std::chrono::milliseconds kPatience{500};

nlohmann::ordered_json read_tables(const std::filesystem::path& file) {
  std::ifstream in(file);
  auto tables = nlohmann::ordered_json::parse(in, nullptr, false);
  return tables.is_object() ? tables : nlohmann::ordered_json::object();
}

// The table that the file has for the key, if it is one that can be run; empty otherwise.
std::string find_table(const std::filesystem::path& file, const std::string& key,
                       const Topology& topology) {
  const auto tables = read_tables(file);
  const auto found = tables.find(key);
  if (found == tables.end() || !found->is_string()) {
    return {};
  }
  const auto text = found->get<std::string>();
  try {
    (void)ChoiceTable::parse(text, topology);
  } catch (const ConfigError& error) {
    log().warn("{}: measured again: {}", file.string(), error.what());
    return {};
  }
  return text;
}

void keep_table(const std::filesystem::path& file, const std::string& key,
                const std::string& table) {
  try {
    std::filesystem::create_directories(file.parent_path());
    const auto lock =
        FileLock::try_take(file.string() + ".lock", FileLock::Inherit::kNo, kPatience);
    auto tables = read_tables(file);
    tables[key] = table;
    write_file_atomically(file, tables.dump(2) + "\n");
  } catch (const std::exception& error) {
    log().warn("the measured collective algorithms are not kept: {}", error.what());
  }
}

// Rank 0's text, on every rank.
std::string from_rank_0(PeerGroup& everyone, const std::string& text, const Operation& operation) {
  return everyone.gather(everyone.rank() == 0 ? text : "", operation).front();
}

// The fastest run of an algorithm, in seconds, as this rank sees it.
double time_of(Algorithm algorithm, std::vector<float>& data, std::size_t bytes,
               const RunAlgorithm& run) {
  double fastest = 1e9;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = Clock::now();
    run(algorithm, {data.data(), data.data(), bytes / sizeof(float), {}});
    fastest = std::min(fastest, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return fastest;
}

// Recursive doubling is for short messages alone: it saves steps and sends twice the bytes or more,
// which costs whoever shares the links even where this job's own time does not tell.
bool is_meant_for(Algorithm algorithm, std::size_t bytes) {
  return algorithm.flat != Flat::kRecursiveDoubling || bytes <= (16 << 10);
}

ChoiceTable measure(const std::vector<Algorithm>& algorithms, PeerGroup& everyone,
                    const Operation& operation, const RunAlgorithm& run) {
  std::vector<ChoiceTable::Row> rows;
  std::vector<float> data(kSizes[std::size(kSizes) - 1] / sizeof(float));
  const auto start = Clock::now();
  for (const std::size_t size : kSizes) {
    if (from_rank_0(everyone, Clock::now() - start < kBudget ? "on" : "", operation).empty()) {
      break;
    }
    Algorithm best = algorithms.front();
    double shortest = kMargin * time_of(best, data, size, run);
    for (std::size_t i = 1; i < algorithms.size(); ++i) {
      if (!is_meant_for(algorithms[i], size)) {
        continue;
      }
      if (const double time = time_of(algorithms[i], data, size, run); time < shortest) {
        best = algorithms[i];
        shortest = time;
      }
    }
    rows.push_back({size * kReach, best});
  }
  rows.back().up_to = SIZE_MAX;
  return ChoiceTable(rows);
}

}  // namespace

ChoiceTable measured_choice(const Topology& topology, PeerGroup& everyone, bool fastest,
                            const std::filesystem::path& file, const Operation& operation,
                            const RunAlgorithm& run) {
  const auto algorithms = candidates(topology, !fastest);
  if (algorithms.size() == 1) {
    return ChoiceTable(algorithms.front());
  }
  const bool decides = everyone.rank() == 0;
  const std::string key = fmt::format("{}: {}", fastest ? "fastest" : "auto", topology.text());
  std::string text;
  if (decides && !file.empty()) {
    text = find_table(file, key, topology);
  }
  text = from_rank_0(everyone, text, operation);
  if (text.empty()) {
    text = measure(algorithms, everyone, operation, run).text(topology);
    text = from_rank_0(everyone, text, operation);
    if (decides && !file.empty()) {
      keep_table(file, key, text);
    }
  }
  return ChoiceTable::parse(text, topology);
}

}  // namespace desta::runtime
