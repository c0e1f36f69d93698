#include "trainer/plain_wire.h"

#include <algorithm>

#include "trainer/error_feedback.h"
#include "trainer/wire_memory.h"

namespace desta::trainer {
namespace {

constexpr const char* kError = "error.";

}  // namespace

PlainWire::PlainWire(FlatParameters& parameters, runtime::Communicator& replicas,
                     at::ScalarType type)
    : parameters_(parameters), replicas_(replicas) {
  const Tensor& gradients = parameters.gradients();
  if (type != at::kFloat) {
    error_ = at::zeros_like(gradients);
  }
  if (type == at::kFloat && gradients.is_cuda() == reduces_on_device(replicas)) {
    parameters.move_gradients(
        make_wire_memory(replicas, parameters.count(), type, gradients.device()));
    wire_ = parameters.gradients();
  } else {
    wire_ = make_wire_memory(replicas, parameters.count(), type, gradients.device());
  }
}

void PlainWire::send(std::int64_t begin, std::int64_t count) {
  const at::NoGradGuard no_grad;
  Tensor part = wire_.narrow(0, begin, count);
  const Tensor gradient = parameters_.gradients().narrow(0, begin, count);
  if (error_.defined()) {
    Tensor error = error_.narrow(0, begin, count);
    if (part.device() == gradient.device()) {
      round_with_feedback(gradient, error, part);
    } else {
      Tensor rounded = at::empty({count}, gradient.options().dtype(part.scalar_type()));
      round_with_feedback(gradient, error, rounded);
      part.copy_(rounded);
    }
  } else if (!part.is_alias_of(gradient)) {
    part.copy_(gradient);
  }
  sent_.push_back({begin, count, all_reduce_async(replicas_, part, runtime::ReduceOp::kSum)});
}

bool PlainWire::poll() {
  return std::ranges::all_of(sent_, [](const Sent& sent) { return sent.work->done(); });
}

void PlainWire::wait() {
  const at::NoGradGuard no_grad;
  for (const Sent& sent : sent_) {
    sent.work->wait();
    const Tensor part = wire_.narrow(0, sent.begin, sent.count);
    Tensor gradient = parameters_.gradients().narrow(0, sent.begin, sent.count);
    if (!part.is_alias_of(gradient)) {
      gradient.copy_(part);
    }
  }
  sent_.clear();
}

void PlainWire::reset() {
  if (error_.defined()) {
    error_.zero_();
  }
}

void PlainWire::even_out() {
  if (error_.defined()) {
    average(replicas_, error_);
  }
}

TensorMap PlainWire::state() {
  TensorMap out;
  if (error_.defined()) {
    for (const auto& [name, view] : parameters_.named(error_)) {
      out[kError + name] = view;
    }
  }
  return out;
}

void PlainWire::restore(const TensorMap& state) {
  reset();
  copy_known(state, this->state());
}

}  // namespace desta::trainer
