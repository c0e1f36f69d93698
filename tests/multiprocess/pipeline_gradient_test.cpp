// mpirun -n (stages x replicas) pipeline_gradient_test <folder> <stages> <replicas>
//        [<train.what> [<schedule> <chunks> [<batch.cut> [<further>]]]]
//
// further: "features", the encoder's outputs come from a cache; "plain", nothing is shared between rows or done ahead.
//
// The gradient of what learns, from a pipeline, equals plain autograd over the whole model in one
// process, row by row without padding and in training order, however the rows are dealt out; nothing else crosses between replicas; and no frozen tensor
// changes.
#include <fmt/core.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "runtime/collectives/make_communicator.h"
#include "support/tiny_job.h"
#include "trainer/learned.h"
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

// Initial values hide mistakes: low-rank updates start at zero, where half of their gradient is none.
void disturb(const std::string& name, Tensor value) {
  const at::NoGradGuard no_grad;
  const Tensor wave = at::sin(at::arange(value.numel(), at::kFloat) + static_cast<double>(name.size()));
  value.add_(wave.view(value.sizes()), 0.05);
}

// Everything that learns, in one process.
trainer::FlatParameters all_parameters(const trainer::TrainingOptions& options,
                                       const trainer::ModelShapes& shapes) {
  models::TensorMap all = models::initial_qformer(shapes.adapter, options.seed);
  all.merge(trainer::initial_beside_adapter(trainer::partition(shapes, 1).front(), shapes,
                                            options.models.speech, options.seed));
  trainer::FlatParameters parameters(all);
  for (const auto& [name, tensor] : parameters.tensors()) {
    disturb(name, tensor);
  }
  return parameters;
}

// Mean token loss of a step's rows and its gradient by name, one row at a time through whole models.
models::TensorMap reference_gradient(const trainer::TrainingOptions& options, double& loss) {
  const auto shapes = trainer::read_shapes(options);
  const trainer::FlatParameters parameters = all_parameters(options, shapes);
  models::MapSource source(parameters.tensors());
  models::ModelFolder speech(options.models.speech);
  models::ModelFolder llm(options.models.llm);
  models::OverlaySource listening(parameters.tensors(), speech);
  const models::WhisperEncoder encoder(shapes.whisper, models::EncoderPart::whole(shapes.whisper),
                                       listening);
  const models::Lora lora(source, shapes.lora.value_or(models::LoraConfig()));
  const models::Llama llama(shapes.llama, models::LlamaPart::whole(shapes.llama), llm,
                            shapes.lora.has_value() ? &lora : nullptr);
  const models::Tokenizer tokenizer(options.models.llm);
  trainer::BatchOptions batch = options.batch;
  batch.cut = "rows";
  const trainer::BatchLoader loader(options.dataset, tokenizer, batch, shapes.adapter.queries, options.seed);
  batch.cut = "tokens";
  const trainer::BatchLoader dealt(options.dataset, tokenizer, batch, shapes.adapter.queries, options.seed);
  require(loader.training_rows(kStep, 0) != dealt.training_rows(kStep, 0), "tokens deal otherwise than rows");
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
  models::TensorMap gradients;
  for (const auto& [name, tensor] : parameters.tensors()) {
    gradients[name] = tensor.grad().clone();
  }
  return gradients;
}

// Every learned tensor of this rank has the gradient of plain autograd.
void compare(trainer::FlatParameters& parameters, const models::TensorMap& expected) {
  double whole = 0;
  for (const auto& [name, gradient] : expected) {
    whole += gradient.square().sum().item<double>();
  }
  // No small tensor hides behind the large ones; the floor is float32's rounding in sums as large as
  // the whole gradient.
  const double floor = 1e-7 * std::sqrt(whole);
  double difference = 0;
  double size = 0;
  for (const auto& [name, gradient] : parameters.named(parameters.gradients())) {
    const Tensor& wanted = expected.at(name);
    const double apart = (gradient - wanted).norm().item<double>();
    const double norm = wanted.norm().item<double>();
    const bool without_effect = name.ends_with("crossattention.self.key.bias");  // models/folded_attention.h
    require(norm > 0 || without_effect, fmt::format("the gradient of {} is more than nothing", name));
    require(apart < 1e-4 * norm + floor, fmt::format("the gradient of {} is plain autograd's", name));
    difference += apart * apart;
    size += norm * norm;
  }
  const double relative = std::sqrt(difference / size);
  fmt::print("relative difference {:.2e}\n", relative);
  require(relative < 1e-5, "the gradient is plain autograd's to 1e-5");
}

}  // namespace

int main(int argc, char** argv) {
  runtime::MpiEnvironment mpi(&argc, &argv);
  require(argc >= 4,
          "usage: pipeline_gradient_test <folder> <stages> <replicas> [<train.what> [<schedule> <chunks> "
          "[<batch.cut> [features|plain]]]]");
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
  options.train.what = argc > 4 ? argv[4] : "adapter";
  if (argc > 6) {
    options.pipeline.schedule = argv[5];
    options.pipeline.chunks = std::atoll(argv[6]);
  }
  if (argc > 7) {
    options.batch.cut = argv[7];
  }
  const std::string further = argc > 8 ? argv[8] : "";
  if (further == "features") {
    options.features = (folder / "features").string();
  } else if (further == "plain") {
    options.batch.share_prefix = false;
    options.pipeline.fill = false;
  }
  options.train.lora.rank = 2;
  options.train.encoder_layers = 2;
  trainer::check_layout(options, mpi.size());
  trainer::Links links = trainer::make_links(*world, options);
  const auto place = trainer::RankPlace::of(mpi.rank(), options.pipeline.stages);
  trainer::ReplicaEngine engine(options, place, links);
  if (engine.trial() != nullptr) {
    for (const auto& [name, tensor] : engine.trial()->parameters().tensors()) {
      disturb(name, tensor);
    }
  }
  const auto before = links.replicas->traffic().sent;
  const auto report = engine.accumulate_gradient({kStep});
  double loss = report.trials.front().loss;
  world->all_reduce(&loss, 1, runtime::DType::kFloat64, runtime::ReduceOp::kSum);

  double expected_loss = 0;
  const models::TensorMap expected = reference_gradient(options, expected_loss);
  require(std::abs(loss - expected_loss) < 1e-5 * expected_loss,
          fmt::format("the loss {} is plain autograd's {}", loss, expected_loss));
  const auto sent = links.replicas->traffic().sent - before;
  const auto& learning = links.learning;
  require((engine.trial() != nullptr) ==
              (std::find(learning.begin(), learning.end(), place.stage) != learning.end()),
          "a stage has a trial where something learns");
  if (engine.trial() != nullptr) {
    compare(engine.trial()->parameters(), expected);
    const std::int64_t bytes = 4 * engine.trial()->parameters().count();
    const std::int64_t factor = 2 * (options.replicas - 1) * bytes / options.replicas;
    constexpr std::int64_t kRounding = 64;  // shares of whole elements
    require(std::abs(static_cast<std::int64_t>(sent) - factor) <= kRounding,
            fmt::format("{} bytes went to other replicas: 2 (n-1)/n of the learned {}", sent, bytes));
  } else {
    require(sent == 0, "a stage without anything that learns sends nothing to other replicas");
  }
  require(engine.verify_frozen().changed.empty(), "no frozen tensor changes or has a gradient");
  world->barrier();
  return 0;
}
