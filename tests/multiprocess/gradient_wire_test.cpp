// Gradients between replicas, on every rank of a job: what arrives, what is kept for later, and what a
// checkpoint must carry.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <map>

#include "mpi_job.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"
#include "trainer/gradient_reducer.h"
#include "trainer/replica_check.h"
#include "trainer/wire_memory.h"

namespace desta::trainer {
namespace {

using at::Tensor;
using runtime::testing::job;

class Wire : public ::testing::TestWithParam<std::string> {
 protected:
  Wire() { at::manual_seed(1); }

  static FlatParameters make_parameters() {
    return FlatParameters({{"bias", at::zeros({33})},
                           {"matrix", at::zeros({96, 64})},
                           {"queries", at::zeros({1, 40, 48})}});
  }
  // A gradient of this step, another on every rank.
  Tensor draw(std::int64_t step, int rank, std::int64_t count) const {
    auto generator = at::detail::createCPUGenerator(
        runtime::mix_seed(static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(rank)));
    return at::randn({count}, generator);
  }
  Tensor sum_of(std::int64_t step, std::int64_t count) const {
    Tensor sum = at::zeros({count});
    for (int rank = 0; rank < replicas_->size(); ++rank) {
      sum.add_(draw(step, rank, count));
    }
    return sum;
  }
  // One step: gives the sum that the wire makes of all ranks' gradients.
  static Tensor cross(GradientReducer& reducer, FlatParameters& parameters, const Tensor& gradient) {
    parameters.gradients().copy_(gradient);
    reducer.start();
    while (!reducer.poll()) {
    }
    reducer.wait();
    return parameters.gradients().clone();
  }
  void expect_same_everywhere(const Tensor& tensor) {
    ReplicaCheck check;
    EXPECT_NO_THROW(check.require_same(*replicas_, tensor, 1));
  }

