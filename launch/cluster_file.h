// A cluster as a plan needs it: one YAML file, so that one that is not there can be planned for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace desta::launch {

struct Cluster {
  std::string name;
  std::int64_t nodes = 1;
  std::int64_t ranks_per_node = 1;
  double memory_gib = 0;           // of a rank: GPU memory; 0: no limit
  double tflops = 1;               // dense, of a rank, in the models' precision
  double efficiency = 1;           // share of them that layers reach
  double node_gbytes = 1;          // GB/s from rank to rank within a node, one direction
  double node_latency_us = 0;
  double network_gbytes = 1;       // GB/s of a rank to other nodes, one direction
  double network_latency_us = 0;

  [[nodiscard]] std::int64_t ranks() const { return nodes * ranks_per_node; }
  [[nodiscard]] bool on_one_node(std::int64_t a, std::int64_t b) const {
    return a / ranks_per_node == b / ranks_per_node;
  }
  // Seconds that a message takes from one rank to another.
  [[nodiscard]] double message_seconds(double bytes, bool within_a_node) const {
    return within_a_node ? bytes / (node_gbytes * 1e9) + node_latency_us * 1e-6
                         : bytes / (network_gbytes * 1e9) + network_latency_us * 1e-6;
  }
};

// Throws ConfigError naming file, line and key.
[[nodiscard]] Cluster load_cluster(const std::filesystem::path& path);

}  // namespace desta::launch
