#include "models/lora.h"

#include <fmt/format.h>

#include <cmath>

#include "models/safetensors.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::models {
namespace {

constexpr std::string_view kPrefix = "base_model.model.model.layers.";

std::int64_t out_features(const LlamaConfig& llama, std::string_view target) {
  return (target == "q" ? llama.num_heads : llama.num_kv_heads) * llama.head_dim;
}

}  // namespace

std::string lora_name(std::int64_t layer, std::string_view target, char which) {
  return fmt::format("{}{}.self_attn.{}_proj.lora_{}.weight", kPrefix, layer, target, which);
}

bool is_lora_name(std::string_view name) { return name.starts_with(kPrefix); }

TensorMap initial_lora(const LlamaConfig& llama, const LoraConfig& config, std::int64_t first_layer,
                       std::int64_t end_layer, std::uint64_t seed) {
  TensorMap tensors;
  for (auto layer = first_layer; layer < end_layer; ++layer) {
    const auto generator =
        make_generator(runtime::mix_seed(seed, static_cast<std::uint64_t>(layer)));
    for (const auto& target : config.targets) {
      const double bound = 1.0 / std::sqrt(static_cast<double>(llama.hidden_size));
      tensors[lora_name(layer, target, 'A')] =
          at::empty({config.rank, llama.hidden_size}, at::kFloat).uniform_(-bound, bound, generator);
      tensors[lora_name(layer, target, 'B')] =
          at::zeros({out_features(llama, target), config.rank}, at::kFloat);
    }
  }
  return tensors;
}

LoraLinear::LoraLinear(Tensor weight, Tensor a, Tensor b, double scale)
    : weight_(std::move(weight)), a_(std::move(a)), b_(std::move(b)), scale_(scale) {}

Tensor linear(const Tensor& x, const Tensor& weight) { return at::linear(x, weight); }

Tensor LoraLinear::operator()(const Tensor& x, Product product) const {
  const Tensor y = product(x, weight_);
  if (!a_.defined()) {
    return y;
  }
  const auto type = x.scalar_type();
  return y + product(product(x, a_.to(type)), b_.to(type)) * scale_;
}

LoraConfig lora_config_of(const std::filesystem::path& file) {
  const SafetensorsFile stored(file);
  LoraConfig config;
  config.targets.clear();
  try {
    config.rank = std::stoll(stored.metadata().at("train.lora.rank"));
    config.alpha = std::stod(stored.metadata().at("train.lora.alpha"));
  } catch (const std::exception&) {
    throw runtime::ModelError("{}: its metadata do not name train.lora.rank and train.lora.alpha",
                              file.string());
  }
  for (const auto* target : {"q", "k", "v"}) {
    const std::string mark = fmt::format("self_attn.{}_proj.lora_A", target);
    for (const auto& [name, entry] : stored.entries()) {
      if (name.find(mark) != std::string::npos) {
        config.targets.emplace_back(target);
        break;
      }
    }
  }
  return config;
}

LoraLinear Lora::around(Tensor weight, std::int64_t layer, std::string_view target) const {
  const std::string a = lora_name(layer, target, 'A');
  if (!source_->contains(a)) {
    return {std::move(weight), {}, {}, 0};
  }
  const auto in = weight.size(1);
  const auto out = weight.size(0);
  return {std::move(weight), source_->get(a, {config_.rank, in}),
          source_->get(lora_name(layer, target, 'B'), {out, config_.rank}),
          config_.alpha / static_cast<double>(config_.rank)};
}

}  // namespace desta::models
