#include "trainer/trial.h"

#include <fmt/format.h>

#include "models/torch_util.h"
#include "runtime/core/random.h"
#include "trainer/arrival_order.h"
#include "trainer/learned.h"

namespace desta::trainer {
namespace {

TensorMap all_parameters(const std::optional<models::QFormerConfig>& adapter, std::uint64_t seed,
                         const TensorMap& others) {
  TensorMap all = adapter.has_value() ? models::initial_qformer(*adapter, seed) : TensorMap();
  all.insert(others.begin(), others.end());
  return all;
}

// Into `target`'s memory where it fits: pages of hundreds of megabytes are dear to come by.
void copy_into(Tensor& target, const Tensor& source) {
  const at::NoGradGuard no_grad;
  if (!target.defined() || target.sizes() != source.sizes()) {
    target = at::empty(source.sizes(), at::TensorOptions().dtype(source.scalar_type()));
  }
  target.copy_(source);
}

}  // namespace

TensorMap TrialState::named(const Tensor& flat) const {
  TensorMap out;
  std::int64_t offset = 0;
  for (const auto& [name, shape] : layout) {
    std::int64_t count = 1;
    for (const auto size : shape) {
      count *= size;
    }
    out[name] = flat.narrow(0, offset, count).view(shape);
    offset += count;
  }
  return out;
}

Trial::Trial(std::int64_t id, const std::optional<models::QFormerConfig>& adapter,
             const OptimizerOptions& optimizer, std::uint64_t seed, std::int64_t total_steps,
             at::ScalarType precision, at::Device device, const TensorMap& others)
    : id_(id),
      seed_(seed),
      total_steps_(total_steps),
      options_(optimizer),
      parameters_(all_parameters(adapter, seed, others), device, arrival_order(adapter, others)),
      optimizer_(optimizer, parameters_.values()) {
  if (adapter.has_value()) {
    models::MapSource source(parameters_.tensors());
    adapter_.emplace(*adapter, source, precision);
  }
}

Tensor Trial::forward(const std::vector<Tensor>& tapped, std::int64_t microbatch) const {
  const std::uint64_t step_seed = runtime::mix_seed(seed_, static_cast<std::uint64_t>(step_));
  const at::Generator generator = models::make_generator(
      runtime::mix_seed(step_seed, static_cast<std::uint64_t>(microbatch)));
  return adapter_->forward(tapped, generator);
}

Tensor Trial::infer(const std::vector<Tensor>& tapped) const { return adapter_->forward(tapped); }

void Trial::join_replicas(runtime::Communicator& replicas, const ReductionOptions& options) {
  if (replicas.size() > 1) {
    replicas_ = &replicas;
    reducer_ = std::make_unique<GradientReducer>(parameters_, replicas, options);
  }
}

void Trial::even_out() {
  if (reducer_ != nullptr) {
    reducer_->wire().even_out();
  }
}

std::string Trial::schedule() const {
  const OptimizerOptions& o = options_;
  return fmt::format("AdamW ({}, {}, eps {}, decay {}), learning rate {} after {} steps, clipped at {}, {} "
                     "steps in all",
                     o.beta1, o.beta2, o.eps, o.weight_decay, o.learning_rate, o.warmup_steps,
                     o.clip_norm, total_steps_);
}

// Summed in float64: float32 loses a thousandth of the squares of 22 million numbers.
double Trial::gradient_norm() {
  return at::norm(parameters_.gradients(), 2, at::kDouble).item<double>();
}

Trial::StepResult Trial::finish_step(double norm) {
  StepResult result;
  result.learning_rate = learning_rate_at(options_, step_, total_steps_);
  const auto update = optimizer_.apply(parameters_.values(), parameters_.gradients(),
                                       result.learning_rate, norm);
  result.gradient_norm = update.gradient_norm;
  result.skipped = update.skipped;
  skipped_in_a_row_ = update.skipped ? skipped_in_a_row_ + 1 : 0;
  if (update.skipped && reducer_ != nullptr) {
    reducer_->wire().reset();
  }
  parameters_.zero_gradients();
  ++step_;
  if (replicas_ != nullptr) {
    check_.require_same(*replicas_, parameters_.values(), step_);
  }
  return result;
}

void Trial::copy_to(TrialState& state) const {
  state.trial = id_;
  state.step = step_;
  state.updates = optimizer_.updates();
  state.skipped_in_a_row = skipped_in_a_row_;
  state.seed = seed_;
  state.schedule = schedule();
  state.layout.clear();
  for (const auto& piece : parameters_.pieces()) {
    state.layout.emplace_back(piece.name, piece.shape);
  }
  copy_into(state.values, parameters_.values());
  copy_into(state.first, optimizer_.first_moment());
  copy_into(state.second, optimizer_.second_moment());
  if (reducer_ != nullptr) {
    for (const auto& [name, tensor] : reducer_->wire().state()) {
      copy_into(state.reduction[name], tensor);
    }
  }
}

void Trial::restore(const TrialState& position, const TensorMap& values, const TensorMap& first,
                    const TensorMap& second) {
  Tensor new_values = at::empty_like(parameters_.values());
  Tensor new_first = at::empty_like(new_values);
  Tensor new_second = at::empty_like(new_values);
  parameters_.assign(new_values, values);
  parameters_.assign(new_first, first);
  parameters_.assign(new_second, second);
  const at::NoGradGuard no_grad;
  parameters_.values().copy_(new_values);
  optimizer_.first_moment().copy_(new_first);
  optimizer_.second_moment().copy_(new_second);
  step_ = position.step;
  skipped_in_a_row_ = position.skipped_in_a_row;
  schedule_before_ = position.schedule;
  optimizer_.set_updates(position.updates);
  if (reducer_ != nullptr) {
    reducer_->wire().restore(position.reduction);
  }
}

std::vector<std::string> Trial::start_from(const TensorMap& values) {
  TensorMap all = parameters_.named(parameters_.values().clone());
  for (auto& [name, tensor] : all) {
    if (values.contains(name) || parameter_file(name) == "adapter.safetensors") {
      models::MapSource checked(values);
      tensor = checked.get(name, tensor.sizes());
    }
  }
  parameters_.assign(parameters_.values(), all);
  std::vector<std::string> unused;
  for (const auto& [name, tensor] : values) {
    if (!all.contains(name)) {
      unused.push_back(name);
    }
  }
  return unused;
}

}  // namespace desta::trainer
