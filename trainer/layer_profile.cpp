#include "trainer/layer_profile.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "models/log_mel.h"
#include "models/torch_util.h"
#include "runtime/core/host_name.h"
#include "trainer/median.h"
#include "trainer/trial.h"

namespace desta::trainer {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kHeadRows = 16384;
constexpr std::size_t kLeastPasses = 5;
constexpr std::chrono::milliseconds kLeastTime{100};
constexpr std::chrono::seconds kEnough{2};  // then one pass beside the first has to do

// Random weights of a type on a device.
class ProfileSource final : public models::TensorSource {
 public:
  ProfileSource(at::ScalarType precision, at::Device device)
      : precision_(precision), device_(device) {}
  Tensor get(const std::string& name, at::IntArrayRef shape) override {
    models::TensorMap drawn;
    models::RandomSource source(drawn, kSeed);
    return source.get(name, shape).to(device_, precision_);
  }
  bool contains(const std::string& /*name*/) const override { return true; }

 private:
  at::ScalarType precision_;
  at::Device device_;
};

class Profiler {
 public:
  Profiler(const ModelShapes& shapes, std::int64_t samples, at::ScalarType precision,
           at::Device device)
      : shapes_(shapes),
        samples_(samples),
        options_(at::TensorOptions(precision).device(device)),
        source_(precision, device),
        random_(models::make_generator(kSeed)) {}

  UnitCost encoder_front() {
    const models::WhisperConfig& whisper = shapes_.whisper;
    const models::WhisperEncoder encoder(whisper, {0, 0, true}, source_);
    const models::LogMel log_mel(whisper.mel_bins, whisper.mel_frames());
    const Tensor sound = draw({16000}, at::kFloat) * 0.1;
    const std::vector<float> second(sound.data_ptr<float>(), sound.data_ptr<float>() + 16000);
    std::vector<float> audio;
    while (audio.size() < static_cast<std::size_t>(whisper.mel_frames()) * 160) {
      audio.insert(audio.end(), second.begin(), second.end());
    }
    return time([&] {
      std::vector<Tensor> mels;
      for (std::int64_t i = 0; i < samples_; ++i) {
        mels.push_back(log_mel(audio));
      }
      return encoder.convolve(at::stack(mels).to(options_.device(), type()));
    });
  }

  UnitCost encoder_layer(bool learns) {
    models::TensorMap drawn;
    if (learns) {
      models::RandomSource random(drawn, kSeed);
      (void)models::WhisperEncoder(shapes_.whisper, {0, 1, false}, random);
    }
    const Trial trial(0, std::nullopt, OptimizerOptions(), kSeed, 1, type(), options_.device(), drawn);
    models::MapSource own(trial.parameters().tensors());
    models::TensorSource& source = learns ? static_cast<models::TensorSource&>(own) : source_;
    const models::WhisperEncoder encoder(shapes_.whisper, {0, 1, false}, source);
    const Tensor hidden = draw({samples_, shapes_.whisper.max_source_positions,
                                shapes_.whisper.d_model});
    hidden.requires_grad_(learns);
    return time([&] {
      const at::AutoGradMode gradients(learns);
      std::vector<Tensor> tapped;
      return encoder.run_layers(hidden, {}, tapped);
    });
  }

  UnitCost adapter() {
    const models::QFormerConfig& config = shapes_.adapter;
    const Trial trial(0, config, OptimizerOptions(), kSeed, 1, type(), options_.device());
    const std::vector<Tensor> tapped(
        config.taps.size(),
        draw({samples_, shapes_.whisper.max_source_positions, config.d_model}));
    return time([&] {
      const at::AutoGradMode gradients(true);
      return trial.forward(tapped, 0);
    });
  }

  UnitCost llm_layer() {
    models::TensorMap updates;
    if (shapes_.lora.has_value()) {
      updates = models::initial_lora(shapes_.llama, *shapes_.lora, 0, 1, kSeed);
    }
    const Trial trial(0, std::nullopt, OptimizerOptions(), kSeed, 1, type(), options_.device(),
                      updates);
    models::MapSource own(trial.parameters().tensors());
    const models::Lora lora(own, shapes_.lora.value_or(models::LoraConfig()));
    const models::Llama llama(shapes_.llama, {0, 1, false, false}, source_,
                              shapes_.lora.has_value() ? &lora : nullptr);
    const std::int64_t length = shapes_.text_tokens + shapes_.adapter.queries;
    const auto packing = models::Packing::even(samples_, length);
    const Tensor hidden = draw({packing.total(), shapes_.llama.hidden_size});
    hidden.requires_grad_(true);
    return time([&] {
      const at::AutoGradMode gradients(true);
      return llama.run_layers(hidden, packing);
    });
  }

