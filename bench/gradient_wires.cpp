// What an adapter's gradient costs between replicas, in each wire format: bytes that an all-reduce is
// given, and the time from the end of the backward pass until the sums are there (no backward pass to
// hide behind), as the slowest rank sees it. DeSTA2's two published adapters: 22 M (whisper-small) and
// 131 M parameters (large-v3).
//
//   mpirun -n 2 bench_gradient_wires
#include <algorithm>
#include <string>
#include <vector>

#include "bench/figure.h"
#include "models/qformer.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/core/log.h"
#include "trainer/arrival_order.h"
#include "trainer/gradient_reducer.h"

namespace {

using namespace desta;

constexpr int kWarmUp = 2;
constexpr int kRounds = 9;

struct Adapter {
  std::string name;
  models::QFormerConfig config;
};

std::vector<Adapter> adapters() {
  models::QFormerConfig small;  // whisper-small's
  models::QFormerConfig large = small;
  large.d_model = 1280;
  large.heads = 20;
  large.layers = 6;
  large.taps = {7, 15, 23, 31};
  return {{"22M", small}, {"131M", large}};
}

void measure(const Adapter& adapter, const std::string& wire, runtime::Communicator& replicas) {
  trainer::FlatParameters parameters(models::initial_qformer(adapter.config, 1), at::kCPU,
                                     trainer::arrival_order(adapter.config, {}));
  trainer::GradientReducer reducer(parameters, replicas, {.wire = wire});
  const at::Tensor gradient = at::randn({parameters.count()}).mul_(1e-3);
  std::vector<double> seconds;
  for (int round = -kWarmUp; round < kRounds; ++round) {
    parameters.gradients().copy_(gradient);
    replicas.barrier();
    const auto start = bench::Clock::now();
    reducer.start();
    reducer.wait();
    double own = bench::seconds_since(start);
    replicas.all_reduce(&own, 1, runtime::DType::kFloat64, runtime::ReduceOp::kMax);
    if (round >= 0) {
      seconds.push_back(own);
    }
  }
  if (replicas.rank() == 0) {
    const std::string what = adapter.name + "_" + wire;
    bench::print_figure("desta", what + "_parameters", static_cast<double>(parameters.count()), "");
    bench::print_figure("desta", what + "_bytes", static_cast<double>(reducer.wire().bytes()), "B");
    bench::print_figure("desta", what + "_median", bench::quantile(seconds, 0.5), "s");
    bench::print_figure("desta", what + "_minimum", bench::quantile(seconds, 0), "s");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const runtime::MpiEnvironment mpi(&argc, &argv);
  runtime::init_logging(mpi.rank());
  const auto replicas = runtime::make_communicator("auto", mpi);
  for (const auto& adapter : adapters()) {
    for (const std::string wire : {"float32", "bfloat16", "powersgd"}) {
      measure(adapter, wire, *replicas);
    }
  }
  return 0;
}
