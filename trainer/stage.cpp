#include "trainer/stage.h"

#include <torch/csrc/autograd/autograd.h>

#include "runtime/core/error.h"

namespace desta::trainer {

Stage::Stage(StagePart part, const ModelShapes& shapes, models::TensorSource& speech,
             models::TensorSource& llm)
    : part_(part), taps_(shapes.adapter.taps) {
  if (part_.has_encoder()) {
    encoder_.emplace(shapes.whisper,
                     models::EncoderPart{part_.encoder_begin, part_.encoder_end,
                                         part_.encoder_front},
                     speech);
  }
  if (part_.encoder_front) {
    log_mel_.emplace(shapes.whisper.mel_bins, shapes.whisper.mel_frames());
  }
  if (part_.has_llama()) {
    llama_.emplace(shapes.llama,
                   models::LlamaPart{part_.llama_begin, part_.llama_end, part_.adapter, part_.head},
                   llm);
  }
}

Activations Stage::run_encoder(const Input& input, const Activations& received,
                               const BatchLoader& loader) const {
  const at::NoGradGuard no_grad;
  Activations out;
  Tensor hidden;
  if (part_.encoder_front) {
    hidden = encoder_->convolve(loader.audio(*input.rows, *log_mel_));
  } else {
    hidden = received.front();
    out.assign(received.begin() + 1, received.end());
  }
  hidden = encoder_->run_layers(hidden, taps_, out);
  if (!part_.adapter) {
    out.insert(out.begin(), hidden);
  }
  return out;
}

Tensor Stage::splice(const Tensor& speech, const TextBatch& text) const {
  const Tensor words = llama_->embed(text.tokens);
  const auto behind = text.tokens.size(1) - text.speech_at;
  return at::cat({words.narrow(1, 0, text.speech_at), speech.to(words.scalar_type()),
                  words.narrow(1, text.speech_at, behind)},
                 1);
}

Tensor Stage::loss(const Tensor& hidden, const TextBatch& text, double scale) {
  const Tensor flat = hidden.reshape({-1, hidden.size(2)});
  const Tensor picked = flat.index_select(0, text.learn_positions.to(flat.device()));
  const Tensor logits = llama_->logits(picked).to(at::kFloat);
  const Tensor targets = text.targets.to(logits.device());
  const Tensor sum = at::cross_entropy_loss(logits, targets, {}, at::Reduction::Sum) * scale;
  loss_.scaled_sum += sum.item<double>();
  loss_.tokens += targets.numel();
  loss_.right += logits.detach().argmax(1).eq(targets).sum().item<std::int64_t>();
  return sum;
}

Activations Stage::forward(const Input& input, const Activations& received, Trial* trial,
                           const BatchLoader& loader, double loss_scale) {
  Activations current = received;
  if (part_.has_encoder()) {
    current = run_encoder(input, received, loader);
  } else if (part_.adapter && !current.empty()) {
    current.erase(current.begin());  // hidden states behind the last tap are not used
  }
  if (!part_.has_llama()) {
    return current;
  }
  const at::AutoGradMode gradients(input.learn);
  std::optional<TextBatch> text;
  if (part_.adapter || part_.head) {
    text = loader.text(*input.rows);
  }
  Kept kept;
  Tensor hidden;
  if (part_.adapter) {
    const Tensor speech = input.learn ? trial->forward(current, input.global_microbatch)
                                      : trial->infer(current);
    hidden = splice(speech, *text);
  } else {
    hidden = current.front().detach().requires_grad_(input.learn);
    kept.input = hidden;
  }
  hidden = llama_->run_layers(hidden);
  kept.output = part_.head ? loss(hidden, *text, loss_scale) : hidden;
  Activations out;
  if (!part_.head) {
    out.push_back(hidden.detach());
  }
  if (input.learn) {
    kept_[input.key] = std::move(kept);
  }
  return out;
}

Tensor Stage::backward(std::int64_t key, const Tensor& gradient) {
  const auto found = kept_.find(key);
  if (found == kept_.end()) {
    throw runtime::InternalError("backward of microbatch {} before its forward", key);
  }
  const Kept kept = std::move(found->second);
  kept_.erase(found);
  torch::autograd::backward({kept.output}, {gradient});
  return kept.input.defined() ? kept.input.grad() : Tensor();
}

Stage::Loss Stage::take_loss() { return std::exchange(loss_, Loss{}); }

}  // namespace desta::trainer
