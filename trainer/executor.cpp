#include "trainer/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "models/torch_util.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

constexpr std::int64_t kMaximumDims = 6;
constexpr int kNormTag = 1;
constexpr int kOverTag = 2;
constexpr std::int64_t kPrefix = -1;

// Tags below are those of messages between stages that stand outside of a table (trial_exchange.cpp).
constexpr std::int64_t kFirstTag = 16;
// More than models have units to cut.
constexpr std::int64_t kMostStages = 1024;

// A message is known by its stage, direction and microbatch: a table may receive in another order than it
// sends. The prompts' beginning has the number -1.
int tag_of(std::int64_t from, int direction, std::int64_t microbatch) {
  return static_cast<int>(kFirstTag + 2 * ((microbatch + 1) * kMostStages + from) +
                          (direction > 0 ? 0 : 1));
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What goes before a tensor's bytes: how many tensors are still to come (with this one), its type
// and its shape.
struct TensorHeader {
  std::int64_t remaining = 0;
  std::int64_t dtype = 0;
  std::int64_t dims = 0;
  std::int64_t sizes[kMaximumDims] = {};
};

}  // namespace

Executor::Executor(std::vector<Stage>& stages, Trial* trial, Links& links,
                   const BatchLoader& training, const BatchLoader* validation,
                   runtime::Trace& trace, at::Device device, bool fills)
    : stages_(stages),
      trial_(trial),
      links_(links),
      training_(training),
      validation_(validation),
      trace_(trace),
      device_(device),
      fills_(fills) {}

Stage& Executor::stage_at(std::int64_t number) {
  return stages_[static_cast<std::size_t>(number / links_.pipeline->size())];
}

void Executor::send(const Activations& tensors, std::int64_t from, int direction,
                    std::int64_t microbatch) {
  const int ranks = links_.pipeline->size();
  const int peer = static_cast<int>((from + direction + ranks) % ranks);
  const int tag = tag_of(from, direction, microbatch);
  if (peer == links_.pipeline->rank()) {
    own_messages_[tag] = tensors;
    return;
  }
  auto remaining = static_cast<std::int64_t>(tensors.size());
  for (const auto& tensor : tensors) {
    TensorHeader header{remaining--, static_cast<std::int64_t>(tensor.scalar_type()), tensor.dim()};
    std::copy(tensor.sizes().begin(), tensor.sizes().end(), header.sizes);
    Tensor head = at::empty({static_cast<std::int64_t>(sizeof(header))}, at::kByte);
    std::memcpy(head.data_ptr(), &header, sizeof(header));
    for (const Tensor& buffer : {head, tensor.to(at::kCPU).contiguous()}) {
      auto work = links_.pipeline->send_async(buffer.data_ptr(), models::byte_size(buffer), peer, tag);
      pending_.push_back({buffer, std::move(work)});
    }
  }
  std::erase_if(pending_, [](const Pending& pending) { return pending.work->done(); });
}

Activations Executor::receive(std::int64_t from, int direction, std::int64_t microbatch) {
  const int peer = static_cast<int>(from % links_.pipeline->size());
  const int tag = tag_of(from, direction, microbatch);
  if (peer == links_.pipeline->rank()) {
    return std::move(own_messages_.extract(tag).mapped());
  }
  Activations tensors;
  TensorHeader header;
  do {
    wait(*links_.pipeline->receive_async(&header, sizeof(header), peer, tag));
    Tensor tensor = at::empty(at::IntArrayRef(header.sizes, static_cast<std::size_t>(header.dims)),
                              static_cast<at::ScalarType>(header.dtype));
    links_.pipeline->receive(tensor.data_ptr(), models::byte_size(tensor), peer, tag);
    tensors.push_back(tensor.to(device_));
  } while (header.remaining > 1);
  return tensors;
}

void Executor::share_prefix() {
  const at::NoGradGuard no_grad;
  for (Stage& stage : stages_) {
    const StagePart& part = stage.part();
    if (!part.has_llama()) {
      continue;
    }
    const Tensor received = part.adapter ? Tensor() : receive(part.stage - 1, 1, kPrefix).front();
    const Tensor out = stage.take_prefix(received, training_);
    if (!part.head) {
      send({out}, part.stage, 1, kPrefix);
    }
  }
  finish_sends();
}

void Executor::finish_sends() {
  while (!pending_.empty()) {
    const Pending pending = std::move(pending_.back());  // filling looks at the others
    pending_.pop_back();
    wait(*pending.work);
  }
}

bool Executor::fill() {
  Stage& front = stages_.front();
  const auto began = std::chrono::steady_clock::now();
  while (!coming_.empty()) {
    const runtime::Trace::Span span(trace_, "look ahead", "pipeline");
    if (front.look_ahead(coming_.front(), training_)) {
      std::erase_if(pending_, [](const Pending& pending) { return pending.work->done(); });
      filled_seconds_ += seconds_since(began);
      return true;
    }
    coming_.pop_front();
  }
  return false;
}

void Executor::wait(runtime::Work& work) {
  while (!work.done() && fill()) {
  }
  work.wait();
}

