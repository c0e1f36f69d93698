// What a sweep file comes to: its trials, each with its whole configuration, and the shared data
// that they need. A plan is a value that goes into a file: whoever runs a trial later, in another
// process or on another node, runs what was planned, whatever has become of the sweep file.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/sweep_file.h"

namespace desta::launch {

struct Trial {
  std::size_t index = 0;
  std::string id;  // "descriptive-seed1-3fa2c1": condition, seed, hash of the configuration
  std::string condition;
  std::uint64_t seed = 0;
  std::vector<Setting> settings;  // what differs between conditions
  std::string config;             // whole, as YAML
  std::string data_key;           // of the data generation that it needs; empty: none
  std::string data_folder;
  std::int64_t steps = 0;        // of a round; 0: as many as the epochs have
  std::int64_t train_ranks = 1;  // stages x replicas
  std::int64_t other_ranks = 1;  // of data generation and evaluation
  std::size_t job = 0;           // index of the first of the trials that are trained together with it

  [[nodiscard]] std::int64_t ranks() const { return std::max(train_ranks, other_ranks); }
};

struct Plan {
  std::string name;
  std::filesystem::path folder;
  std::string sweep_text;               // the sweep file as it was
  std::vector<std::string> conditions;  // in the order of the file
  std::string baseline;
  std::int64_t rounds = 1;
  std::string launcher;
  PreemptionOptions preemption;  // of the sweep itself; trials never ask for a requeue
  std::vector<Trial> trials;

  [[nodiscard]] std::filesystem::path trial_folder(const Trial& trial) const {
    return folder / "trials" / trial.id;
  }
  // The run folder of a round, counted from 1.
  [[nodiscard]] std::filesystem::path run_folder(const Trial& trial, std::int64_t round) const {
    return trial_folder(trial) / (rounds == 1 ? "run" : "round-" + std::to_string(round));
  }
  // The trials of one job, the first included.
  [[nodiscard]] std::vector<const Trial*> job(std::size_t first) const;
  // One trial for each data generation that the sweep needs.
  [[nodiscard]] std::vector<const Trial*> data_jobs() const;
};

// `overrides` ("key.path=value") hold for every trial and are part of its identity. Throws
// ConfigError naming the sweep file, the line and the trial that a bad value belongs to.
[[nodiscard]] Plan make_plan(const SweepFile& file, const std::vector<std::string>& overrides);

// The plan in a file of the sweep's folder, named after its contents. Throws InternalError when it
// cannot be written.
std::filesystem::path save_plan(const Plan& plan);

// Throws DataError when the file is not what save_plan wrote.
[[nodiscard]] Plan load_plan(const std::filesystem::path& path);

}  // namespace desta::launch
