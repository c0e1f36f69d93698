// The file that describes a sweep: which settings are tried, with which seeds, compared with what.
// It is read strictly, as configurations are: unknown keys are errors that suggest the nearest
// known one. launch/sweeps.md is its reference.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace desta::launch {

// One configuration key and what it is set to.
struct Setting {
  std::string key;    // "optimizer.learning_rate"
  std::string value;  // YAML on one line
  int line = 0;       // of the sweep file; 0: from the command line
};

// One of the things that are compared: everything about a trial but its seed.
struct Condition {
  std::string name;  // "descriptive, adapter.queries=8"
  std::vector<Setting> settings;
};

struct SweepFile {
  std::filesystem::path path;
  std::string text;  // the file as it is
  std::string name;
  std::filesystem::path base;  // the configuration that every trial starts from
  std::filesystem::path folder;
  std::vector<Setting> set;           // for every trial
  std::vector<Condition> conditions;  // list x paired x grid, in the order of the file
  std::vector<std::uint64_t> seeds;   // empty: the base's run.seed
  std::string baseline;               // a condition; empty: nothing is compared
  std::int64_t rounds = 1;
  std::int64_t together = 1;  // trials in one job at most
  std::int64_t ranks = 0;  // of data generation and evaluation; 0: as many as training has
  std::string launcher = "mpirun -n {ranks}";
};

// A value on one line, as the right side of key.path=value.
[[nodiscard]] std::string flow_yaml(const YAML::Node& value);

// Throws ConfigError naming file, line and key.
[[nodiscard]] SweepFile read_sweep_file(const std::filesystem::path& path);

}  // namespace desta::launch
