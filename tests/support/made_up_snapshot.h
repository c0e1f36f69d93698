// The state of a job that never ran: two replicas in trouble, for what shows states.
#pragma once

#include "runtime/telemetry/snapshot.h"

namespace desta::testing {

// 5 nodes on 3 hosts (node 3 silent, node 4 joined and dead), 30 actors (one dead, one restarting,
// one that is called like a script), a hang report and three gauges.
[[nodiscard]] runtime::SystemSnapshot made_up_snapshot();

// A name that would set the document's title if it were taken for markup.
inline constexpr const char* kScriptName =
    "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>";

}  // namespace desta::testing
