// What a training job would do, from configuration files alone.
#pragma once

#include <string>

#include "trainer/trial_set.h"

namespace desta::launch {

// Files to read and to write beside what is printed; empty: none.
struct PlanFiles {
  std::string cluster;   // cluster_file.h: whose step to predict
  std::string compare;   // a run's folder: how its steps went, beside the prediction
  std::string profile;   // written with what layers cost here: trainer/layer_costs.h
  std::string schedule;  // the table, as trainer/schedule_table.h reads it
  std::string timeline;  // of the step, with `compare` of the run's; .svg: a picture; else a Chrome trace
};

// Prints the cut, what each rank holds and does, and the step as it is predicted: from costs that were
// measured, or from operation counts and a cluster's speed. Throws ConfigError when the cluster has too few
// ranks or too little memory.
void print_training_plan(const trainer::TrialSet& trials, const PlanFiles& files);

}  // namespace desta::launch
