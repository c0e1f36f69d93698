#include "trainer/arrival_order.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cctype>
#include <tuple>

#include "trainer/flat_parameters.h"
#include "trainer/gradient_hooks.h"
#include "trainer/learned.h"

namespace desta::trainer {
namespace {

std::vector<std::string> adapter_order(models::QFormerConfig config) {
  config.d_model = 4;
  config.heads = 1;
  config.d_llm = 4;
  config.ffn = 4;
  config.queries = 2;
  FlatParameters parameters(models::initial_qformer(config, /*seed=*/1));
  models::MapSource source(parameters.tensors());
  const models::QFormer adapter(config, source);
  std::vector<std::string> order;
  const GradientHooks hooks(
      parameters, [&](std::size_t index) { order.push_back(parameters.pieces()[index].name); });
  const at::AutoGradMode gradients(true);
  const std::vector<Tensor> tapped(config.taps.size(), at::ones({1, 3, config.d_model}));
  torch::autograd::backward({adapter.forward(tapped).sum()}, {});
  return order;
}

// The first number that stands alone between dots: "model.encoder.layers.11.fc1.bias" has 11.
std::int64_t layer_of(const std::string& name) {
  for (std::size_t at = name.find('.'); at != std::string::npos; at = name.find('.', at + 1)) {
    std::size_t end = at + 1;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) {
      ++end;
    }
    if (end > at + 1 && end < name.size() && name[end] == '.') {
      return std::stoll(name.substr(at + 1, end - at - 1));
    }
  }
  return 0;
}

}  // namespace

std::vector<std::string> arrival_order(const std::optional<models::QFormerConfig>& adapter,
                                       const models::TensorMap& others) {
  std::vector<std::string> llm;
  std::vector<std::string> encoder;
  for (const auto& [name, tensor] : others) {
    (parameter_file(name) == "encoder.safetensors" ? encoder : llm).push_back(name);
  }
  const auto last_layer_first = [](const std::string& a, const std::string& b) {
    return std::tuple(-layer_of(a), a) < std::tuple(-layer_of(b), b);
  };
  std::ranges::sort(llm, last_layer_first);
  std::ranges::sort(encoder, last_layer_first);
  std::vector<std::string> order = std::move(llm);
  if (adapter.has_value()) {
    const auto inner = adapter_order(*adapter);
    order.insert(order.end(), inner.begin(), inner.end());
  }
  order.insert(order.end(), encoder.begin(), encoder.end());
  return order;
}

}  // namespace desta::trainer
