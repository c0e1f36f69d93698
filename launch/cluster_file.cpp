#include "launch/cluster_file.h"

#include "launch/yaml_reader.h"

namespace desta::launch {

Cluster load_cluster(const std::filesystem::path& path) {
  Cluster cluster;
  YamlReader reader(load_yaml_map(path), path.string(), {});
  reader.value("name", cluster.name);
  reader.value("nodes", cluster.nodes);
  reader.value("ranks_per_node", cluster.ranks_per_node);
  reader.value("memory_gib", cluster.memory_gib);
  reader.value("tflops", cluster.tflops);
  reader.value("efficiency", cluster.efficiency);
  reader.section("node", [&] {
    reader.value("gbytes_per_second", cluster.node_gbytes);
    reader.value("latency_us", cluster.node_latency_us);
  });
  reader.section("network", [&] {
    reader.value("gbytes_per_second", cluster.network_gbytes);
    reader.value("latency_us", cluster.network_latency_us);
  });
  reader.finish();
  reader.require("nodes", cluster.nodes >= 1, "1 or more");
  reader.require("ranks_per_node", cluster.ranks_per_node >= 1, "1 or more");
  reader.require("memory_gib", cluster.memory_gib >= 0, "0 or more");
  reader.require("tflops", cluster.tflops > 0, "more than 0");
  reader.require("efficiency", cluster.efficiency > 0 && cluster.efficiency <= 1,
                 "more than 0 and at most 1");
  reader.require("node.gbytes_per_second", cluster.node_gbytes > 0, "more than 0");
  reader.require("network.gbytes_per_second", cluster.network_gbytes > 0, "more than 0");
  reader.require("node.latency_us", cluster.node_latency_us >= 0, "0 or more");
  reader.require("network.latency_us", cluster.network_latency_us >= 0, "0 or more");
  if (cluster.name.empty()) {
    cluster.name = path.stem().string();
  }
  return cluster;
}

}  // namespace desta::launch
