#include "trainer/gradient_hooks.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

namespace desta::trainer {

// Hooks cannot be taken off a node; they end with the state that they look at.
struct GradientHooks::State {
  std::function<void(std::size_t)> arrived;
  // A tensor holds its own weakly.
  std::vector<std::shared_ptr<torch::autograd::Node>> accumulators;
};

namespace {

class Hook : public torch::autograd::FunctionPostHook {
 public:
  explicit Hook(std::function<void()> call) : call_(std::move(call)) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list& /*inputs*/) override {
    call_();
    return outputs;
  }

 private:
  std::function<void()> call_;
};

}  // namespace

GradientHooks::GradientHooks(const FlatParameters& parameters,
                             std::function<void(std::size_t)> arrived)
    : state_(std::make_shared<State>()) {
  state_->arrived = std::move(arrived);
  for (std::size_t index = 0; index < parameters.pieces().size(); ++index) {
    const Tensor& tensor = parameters.tensors().at(parameters.pieces()[index].name);
    auto accumulator = torch::autograd::impl::grad_accumulator(tensor);
    accumulator->add_post_hook(
        std::make_unique<Hook>([weak = std::weak_ptr<State>(state_), index] {
          if (const auto state = weak.lock()) {
            state->arrived(index);
          }
        }));
    state_->accumulators.push_back(std::move(accumulator));
  }
}

GradientHooks::~GradientHooks() = default;

}  // namespace desta::trainer