void Executor::reduce(StageReport& report) {
  GradientReducer* reducer = trial_->reducer();
  if (reducer == nullptr) {
    return;
  }
  reducer->start();
  while (!reducer->poll() && fill()) {
  }
  const auto began = std::chrono::steady_clock::now();
  reducer->wait();
  report.exposed_seconds += seconds_since(began);
}

void Executor::end_step(const StepPlan& plan) {
  const auto& learning = links_.learning;
  if (!plan.learn || !plan.updates || learning.empty() || learning.front() == 0) {
    return;
  }
  runtime::Communicator& pipeline = *links_.pipeline;
  char over = 0;
  if (pipeline.rank() == learning.front()) {
    pipeline.send(&over, sizeof(over), 0, kOverTag);
  } else if (pipeline.rank() == 0) {
    wait(*pipeline.receive_async(&over, sizeof(over), static_cast<int>(learning.front()), kOverTag));
  }
}

double Executor::whole_norm(double own) {
  const auto& learning = links_.learning;
  if (learning.size() < 2) {
    return own;
  }
  runtime::Communicator& pipeline = *links_.pipeline;
  const int root = static_cast<int>(learning.front());
  double norm = own;
  if (pipeline.rank() != root) {
    pipeline.send(&norm, sizeof(norm), root, kNormTag);
    pipeline.receive(&norm, sizeof(norm), root, kNormTag);
    return norm;
  }
  double squares = own * own;
  for (std::size_t i = 1; i < learning.size(); ++i) {
    pipeline.receive(&norm, sizeof(norm), static_cast<int>(learning[i]), kNormTag);
    squares += norm * norm;
  }
  norm = std::sqrt(squares);
  for (std::size_t i = 1; i < learning.size(); ++i) {
    pipeline.send(&norm, sizeof(norm), static_cast<int>(learning[i]), kNormTag);
  }
  return norm;
}

StageReport Executor::run(const RankTable& table, const StepPlan& plan) {
  const auto start = std::chrono::steady_clock::now();
  const BatchLoader& loader = plan.learn || validation_ == nullptr ? training_ : *validation_;
  StageReport report;
  using Pass = std::pair<std::int64_t, std::int64_t>;  // stage, microbatch
  std::map<Pass, Activations> inputs;
  std::map<Pass, Activations> outputs;
  std::map<Pass, Activations> gradients;        // from behind
  std::map<Pass, Activations> input_gradients;  // for the stage before
  filled_seconds_ = 0;
  coming_.clear();
  if (fills_ && plan.learn && stages_.front().part().encoder_front) {
    coming_.insert(coming_.end(), plan.rows.begin(), plan.rows.end());
    coming_.insert(coming_.end(), plan.next_rows.begin(), plan.next_rows.end());
  }
  const Action* last_backward = nullptr;
  for (const auto& action : table) {
    last_backward = action.op == Op::kBackward ? &action : last_backward;
  }
  for (const auto& action : table) {
    const auto m = action.microbatch;
    const Pass pass{action.stage, m};
    const auto began = std::chrono::steady_clock::now();
    const runtime::Trace::Span span(trace_, std::string(name_of(action.op)), "pipeline");
    switch (action.op) {
      case Op::kReceiveForward:
        inputs[pass] = receive(action.stage - 1, 1, m);
        break;
      case Op::kForward:
        if (action.stage == 0) {
          // Its turn has come: it is not looked ahead to any more.
          const auto own = std::ranges::find(coming_, plan.rows[static_cast<std::size_t>(m)]);
          if (own != coming_.end()) {
            coming_.erase(own);
          }
        }
        outputs[pass] = stage_at(action.stage)
                            .forward({.key = m,
                                      .global_microbatch = plan.first_microbatch + m,
                                      .rows = &plan.rows[static_cast<std::size_t>(m)],
                                      .learn = plan.learn},
                                     inputs[pass], trial_, loader, plan.loss_scale);
        inputs.erase(pass);
        report.busy_seconds += seconds_since(began);
        break;
      case Op::kSendForward:
        send(outputs[pass], action.stage, 1, m);
        outputs.erase(pass);
        break;
      case Op::kReceiveBackward:
        gradients[pass] = receive(action.stage + 1, -1, m);
        break;
      case Op::kBackward:
        if (trial_ != nullptr && trial_->reducer() != nullptr && &action == last_backward) {
          trial_->reducer()->expect_last_backward();
        }
        input_gradients[pass] = stage_at(action.stage).backward(m, gradients[pass]);
        gradients.erase(pass);
        report.busy_seconds += seconds_since(began);
        break;
      case Op::kSendBackward:
        send(input_gradients[pass], action.stage, -1, m);
        input_gradients.erase(pass);
        break;
      case Op::kReduce:
        reduce(report);
        break;
      case Op::kStep: {
        const auto step = trial_->finish_step(whole_norm(trial_->gradient_norm()));
        report.gradient_norm = step.gradient_norm;
        report.learning_rate = step.learning_rate;
        report.skipped = step.skipped;
        report.busy_seconds += seconds_since(began);
        break;
      }
    }
  }
  finish_sends();
  end_step(plan);
  report.busy_seconds += filled_seconds_;
  for (Stage& stage : stages_) {
    const auto loss = stage.take_loss();
    report.loss += loss.scaled_sum;
    report.tokens += loss.tokens;
    report.right_tokens += loss.right;
  }
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace desta::trainer
