#include "trainer/trial_exchange.h"

#include <nlohmann/json.hpp>

#include "models/tensor_source.h"
#include "trainer/message_tags.h"

namespace desta::trainer {
void send_state(runtime::Communicator& pipeline, const TrialState& state, int peer) {
  nlohmann::json reduction = nlohmann::json::object();
  for (const auto& [name, tensor] : state.reduction) {
    reduction[name] = tensor.sizes().vec();
  }
  const std::string head = nlohmann::json{{"layout", state.layout},
                                          {"count", state.values.numel()},
                                          {"reduction", reduction}}
                               .dump();
  const std::uint64_t size = head.size();
  pipeline.send(&size, sizeof(size), peer, kStateTag);
  pipeline.send(head.data(), head.size(), peer, kStateTag);
  const auto send = [&](const Tensor& tensor) {
    pipeline.send(tensor.data_ptr(), models::byte_size(tensor), peer, kStateTag);
  };
  for (const Tensor* tensor : {&state.values, &state.first, &state.second}) {
    send(*tensor);
  }
  for (const auto& [name, tensor] : state.reduction) {
    send(tensor);
  }
}

void receive_state(runtime::Communicator& pipeline, TrialState& state, int peer) {
  std::uint64_t size = 0;
  pipeline.receive(&size, sizeof(size), peer, kStateTag);
  std::string head(size, '\0');
  pipeline.receive(head.data(), head.size(), peer, kStateTag);
  const auto json = nlohmann::json::parse(head);
  state.layout = json.at("layout").get<decltype(state.layout)>();
  const std::int64_t count = json.at("count");
  const auto receive = [&](Tensor& tensor, const std::vector<std::int64_t>& shape) {
    if (!tensor.defined() || tensor.sizes() != at::IntArrayRef(shape)) {
      tensor = at::empty(shape, at::kFloat);
    }
    pipeline.receive(tensor.data_ptr(), models::byte_size(tensor), peer, kStateTag);
  };
  for (Tensor* tensor : {&state.values, &state.first, &state.second}) {
    receive(*tensor, {count});
  }
  for (const auto& [name, shape] : json.at("reduction").items()) {
    receive(state.reduction[name], shape.get<std::vector<std::int64_t>>());
  }
}

}  // namespace desta::trainer
