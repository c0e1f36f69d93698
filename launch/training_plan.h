// What a training job would do, from configuration files alone.
#pragma once

#include <string>

#include "trainer/options.h"

namespace desta::launch {

// Files to write beside what is printed; empty: none.
struct PlanFiles {
  std::string schedule;  // the table, as trainer/schedule_table.h reads it
  std::string timeline;  // .svg: a picture; else a Chrome trace
};

// Prints the cut, what each rank holds and does, and the step as it is predicted from operation counts.
void print_training_plan(const trainer::TrainingOptions& options, const PlanFiles& files);

}  // namespace desta::launch
