#include "trainer/pretraining.h"

#include <torch/csrc/autograd/autograd.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "models/safetensors.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::trainer {
namespace fs = std::filesystem;
using models::TensorMap;
using nlohmann::json;

namespace {

constexpr std::int64_t kReportEvery = 20;

void save_state(const PretrainTask& task, const PretrainOptions& options, std::int64_t step,
                FlatParameters& parameters, AdamW& optimizer) {
  runtime::publish_atomically(options.work / "state", [&](const fs::path& folder) {
    fs::create_directories(folder);
    models::save_safetensors(folder / "parameters.safetensors", parameters.tensors());
    models::save_safetensors(folder / "first.safetensors",
                             parameters.named(optimizer.first_moment()));
    models::save_safetensors(folder / "second.safetensors",
                             parameters.named(optimizer.second_moment()));
    const json state = {{"task", task.name}, {"step", step}, {"updates", optimizer.updates()}};
    runtime::write_file_atomically(folder / "state.json", state.dump());
  });
}

std::int64_t load_state(const PretrainTask& task, const PretrainOptions& options,
                        FlatParameters& parameters, AdamW& optimizer) {
  const fs::path folder = options.work / "state";
  if (!fs::exists(folder / "state.json")) {
    return 0;
  }
  std::string known;
  std::int64_t step = 0;
  try {
    const json state = json::parse(runtime::read_file(folder / "state.json"));
    known = state.at("task").get<std::string>();
    step = state.at("step");
    optimizer.set_updates(state.at("updates"));
  } catch (const json::exception& error) {
    throw runtime::ModelError("{}: damaged: {}; remove {} to start over", (folder / "state.json").string(),
                              error.what(), folder.string());
  }
  if (known != task.name) {
    throw runtime::ModelError("{}: holds the state of '{}', not of '{}'; choose another folder",
                              folder.string(), known, task.name);
  }
  const auto take = [&](Tensor& flat, const char* name) {
    const TensorMap tensors = models::load_safetensors(folder / name);
    try {
      parameters.assign(flat, tensors);
    } catch (const runtime::ModelError& error) {
      throw runtime::ModelError("{}: not of the model in {}: {}; give the --output that it was begun with, or "
                                "remove {} to start over",
                                (folder / name).string(), options.output.string(), error.what(), folder.string());
    }
  };
  take(parameters.values(), "parameters.safetensors");
  take(optimizer.first_moment(), "first.safetensors");
  take(optimizer.second_moment(), "second.safetensors");
  return step;
}

}  // namespace

TensorMap pretrain(const PretrainTask& task, const PretrainOptions& options) {
  using Clock = std::chrono::steady_clock;
  FlatParameters parameters(task.initial);
  AdamW optimizer(options.optimizer, parameters.values());
  std::int64_t step = load_state(task, options, parameters, optimizer);
  runtime::log().info("{}: {} parameters, from step {} of {}", task.name, parameters.count(), step,
                       options.steps);
  double loss_sum = 0;
  auto since = Clock::now();
  while (step < options.steps) {
    parameters.zero_gradients();
    const Tensor loss = task.loss(step, parameters.tensors());
    torch::autograd::backward({loss}, {});
    const double value = loss.item<double>();
    const auto update =
        optimizer.apply(parameters.values(), parameters.gradients(),
                        learning_rate_at(options.optimizer, step, options.steps),
                        at::norm(parameters.gradients()).item<double>());
    if (update.skipped || !std::isfinite(value)) {
      runtime::log().warn("{}: step {} skipped: loss {}", task.name, step, value);
    } else {
      loss_sum += value;
    }
    ++step;
    if (step % kReportEvery == 0) {
      const double seconds = std::chrono::duration<double>(Clock::now() - since).count();
      runtime::log().info("{}: step {}/{} loss {:.4f} gradient {:.2f} {:.2f} steps/s", task.name,
                           step, options.steps, loss_sum / kReportEvery, update.gradient_norm,
                           kReportEvery / seconds);
      loss_sum = 0;
      since = Clock::now();
    }
    if (step % options.save_every == 0 || step == options.steps) {
      save_state(task, options, step, parameters, optimizer);
    }
    if (options.evaluate_every > 0 && step % options.evaluate_every == 0 && step != options.steps) {
      runtime::log().info("{}: step {}: {}", task.name, step,
                           task.evaluate(parameters.tensors()));
      since = Clock::now();
    }
  }
  runtime::log().info("{}: finished: {}", task.name,
                      options.evaluate_every > 0 ? task.evaluate(parameters.tensors()) : "not evaluated");
  TensorMap trained;
  for (const auto& [name, tensor] : parameters.tensors()) {
    trained[name] = tensor.detach();
  }
  return trained;
}

TensorMap cast(const TensorMap& parameters, at::ScalarType precision) {
  TensorMap out;
  for (const auto& [name, tensor] : parameters) {
    out[name] = tensor.to(precision);
  }
  return out;
}

void export_weights(const TensorMap& parameters, const fs::path& folder) {
  const at::NoGradGuard no_grad;
  const TensorMap narrow = cast(parameters, at::kBFloat16);
  runtime::publish_atomically(folder / "model.safetensors", [&](const fs::path& path) {
    models::save_safetensors(path, narrow, {{"format", "pt"}});
  });
}

}  // namespace desta::trainer
