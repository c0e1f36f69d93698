#include "trainer/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "trainer/message_tags.h"

namespace desta::trainer {
namespace {

constexpr std::int64_t kMaximumDims = 6;
constexpr std::int64_t kPrefix = -1;

// Gaps of a step that are known by no message's tag.
constexpr int kReduceGap = 0;
constexpr int kNoGap = -1;

// A gap in which nothing comes to be done for so long is waited out in a way that notices a lost peer.
constexpr double kPatience = 1;

// How much the newest gap counts when it was longer than expected. A shorter one counts at once: it is the
// training that must not wait.
constexpr double kNewestGap = 0.25;

// More than models have units to cut.
constexpr std::int64_t kMostStages = 1024;

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

void TrialReport::add(const TrialReport& other) {
  loss += other.loss;
  tokens += other.tokens;
  right_tokens += other.right_tokens;
  if (other.gradient_norm != 0) {  // every stage that has stepped knows the whole norm, NaN or not
    gradient_norm = other.gradient_norm;
  }
  learning_rate = std::max(learning_rate, other.learning_rate);
  skipped = skipped || other.skipped;
  saves.insert(saves.end(), other.saves.begin(), other.saves.end());
}

Executor::Executor(std::vector<Stage>& stages, std::vector<TrialWork> trials, Links& links,
                   runtime::Trace& trace, at::Device device, bool fills)
    : stages_(stages),
      trials_(std::move(trials)),
      links_(links),
      trace_(trace),
      device_(device),
      fills_(fills) {}

Stage& Executor::stage_at(std::int64_t number) {
  return stages_[static_cast<std::size_t>(number / links_.pipeline->size())];
}

// A message is known by its stage, direction, trial and microbatch: a table may receive in another order
// than it sends. The prompts' beginning has the number -1.
int Executor::tag_of(const Pass& from, int direction) const {
  const std::int64_t number = key_of(from.trial, from.microbatch + 1);
  return static_cast<int>(kFirstPassTag + 2 * (number * kMostStages + from.stage) +
                          (direction > 0 ? 0 : 1));
}

void Executor::send(const Activations& tensors, const Pass& from, int direction) {
  const int ranks = links_.pipeline->size();
  const int peer = static_cast<int>((from.stage + direction + ranks) % ranks);
  const int tag = tag_of(from, direction);
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

Activations Executor::receive(const Pass& from, int direction) {
  const int peer = static_cast<int>(from.stage % links_.pipeline->size());
  const int tag = tag_of(from, direction);
  if (peer == links_.pipeline->rank()) {
    return std::move(own_messages_.extract(tag).mapped());
  }
  Activations tensors;
  TensorHeader header;
  do {
    wait(*links_.pipeline->receive_async(&header, sizeof(header), peer, tag), tag);
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
    const Tensor received =
        part.adapter ? Tensor() : receive({part.stage - 1, 0, kPrefix}, 1).front();
    const Tensor out = stage.take_prefix(received, *trials_.front().training);
    if (!part.head) {
      send({out}, {part.stage, 0, kPrefix}, 1);
    }
  }
  finish_sends();
}

void Executor::finish_sends() {
  while (!pending_.empty()) {
    const Pending pending = std::move(pending_.back());  // filling looks at the others
    pending_.pop_back();
    wait(*pending.work, kNoGap);
  }
}

void Executor::look_ahead(const StepPlan& plan) {
  for (const bool next : {false, true}) {
    for (std::size_t m = 0, more = 1; more > 0; ++m) {
      more = 0;
      for (std::size_t trial = 0; trial < plan.trials.size(); ++trial) {
        const auto& rows = next ? plan.trials[trial].next_rows : plan.trials[trial].rows;
        if (m < rows.size()) {
          ++more;
          if (plan.trials[trial].stream == trial) {
            coming_.emplace_back(trials_[trial].training, rows[m]);
          }
        }
      }
    }
  }
}

bool Executor::fill() {
  Stage& front = stages_.front();
  const auto began = std::chrono::steady_clock::now();
  while (!coming_.empty()) {
    const runtime::Trace::Span span(trace_, "look ahead", "pipeline");
    const auto& [loader, rows] = coming_.front();
    if (front.look_ahead(rows, *loader)) {
      std::erase_if(pending_, [](const Pending& pending) { return pending.work->done(); });
      filled_seconds_ += seconds_since(began);
      return true;
    }
    coming_.pop_front();
  }
  return false;
}

bool Executor::generate(double seconds) {
  const auto piece = generator_->next_seconds();
  if (!piece.has_value() || *piece > seconds) {
    return false;
  }
  const runtime::Trace::Span span(trace_, "generate", "pipeline");
  return generator_->advance();
}

template <typename Done>
void Executor::use_gap(int gap, const Done& done) {
  const bool generates = gap != kNoGap && generator_ != nullptr && gaps_are_known_;
  const auto began = std::chrono::steady_clock::now();
  double& expected = gaps_[gap];
  double useful = 0;          // when something was last done
  double last_began = -1;     // what was done last
  while (!done()) {
    const double waited = seconds_since(began);
    if (fill() || (generates && generate(expected - waited))) {
      last_began = waited;
      useful = seconds_since(began);
      continue;
    }
    last_began = -1;
    if (!generates || waited - useful > kPatience) {
      return;
    }
  }
  // Where it ended while something was done, it was over at the beginning of that at the earliest.
  const double seen = last_began < 0 ? seconds_since(began) : last_began;
  expected = seen < expected ? seen : expected + kNewestGap * (seen - expected);
}

void Executor::wait(runtime::Work& work, int gap) {
  use_gap(gap, [&] { return work.done(); });
  work.wait();
}

void Executor::reduce(GradientReducer* reducer, StageReport& report) {
  if (reducer == nullptr) {
    return;
  }
  reducer->start();
  use_gap(kReduceGap, [&] { return reducer->poll(); });
  const auto began = std::chrono::steady_clock::now();
  reducer->wait();
  report.exposed_seconds += seconds_since(began);
}

void Executor::end_step(const StepPlan& plan) {
  const auto& learning = links_.learning;
  if (!plan.learn || !plan.updates || learning.empty()) {
    return;
  }
  runtime::Communicator& pipeline = *links_.pipeline;
  const int root = static_cast<int>(learning.front());
  char over = 0;
  // Those that can use the rest of the step: the first rank for its encoder, all for generation.
  const int waiting = generator_ != nullptr ? pipeline.size() : 1;
  if (pipeline.rank() == root) {
    for (int peer = 0; peer < waiting; ++peer) {
      if (peer != root) {
        pipeline.send(&over, sizeof(over), peer, kOverTag);
      }
    }
  } else if (pipeline.rank() < waiting) {
    wait(*pipeline.receive_async(&over, sizeof(over), root, kOverTag), kOverTag);
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

Activations Executor::forward(const Pass& pass, const Activations& received, const StepPlan& plan,
                              StageReport& report) {
  const auto trial = static_cast<std::size_t>(pass.trial);
  const TrialPlan& mine = plan.trials[trial];
  const TrialWork& work = trials_[trial];
  const auto number = static_cast<std::size_t>(pass.microbatch);
  const std::vector<std::size_t>& rows =
      number < mine.rows.size() ? mine.rows[number] : mine.next_rows[number - mine.rows.size()];
  const BatchLoader& loader =
      plan.learn || work.validation == nullptr ? *work.training : work.validation->value();
  if (pass.stage == 0) {
    // Its turn has come: it is not looked ahead to any more.
    const auto own = std::ranges::find(coming_, std::pair(&loader, rows));
    if (own != coming_.end()) {
      coming_.erase(own);
    }
  }
  Stage& stage = stage_at(pass.stage);
  Activations out = stage.forward(
      {.key = key_of(pass.trial, pass.microbatch),
       .global_microbatch = mine.first_microbatch + pass.microbatch,
       .rows = &rows,
       .learn = plan.learn,
       .heard_key = key_of(static_cast<std::int64_t>(mine.stream), pass.microbatch),
       .heard_by = mine.heard_by},
      received, work.trial, loader, mine.loss_scale);
  const Stage::Loss loss = stage.take_loss();
  TrialReport& told = report.trials[trial];
  told.loss += loss.scaled_sum;
  told.tokens += loss.tokens;
  told.right_tokens += loss.right;
  return out;
}

void Executor::keep_next(const StepPlan& plan) {
  std::map<Pass, Activations> next;
  for (auto& [pass, input] : inputs_) {
    const auto count =
        static_cast<std::int64_t>(plan.trials[static_cast<std::size_t>(pass.trial)].rows.size());
    next[{pass.stage, pass.trial, pass.microbatch - count}] = std::move(input);
  }
  inputs_ = std::move(next);
}

StageReport Executor::run(const RankTable& table, const StepPlan& plan) {
  const auto start = std::chrono::steady_clock::now();
  StageReport report;
  report.trials.resize(trials_.size());
  // What was received for the next step waits while held-out rows pass through.
  auto waiting = plan.learn ? std::map<Pass, Activations>() : std::exchange(inputs_, {});
  std::map<Pass, Activations> outputs;
  std::map<Pass, Activations> gradients;        // from behind
  std::map<Pass, Activations> input_gradients;  // for the stage before
  filled_seconds_ = 0;
  gaps_are_known_ = plan.learn;
  coming_.clear();
  if (fills_ && plan.learn && stages_.front().part().encoder_front) {
    look_ahead(plan);
  }
  std::map<std::int64_t, const Action*> last_backward;  // of a trial
  for (const auto& action : table) {
    if (action.op == Op::kBackward) {
      last_backward[action.trial] = &action;
    }
  }
  for (const auto& action : table) {
    const Pass pass{action.stage, action.trial, action.microbatch};
    Trial* trial = trials_[static_cast<std::size_t>(action.trial)].trial;
    const auto began = std::chrono::steady_clock::now();
    const runtime::Trace::Span span(trace_, std::string(name_of(action.op)), "pipeline");
    switch (action.op) {
      case Op::kReceiveForward:
        inputs_[pass] = receive({pass.stage - 1, pass.trial, pass.microbatch}, 1);
        break;
      case Op::kForward:
        outputs[pass] = forward(pass, inputs_[pass], plan, report);
        inputs_.erase(pass);
        report.busy_seconds += seconds_since(began);
        break;
      case Op::kSendForward:
        send(outputs[pass], pass, 1);
        outputs.erase(pass);
        break;
      case Op::kReceiveBackward:
        gradients[pass] = receive({pass.stage + 1, pass.trial, pass.microbatch}, -1);
        break;
      case Op::kBackward:
        if (trial != nullptr && trial->reducer() != nullptr &&
            &action == last_backward.at(action.trial)) {
          trial->reducer()->expect_last_backward();
        }
        input_gradients[pass] =
            stage_at(pass.stage).backward(key_of(pass.trial, pass.microbatch), gradients[pass]);
        gradients.erase(pass);
        report.busy_seconds += seconds_since(began);
        break;
      case Op::kSendBackward:
        send(input_gradients[pass], pass, -1);
        input_gradients.erase(pass);
        break;
      case Op::kReduce:
        reduce(trial->reducer(), report);
        break;
      case Op::kStep: {
        const auto step = trial->finish_step(whole_norm(trial->gradient_norm()));
        TrialReport& told = report.trials[static_cast<std::size_t>(action.trial)];
        told.gradient_norm = step.gradient_norm;
        told.learning_rate = step.learning_rate;
        told.skipped = step.skipped;
        report.busy_seconds += seconds_since(began);
        break;
      }
    }
  }
  finish_sends();
  if (plan.learn) {
    keep_next(plan);
  } else {
    inputs_ = std::move(waiting);
  }
  end_step(plan);
  report.busy_seconds += filled_seconds_;
  if (generator_ != nullptr) {
    const GenerationWork work = generator_->take_work();
    report.generating_seconds = work.seconds;
    report.written_tokens = work.tokens;
    report.written = generator_->take_written();
  }
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace desta::trainer
