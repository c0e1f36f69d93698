#include "trainer/trial_exchange.h"

#include <nlohmann/json.hpp>

#include "models/tensor_source.h"

namespace desta::trainer {
namespace {

constexpr int kStateTag = 4;

}  // namespace

void send_state(runtime::Communicator& pipeline, const TrialState& state, int peer) {
  const std::string head =
      nlohmann::json{{"layout", state.layout}, {"count", state.values.numel()}}.dump();
  const std::uint64_t size = head.size();
  pipeline.send(&size, sizeof(size), peer, kStateTag);
  pipeline.send(head.data(), head.size(), peer, kStateTag);
  for (const Tensor* tensor : {&state.values, &state.first, &state.second}) {
    pipeline.send(tensor->data_ptr(), models::byte_size(*tensor), peer, kStateTag);
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
  for (Tensor* tensor : {&state.values, &state.first, &state.second}) {
    if (!tensor->defined() || tensor->numel() != count) {
      *tensor = at::empty({count}, at::kFloat);
    }
    pipeline.receive(tensor->data_ptr(), models::byte_size(*tensor), peer, kStateTag);
  }
}

}  // namespace desta::trainer