  const std::unique_ptr<runtime::Communicator> replicas_ =
      runtime::make_communicator("auto", job(), {.timeout = std::chrono::seconds(30)});
};

INSTANTIATE_TEST_SUITE_P(Formats, Wire, ::testing::Values("float32", "bfloat16", "powersgd"),
                         [](const auto& one) { return one.param; });

double distance(const Tensor& a, const Tensor& b) {
  return (a - b).norm().item<double>() / b.norm().item<double>();
}

TEST_P(Wire, IsTheSameOnEveryRankAndLosesNothingForGood) {
  FlatParameters parameters = make_parameters();
  GradientReducer reducer(parameters, *replicas_, {.wire = GetParam()});
  const std::int64_t count = parameters.count();
  Tensor arrived = at::zeros({count});
  Tensor due = at::zeros({count});
  for (std::int64_t step = 0; step < 60; ++step) {
    // Something constant under the noise, as in training.
    const Tensor constant = draw(1000, 0, count);
    const Tensor got = cross(reducer, parameters, draw(step, replicas_->rank(), count) + constant);
    expect_same_everywhere(got);
    arrived.add_(got);
    due.add_(sum_of(step, count)).add_(constant, static_cast<double>(replicas_->size()));
    if (GetParam() == "float32") {
      EXPECT_LT(distance(got, sum_of(step, count) + constant * replicas_->size()), 1e-6);
    }
  }
  // What has not arrived is what is kept: on the average of the replicas, times their number.
  reducer.wire().even_out();
  Tensor kept = at::zeros({count});
  for (const auto& [name, view] : parameters.named(kept)) {
    const auto state = reducer.wire().state();
    if (const auto found = state.find("error." + name); found != state.end()) {
      Tensor into = view;
      into.copy_(found->second.view(view.sizes()));
    }
  }
  // The sum of rounded numbers is rounded once more, which no rank can make up for.
  EXPECT_LT(distance(arrived + kept * replicas_->size(), due), GetParam() == "bfloat16" ? 5e-4 : 2e-6);
  EXPECT_LT(distance(arrived, due), GetParam() == "powersgd" ? 0.5 : 1e-3)
      << "what is kept does not grow";
}

TEST_P(Wire, GoesOnFromACheckpointToTheBit) {
  FlatParameters parameters = make_parameters();
  GradientReducer reducer(parameters, *replicas_, {.wire = GetParam()});
  const std::int64_t count = parameters.count();
  const auto step = [&](GradientReducer& which, FlatParameters& whose, std::int64_t number) {
    return cross(which, whose, draw(number, replicas_->rank(), count));
  };
  for (std::int64_t number = 0; number < 5; ++number) {
    (void)step(reducer, parameters, number);
  }
  reducer.wire().even_out();
  TensorMap saved;
  for (const auto& [name, tensor] : reducer.wire().state()) {
    saved[name] = tensor.clone();
    expect_same_everywhere(tensor);
  }
  const Tensor sixth = step(reducer, parameters, 5);
  const Tensor seventh = step(reducer, parameters, 6);

  FlatParameters others = make_parameters();
  GradientReducer resumed(others, *replicas_, {.wire = GetParam()});
  resumed.wire().restore(saved);
  EXPECT_TRUE(at::equal(step(resumed, others, 5), sixth));
  EXPECT_TRUE(at::equal(step(resumed, others, 6), seventh));
  EXPECT_EQ(saved.empty(), GetParam() == "float32");
}

TEST_P(Wire, ANanOnOneRankReachesAllAndIsForgotten) {
  FlatParameters parameters = make_parameters();
  GradientReducer reducer(parameters, *replicas_, {.wire = GetParam()});
  const std::int64_t count = parameters.count();
  Tensor bad = draw(1, replicas_->rank(), count);
  if (replicas_->rank() == 0) {
    bad[7] = std::nan("");
  }
  EXPECT_FALSE(std::isfinite(cross(reducer, parameters, bad).norm().item<double>()));
  reducer.wire().reset();
  const Tensor next = cross(reducer, parameters, draw(2, replicas_->rank(), count));
  EXPECT_TRUE(std::isfinite(next.norm().item<double>()));
}

// A gradient that was zero at first, as that of a low-rank update is.
TEST_P(Wire, WhatWasZeroAtFirstCrossesLater) {
  FlatParameters parameters = make_parameters();
  GradientReducer reducer(parameters, *replicas_, {.wire = GetParam()});
  const std::int64_t count = parameters.count();
  EXPECT_EQ(cross(reducer, parameters, at::zeros({count})).norm().item<float>(), 0);
  // Of rank one: PowerSGD has it exactly.
  Tensor gradient = at::zeros({count});
  const Tensor wave = at::arange(1, 65, at::kFloat) / 64;
  parameters.named(gradient).at("matrix").copy_(at::outer(at::arange(1, 97, at::kFloat), wave));
  for (int step = 0; step < 3; ++step) {
    EXPECT_LT(distance(cross(reducer, parameters, gradient), gradient * replicas_->size()), 1e-2);
  }
}

TEST_P(Wire, FullBucketsLeaveBeforeTheBackwardPassEnds) {
  // 1.5 million numbers: the first two parameters to come are buckets of their own.
  FlatParameters parameters({{"a", at::ones({500'000})}, {"b", at::ones({500'000})}, {"c", at::ones({500'000})}},
                            at::kCPU, {"c", "b", "a"});
  GradientReducer reducer(parameters, *replicas_,
                          {.wire = GetParam(), .first_bucket_mib = 1, .bucket_mib = 1});
  ASSERT_EQ(reducer.buckets().size(), 3u);
  const auto pass = [&] {
    const auto& t = parameters.tensors();
    torch::autograd::backward({(((t.at("a") * 2).sin() * t.at("b")).sin() * t.at("c")).sum()}, {});
  };
  pass();  // not the last one: all stays here
  reducer.expect_last_backward();
  pass();
  // PowerSGD needs the whole gradient before it can send anything.
  EXPECT_EQ(reducer.early(), GetParam() == "powersgd" ? 0u : 3u);
  reducer.start();
  reducer.wait();
  expect_same_everywhere(parameters.gradients());
  // All replicas have the same parameters here, so the sum is so many times what two passes give.
  const Tensor sum = parameters.gradients().clone();
  parameters.zero_gradients();
  pass();
  pass();
  const Tensor expected = parameters.gradients() * replicas_->size();
  EXPECT_LT(distance(sum, expected), GetParam() == "float32" ? 1e-6 : 1e-2);
}

using Replicas = Wire;

TEST_F(Replicas, BytesOfEachFormat) {
  std::map<std::string, std::uint64_t> bytes;
  for (const std::string wire : {"float32", "bfloat16", "powersgd"}) {
    FlatParameters parameters({{"weight", at::zeros({1280, 1280})}, {"bias", at::zeros({1280})}});
    GradientReducer reducer(parameters, *replicas_, {.wire = wire});
    bytes[wire] = reducer.wire().bytes();
  }
  EXPECT_EQ(bytes["float32"], 4u * (1280 * 1280 + 1280));
  EXPECT_EQ(bytes["bfloat16"], 2u * (1280 * 1280 + 1280));
  EXPECT_EQ(bytes["powersgd"], 4u * (4 * (1280 + 1280) + 1280));
}

TEST_F(Replicas, AReplicaThatDiffersIsNamed) {
  if (replicas_->size() < 3) {
    GTEST_SKIP() << "of two nobody can say who is right";
  }
  ReplicaCheck check;
  Tensor values = at::ones({1000});
  EXPECT_NO_THROW(check.require_same(*replicas_, values, 1));
  if (replicas_->rank() == 1) {
    values[500] = std::nextafter(1.0F, 2.0F);
  }
  try {
    check.require_same(*replicas_, values, 2);
    FAIL() << "not noticed";
  } catch (const runtime::InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("after step 2 the parameters of replica 1 differ"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace desta::trainer
