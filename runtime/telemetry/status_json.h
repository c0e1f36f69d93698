// The snapshot as JSON: what the status server answers to /state.
#pragma once

#include <string>

#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

// One object on one line, UTF-8; bytes that are not UTF-8 become U+FFFD, and numbers that are not
// finite become null. Its fields, all of them always there:
//
//   time              seconds since 1970 at which the snapshot was taken
//   uptime            seconds since the job started
//   calls             calls of all actors that are finished, ever
//   calls_per_second  the same as a rate, since the snapshot before
//   gauges            object: what the job publishes, by name ("samples_per_second": 12.5)
//   hang              null, or an object:
//     culprit           who all wait for, in words
//     waiting           array of words: the calls that wait for it, the first victim last
//   nodes             array of objects, in the order of the snapshot:
//     node              its number
//     kind              "rank" or "joined"
//     state             "alive", "silent" (no heartbeat for longer than it should be) or "dead"
//     host              its machine
//     process           its process id there
//     total, free       objects: cpu (cores), gpu (devices), memory (bytes)
//     seconds_since_heartbeat
//     death_cause       "" unless dead
//   actors            array of objects, in the order of the snapshot:
//     name, type
//     node              the number of its node
//     state             "starting", "idle", "busy", "restarting" or "dead"
//     calls             finished ones, failed ones too
//     failures          calls that threw
//     restarts
//     pending           calls that wait or run now
//     death_cause       "" unless dead
//     owner             the actor that spawned it; "" for a program
//     running           the method that runs now; "" for none
//     running_seconds   for how long
[[nodiscard]] std::string to_json(const SystemSnapshot& snapshot);

// `text` with U+FFFD for what is not UTF-8.
[[nodiscard]] std::string valid_utf8(const std::string& text);

}  // namespace desta::runtime
