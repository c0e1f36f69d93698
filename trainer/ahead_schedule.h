// A schedule for models of which a part never learns: the encoder works ahead of the rest. Each rank holds a
// piece of the encoder (stages 0 to ranks - 1) and a piece of the rest, from the adapter on (stages ranks to
// 2 ranks - 1). In a step, the rest does this step's microbatches, one forward, one backward; where a rank
// would wait for another, its piece of the encoder does the next step's, and at the beginning, where later
// ranks wait longest, the last ones of this step. All of it is exact, for the encoder does not change.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "trainer/schedule.h"
#include "trainer/simulator.h"

namespace desta::trainer {

inline constexpr std::string_view kAhead = "ahead";

struct AheadTables {
  // A step's table. Microbatches from shape.microbatches on are the next step's, counted on; the table ends
  // with receiving what the next one begins with.
  Schedule step;
  Schedule last;      // the same of a step behind which there is none
  Schedule catch_up;  // goes in front where no step came before: the encoder's passes that one would have done
};

// Passes of the encoder stand where a rank whose passes take so long as `costs` says (by stage) has nothing else
// to do; what could be done holds up by one such pass at most. How many of a step's are left to its own
// beginning, for each rank by so many more than for the one before, is what gives the shortest step. Throws
// ConfigError when the shape is another than the one above.
[[nodiscard]] AheadTables ahead_tables(const ScheduleShape& shape, const std::vector<StageCost>& costs);

}  // namespace desta::trainer
