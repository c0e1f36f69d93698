// Brings the parts of a trial that learns on several stages together on the rank that writes the
// checkpoint.
#pragma once

#include "runtime/collectives/communicator.h"
#include "trainer/trial.h"

namespace desta::trainer {

// To `peer` of the pipeline, which receives it at the same time.
void send_state(runtime::Communicator& pipeline, const TrialState& state, int peer);
// Into `state`, whose memory is used again when it fits.
void receive_state(runtime::Communicator& pipeline, TrialState& state, int peer);

}  // namespace desta::trainer
