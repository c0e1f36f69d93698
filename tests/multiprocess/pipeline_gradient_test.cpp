// mpirun -n (stages x replicas) pipeline_gradient_test <folder> <stages> <replicas>
//
// The adapter's gradient from a pipeline equals plain autograd over the whole model in one process,
// row by row without padding; nothing but the adapter's gradient crosses between replicas; and no
// frozen tensor changes.
#include <fmt/core.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdlib>

#include "runtime/collectives/make_communicator.h"
#include "support/tiny_job.h"
#include "trainer/replica_engine.h"

namespace {

using namespace desta;
using at::Tensor;

constexpr std::int64_t kStep = 1;

void require(bool holds, const std::string& promise) {
  if (!holds) {
    fmt::print(stderr, "FAILED: {}\n", promise);
    runtime::MpiEnvironment::abort_job(1);
  }
}

// Mean token loss of a step's rows and its gradient, one row at a time through whole models.
Tensor reference_gradient(const trainer::TrainingOptions& options, double& loss) {
  const auto shapes = trainer::read_shapes(options);
  models::ModelFolder speech(options.models.speech);
  models::ModelFolder llm(options.models.llm);
  const models::WhisperEncoder encoder(shapes.whisper, models::EncoderPart::whole(shapes.whisper),
                                       speech);
  const models::Llama llama(shapes.llama, models::LlamaPart::whole(shapes.llama), llm);
  const models::Tokenizer tokenizer(options.models.llm);
  const trainer::BatchLoader loader(options.dataset, tokenizer, options.batch,
                                    shapes.adapter.queries, options.seed);
  trainer::FlatParameters parameters(models::initial_qformer(shapes.adapter, options.seed));
  models::MapSource source(parameters.tensors());
  const models::QFormer adapter(shapes.adapter, source);
  const models::LogMel log_mel(shapes.whisper.mel_bins, shapes.whisper.mel_frames());
  Tensor total = at::zeros({});
  std::int64_t tokens = 0;
  for (std::int64_t m = 0; m < loader.microbatches(); ++m) {
    for (const auto row : loader.training_rows(kStep, m)) {
      const trainer::Sample sample = loader.sample(row);
      std::vector<Tensor> tapped;
      (void)encoder.run_layers(encoder.convolve(loader.audio({row}, log_mel)), shapes.adapter.taps,
                               tapped);
      auto ids = sample.prompt.tokens;
      ids.insert(ids.end(), sample.response.begin(), sample.response.end());
      const Tensor words = llama.embed(at::tensor(ids, at::kLong).unsqueeze(0));
      const auto at = sample.prompt.speech_at;
      const Tensor whole = at::cat({words.narrow(1, 0, at), adapter.forward(tapped),
                                    words.narrow(1, at, words.size(1) - at)},
                                   1);
      const Tensor logits = llama.logits(llama.run_layers(whole))[0];
      const auto count = static_cast<std::int64_t>(sample.response.size());
      const Tensor predicted = logits.narrow(0, logits.size(0) - count - 1, count);
      total = total + at::cross_entropy_loss(predicted, at::tensor(sample.response, at::kLong), {},
                                             at::Reduction::Sum);
      tokens += count;
    }
  }
  const Tensor mean = total / static_cast<double>(tokens);
  torch::autograd::backward({mean}, {});
  loss = mean.item<double>();
  return parameters.gradients().clone();
}

}  // namespace

int main(int argc, char** argv) {
  runtime::MpiEnvironment mpi(&argc, &argv);
  require(argc == 4, "usage: pipeline_gradient_test <folder> <stages> <replicas>");
  const std::filesystem::path folder = argv[1];
  const auto world = runtime::make_communicator("auto", mpi);
  trainer::TrainingOptions options;
  if (mpi.rank() == 0) {
    std::filesystem::remove_all(folder);
    options = tests::make_tiny_job(folder);
  }
  world->barrier();
  if (mpi.rank() != 0) {
    options = tests::tiny_options(folder);
  }
  options.pipeline.stages = std::atoll(argv[2]);
  options.replicas = std::atoll(argv[3]);
  trainer::check_layout(options, mpi.size());
  trainer::Links links = trainer::make_links(*world, options);
  const auto place = trainer::RankPlace::of(mpi.rank(), options.pipeline.stages);
  trainer::ReplicaEngine engine(options, place, links);
  const auto report = engine.accumulate_gradient(kStep);
  double loss = report.loss;
  world->all_reduce(&loss, 1, runtime::DType::kFloat64, runtime::ReduceOp::kSum);

  double expected_loss = 0;
  const Tensor expected = reference_gradient(options, expected_loss);
  require(std::abs(loss - expected_loss) < 1e-5 * expected_loss,
          fmt::format("the loss {} is plain autograd's {}", loss, expected_loss));
  const auto sent = links.replicas->traffic().sent;
  if (engine.trial() != nullptr) {
    const Tensor difference = engine.trial()->parameters().gradients() - expected;
    const double relative = (difference.norm() / expected.norm()).item<double>();
    fmt::print("stages {} replicas {}: relative difference {:.2e}\n", options.pipeline.stages,
               options.replicas, relative);
    require(relative < 1e-5, "the gradient is plain autograd's to 1e-5");
    // No small tensor hides behind the large ones; the floor is float32's rounding in sums as large
    // as the whole gradient.
    const auto wanted = engine.trial()->parameters().named(expected);
    const double floor = 1e-7 * expected.norm().item<double>();
    for (const auto& [name, part] : engine.trial()->parameters().named(difference)) {
      const double size = wanted.at(name).norm().item<double>();
      require(part.norm().item<double>() < 1e-4 * size + floor,
              fmt::format("the gradient of {} is plain autograd's", name));
    }
    const std::int64_t bytes = 4 * expected.numel();
    const std::int64_t factor = 2 * (options.replicas - 1) * bytes / options.replicas;
    constexpr std::int64_t kRounding = 64;  // shares of whole elements
    require(std::abs(static_cast<std::int64_t>(sent) - factor) <= kRounding,
            fmt::format("{} bytes went to other replicas: 2 (n-1)/n of the adapter's {}", sent, bytes));
  } else {
    require(sent == 0, "a stage without the adapter sends nothing to other replicas");
  }
  require(engine.verify_frozen().changed.empty(), "no frozen tensor changes or has a gradient");
  world->barrier();
  return 0;
}