  UnitCost head() {
    models::LlamaConfig config = shapes_.llama;
    config.vocab_size = std::min(config.vocab_size, kHeadRows);
    const models::Llama llama(config, {0, 0, false, true}, source_);
    // At response positions only: about half of the text.
    const std::int64_t rows = samples_ * std::max<std::int64_t>(1, shapes_.text_tokens / 2);
    const Tensor hidden = draw({rows, config.hidden_size});
    hidden.requires_grad_(true);
    const auto numbers = at::TensorOptions(at::kLong).device(options_.device());
    const Tensor positions = at::arange(rows, numbers);
    const Tensor targets = at::zeros({rows}, numbers);
    UnitCost cost = time([&] {
      const at::AutoGradMode gradients(true);
      return llama.loss(hidden.index_select(0, positions), targets, 1.0).sum;
    });
    const double share = static_cast<double>(shapes_.llama.vocab_size) /
                         static_cast<double>(config.vocab_size);
    cost.forward *= share;
    return cost;
  }

 private:
  [[nodiscard]] at::ScalarType type() const {
    return c10::typeMetaToScalarType(options_.dtype());
  }
  Tensor draw(at::IntArrayRef shape, std::optional<at::ScalarType> as = std::nullopt) {
    return at::randn(shape, random_).to(options_.device(), as.value_or(type()));
  }
  // A GPU's work is done when a value has come back from it.
  void finish(const Tensor& tensor) const {
    if (options_.device().is_cuda()) {
      (void)tensor.flatten()[0].item<double>();
    }
  }

  // `pass`: the forward pass of a microbatch. Its backward pass follows when the result has a gradient.
  template <typename Pass>
  UnitCost time(const Pass& pass) {
    const at::NoGradGuard no_grad;  // unless the pass wants it
    std::vector<double> forward;
    std::vector<double> backward;
    double kept = 0;
    bool learns = false;
    const auto start = Clock::now();
    const auto is_enough = [&](std::size_t passes) {
      const auto spent = Clock::now() - start;
      return passes > 1 && (spent > kEnough || (passes > kLeastPasses && spent > kLeastTime));
    };
    for (std::size_t i = 0; !is_enough(i); ++i) {
      const std::uint64_t before = live_bytes();
      const auto began = Clock::now();
      const Tensor out = pass();
      finish(out);
      const auto between = Clock::now();
      const std::uint64_t after = live_bytes();
      if (learns = out.requires_grad(); learns) {
        kept = after > before ? static_cast<double>(after - before) : 0;
        torch::autograd::backward({out}, {out.dim() == 0 ? Tensor() : at::ones_like(out)});
        finish(out);
      }
      if (i > 0) {
        forward.push_back(std::chrono::duration<double>(between - began).count());
        backward.push_back(std::chrono::duration<double>(Clock::now() - between).count());
      }
    }
    const auto samples = static_cast<double>(samples_);
    // malloc does not know a GPU's memory.
    return {median(forward) / samples, learns ? median(backward) / samples : 0,
            options_.device().is_cuda() ? 0 : kept / samples};
  }

  const ModelShapes& shapes_;
  std::int64_t samples_;
  at::TensorOptions options_;
  ProfileSource source_;
  at::Generator random_;
};

}  // namespace

std::uint64_t live_bytes() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

LayerCosts measure_layer_costs(const ModelShapes& shapes, std::int64_t samples,
                               at::ScalarType precision, at::Device device) {
  Profiler profiler(shapes, samples, precision, device);
  LayerCosts costs;
  costs.origin = fmt::format("measured on {}, {}, {}, microbatches of {}, {} tokens of text, {} threads",
                             runtime::host_name(),
                             device.str(), c10::toString(precision), samples, shapes.text_tokens,
                             at::get_num_threads());
  costs.models = describe(shapes);
  costs.encoder_front = profiler.encoder_front();
  costs.encoder_layer = profiler.encoder_layer(false);
  if (shapes.trained_encoder_layers > 0) {
    costs.trained_encoder_layer = profiler.encoder_layer(true);
  }
  costs.adapter = profiler.adapter();
  costs.llm_layer = profiler.llm_layer();
  costs.head = profiler.head();
  return costs;
}

}  // namespace desta::trainer
