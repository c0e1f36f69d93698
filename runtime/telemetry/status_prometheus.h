// The snapshot in Prometheus' text format: what the status server answers to /metrics.
#pragma once

#include <string>
#include <string_view>

#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

// Text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Nodes have a series
// each; actors are summed by their type, and counted by type and state, so that the number of
// series does not grow with the number of actors:
//
//   desta_uptime_seconds                     gauge
//   desta_calls_total                        counter   finished calls of all actors
//   desta_calls_per_second                   gauge
//   desta_hang                               gauge     1 while a hang is reported
//   desta_nodes{kind,state}                  gauge     how many
//   desta_node_cpus{node,host}               gauge     what it has; _free: what is left of it
//   desta_node_gpus{node,host}               gauge
//   desta_node_memory_bytes{node,host}       gauge
//   desta_node_heartbeat_age_seconds{node,host}  gauge
//   desta_actors{type,state}                 gauge     how many
//   desta_actor_pending_calls{type}          gauge     waiting or running
//   desta_actor_longest_running_seconds{type}    gauge  the call that runs for longest now
//   desta_actor_calls_total{type}            counter
//   desta_actor_failures_total{type}         counter   calls that threw
//   desta_actor_restarts_total{type}         counter
//   desta_job_gauge{name}                    gauge     what the job publishes
[[nodiscard]] std::string to_prometheus(const SystemSnapshot& snapshot);

}  // namespace desta::runtime
