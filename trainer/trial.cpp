#include "trainer/trial.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "models/safetensors.h"
#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::trainer {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

models::QFormer make_adapter(const models::QFormerConfig& config, const TensorMap& tensors,
                             at::ScalarType precision) {
  models::MapSource source(tensors);
  return models::QFormer(config, source, precision);
}

TensorMap with_prefix(const std::string& prefix, const TensorMap& tensors, TensorMap into) {
  for (const auto& [name, tensor] : tensors) {
    into[prefix + name] = tensor;
  }
  return into;
}

TensorMap without_prefix(const std::string& prefix, const TensorMap& tensors) {
  TensorMap out;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) {
      out[name.substr(prefix.size())] = tensor;
    }
  }
  return out;
}

// Of the tensors behind each other, as hexadecimal digits.
std::string checksum_of(const std::vector<Tensor>& tensors) {
  return fmt::format("{:016x}", models::checksum(at::cat(tensors)));
}

void require_checksum(const fs::path& file, const std::string& found, const std::string& wanted) {
  if (found != wanted) {
    throw runtime::ModelError("{}: its checksum is {}, state.json says {}; the checkpoint is damaged: "
                              "delete it to go on from the one before",
                              file.string(), found, wanted);
  }
}

}  // namespace

Trial::Trial(std::int64_t id, const models::QFormerConfig& config,
             const OptimizerOptions& optimizer, std::uint64_t seed, std::int64_t total_steps,
             at::ScalarType precision, at::Device device)
    : id_(id),
      seed_(seed),
      total_steps_(total_steps),
      options_(optimizer),
      parameters_(models::initial_qformer(config, seed), device),
      adapter_(make_adapter(config, parameters_.tensors(), precision)),
      optimizer_(optimizer, parameters_.values()) {}

Tensor Trial::forward(const std::vector<Tensor>& tapped, std::int64_t microbatch) const {
  const std::uint64_t step_seed = runtime::mix_seed(seed_, static_cast<std::uint64_t>(step_));
  const at::Generator generator = models::make_generator(
      runtime::mix_seed(step_seed, static_cast<std::uint64_t>(microbatch)));
  return adapter_.forward(tapped, generator);
}

Tensor Trial::infer(const std::vector<Tensor>& tapped) const { return adapter_.forward(tapped); }

void Trial::reduce(runtime::Communicator& replicas) {
  if (replicas.size() == 1) {
    return;
  }
  Tensor& gradients = parameters_.gradients();
  const bool staged = gradients.is_cuda() && replicas.backend() != "nccl";
  Tensor buffer = staged ? gradients.to(at::kCPU) : gradients;
  replicas.all_reduce(buffer.data_ptr(), static_cast<std::size_t>(buffer.numel()),
                      runtime::DType::kFloat32, runtime::ReduceOp::kSum);
  if (staged) {
    gradients.copy_(buffer);
  }
}

Trial::StepResult Trial::finish_step() {
  StepResult result;
  result.learning_rate = learning_rate_at(options_, step_, total_steps_);
  const auto update =
      optimizer_.apply(parameters_.values(), parameters_.gradients(), result.learning_rate);
  result.gradient_norm = update.gradient_norm;
  result.skipped = update.skipped;
  parameters_.zero_gradients();
  ++step_;
  return result;
}

void Trial::save(const fs::path& folder) {
  models::save_safetensors(folder / "adapter.safetensors", parameters_.tensors(),
                           {{"format", "pt"}});
  models::save_safetensors(
      folder / "optimizer.safetensors",
      with_prefix("second.", parameters_.named(optimizer_.second_moment()),
                  with_prefix("first.", parameters_.named(optimizer_.first_moment()), {})));
  const json state = {{"trial", id_},
                      {"step", step_},
                      {"updates", optimizer_.updates()},
                      {"seed", seed_},
                      {"adapter_checksum", checksum_of({parameters_.values()})},
                      {"optimizer_checksum",
                       checksum_of({optimizer_.first_moment(), optimizer_.second_moment()})}};
  runtime::write_file_atomically(folder / "state.json", state.dump(2) + "\n");
}

void Trial::load(const fs::path& folder) {
  const TensorMap adapter = models::load_safetensors(folder / "adapter.safetensors");
  const TensorMap moments = models::load_safetensors(folder / "optimizer.safetensors");
  // All is checked before anything of this trial changes.
  Tensor values = at::zeros_like(parameters_.values());
  Tensor first = at::zeros_like(values);
  Tensor second = at::zeros_like(values);
  try {
    parameters_.assign(values, adapter);
    parameters_.assign(first, without_prefix("first.", moments));
    parameters_.assign(second, without_prefix("second.", moments));
  } catch (const runtime::ModelError& error) {
    throw runtime::ModelError("{}: does not fit this adapter: {}", folder.string(), error.what());
  }
  try {
    const json state = json::parse(runtime::read_file(folder / "state.json"));
    const std::int64_t step = state.at("step");
    const std::int64_t updates = state.at("updates");
    require_checksum(folder / "adapter.safetensors", checksum_of({values}),
                     state.at("adapter_checksum"));
    require_checksum(folder / "optimizer.safetensors", checksum_of({first, second}),
                     state.at("optimizer_checksum"));
    step_ = step;
    optimizer_.set_updates(updates);
  } catch (const json::exception& error) {
    throw runtime::ModelError("{}: state.json is damaged: {}", folder.string(), error.what());
  } catch (const runtime::DataError& error) {
    throw runtime::ModelError("{}", error.what());
  }
  const at::NoGradGuard no_grad;
  parameters_.values().copy_(values);
  optimizer_.first_moment().copy_(first);
  optimizer_.second_moment().copy_(second);
}

}  // namespace desta::trainer
