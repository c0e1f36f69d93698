#include "trainer/gradient_wire.h"

#include "runtime/core/error.h"
#include "trainer/plain_wire.h"
#include "trainer/power_sgd.h"

namespace desta::trainer {

std::unique_ptr<GradientWire> make_gradient_wire(FlatParameters& parameters,
                                                 runtime::Communicator& replicas,
                                                 const ReductionOptions& options) {
  if (options.wire == "float32") {
    return std::make_unique<PlainWire>(parameters, replicas, at::kFloat);
  }
  if (options.wire == "bfloat16") {
    return std::make_unique<PlainWire>(parameters, replicas, at::kBFloat16);
  }
  if (options.wire == "powersgd") {
    return std::make_unique<PowerSgdWire>(parameters, replicas, options.powersgd_rank);
  }
  throw runtime::ConfigError(
      "data_parallel.wire is '{}'; choose float32, bfloat16 or powersgd", options.wire);
}

}  // namespace desta::trainer
