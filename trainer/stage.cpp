#include "trainer/stage.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "runtime/core/error.h"

namespace desta::trainer {

Stage::Stage(StagePart part, const ModelShapes& shapes, models::TensorSource& speech,
             models::TensorSource& llm, const models::TensorMap& learned,
             const FeatureCache* features)
    : part_(part),
      taps_(shapes.adapter.taps),
      features_(features) {
  models::MapSource own(learned);
  const auto split = std::clamp(shapes.trained_from(), part_.encoder_begin, part_.encoder_end);
  if (part_.encoder_front || part_.encoder_begin < split) {
    frozen_encoder_.emplace(
        shapes.whisper, models::EncoderPart{part_.encoder_begin, split, part_.encoder_front}, speech);
  }
  if (split < part_.encoder_end) {
    trained_encoder_.emplace(shapes.whisper, models::EncoderPart{split, part_.encoder_end, false}, own);
  }
  if (part_.encoder_front) {
    log_mel_.emplace(shapes.whisper.mel_bins, shapes.whisper.mel_frames());
  }
  if (part_.has_llama()) {
    const models::Lora lora(own, shapes.lora.value_or(models::LoraConfig()));
    llama_.emplace(shapes.llama,
                   models::LlamaPart{part_.llama_begin, part_.llama_end, part_.adapter, part_.head},
                   llm, shapes.lora.has_value() ? &lora : nullptr);
  }
}

Activations Stage::run_frozen_front(const std::vector<std::size_t>& rows,
                                    const BatchLoader& loader) const {
  const auto run = [&](const std::vector<std::size_t>& some) {
    Activations out(1);
    out[0] = frozen_encoder_->run_layers(frozen_encoder_->convolve(loader.audio(some, *log_mel_)),
                                         taps_, out);
    return out;
  };
  if (features_ == nullptr) {
    return run(rows);
  }
  std::vector<Activations> each;
  for (const auto row : rows) {
    each.push_back(features_->get(loader.audio_path(row), [&] { return run({row}); }));
  }
  Activations out;
  for (std::size_t i = 0; i < each.front().size(); ++i) {
    std::vector<Tensor> column;
    for (const auto& activations : each) {
      column.push_back(activations[i]);
    }
    out.push_back(at::cat(column));
  }
  return out;
}

void Stage::look_ahead(const std::vector<std::size_t>& rows, const BatchLoader& loader) {
  if (part_.encoder_front && !ahead_.contains({&loader, rows})) {
    const at::NoGradGuard no_grad;
    ahead_[{&loader, rows}] = run_frozen_front(rows, loader);
  }
}

Activations Stage::take_frozen_front(const std::vector<std::size_t>& rows,
                                     const BatchLoader& loader) {
  auto found = ahead_.extract({&loader, rows});
  return found.empty() ? run_frozen_front(rows, loader) : std::move(found.mapped());
}

Activations Stage::run_encoder(const Input& input, const Activations& received,
                               const BatchLoader& loader) {
  Activations out;
  if (part_.encoder_front) {
    const at::NoGradGuard no_grad;
    out = take_frozen_front(*input.rows, loader);
  } else {
    out = received;
    if (frozen_encoder_.has_value()) {
      const at::NoGradGuard no_grad;
      const Tensor hidden = out.front();
      out.front() = frozen_encoder_->run_layers(hidden, taps_, out);
    }
  }
  if (trained_encoder_.has_value()) {
    const at::AutoGradMode gradients(input.learn);
    const Tensor hidden = out.front();
    out.front() = trained_encoder_->run_layers(hidden, taps_, out);
  }
  return out;
}

Tensor Stage::splice(const Tensor& speech, const TextBatch& text) const {
  const Tensor words = llama_->embed(text.tokens);
  const Tensor heard = speech.to(words.scalar_type());
  std::vector<Tensor> pieces;
  std::int64_t begin = 0;
  for (std::int64_t row = 0; row < heard.size(0); ++row) {
    const auto length = text.packing.lengths()[static_cast<std::size_t>(row)] - heard.size(1);
    pieces.push_back(words.narrow(0, begin, text.speech_at));
    pieces.push_back(heard[row]);
    pieces.push_back(words.narrow(0, begin + text.speech_at, length - text.speech_at));
    begin += length;
  }
  return at::cat(pieces);
}

Tensor Stage::loss(const Tensor& hidden, const TextBatch& text, double scale) {
  const Tensor picked = hidden.index_select(0, text.learn_positions.to(hidden.device()));
  const models::HeadLoss loss = llama_->loss(picked, text.targets, scale);
  loss_.scaled_sum += loss.sum.item<double>();
  loss_.tokens += text.targets.numel();
  loss_.right += loss.right;
  return loss.sum;
}

Activations Stage::forward(const Input& input, const Activations& received, Trial* trial,
                           const BatchLoader& loader, double loss_scale) {
  Kept kept;
  Activations current = received;
  if (input.learn && part_.backward_before) {
    for (auto& tensor : current) {
      tensor = tensor.detach().requires_grad_(true);
    }
    kept.inputs = current;
  }
  if (part_.has_encoder()) {
    current = run_encoder(input, current, loader);
  }
  if (part_.has_llama()) {
    const at::AutoGradMode gradients(input.learn);
    current = run_llama(input, current, trial, loader, loss_scale);
  }
  Activations out;
  if (!part_.head) {
    for (const auto& tensor : current) {
      out.push_back(tensor.detach());
    }
  }
  if (input.learn && part_.has_backward()) {
    kept.outputs = std::move(current);
    kept_[input.key] = std::move(kept);
  }
  return out;
}

Activations Stage::run_llama(const Input& input, const Activations& received, Trial* trial,
                             const BatchLoader& loader, double loss_scale) {
  const TextBatch text = loader.text(*input.rows);
  Tensor hidden = received.front();
  if (part_.adapter) {
    // Hidden states behind the last tap are not used.
    const Activations tapped(received.begin() + 1, received.end());
    hidden = splice(input.learn ? trial->forward(tapped, input.global_microbatch)
                                : trial->infer(tapped),
                    text);
  }
  hidden = llama_->run_layers(hidden, text.packing, prefix_);
  return {part_.head ? loss(hidden, text, loss_scale) : hidden};
}

Tensor Stage::take_prefix(const Tensor& received, const BatchLoader& loader) {
  prefix_ = llama_->make_prefix(part_.adapter ? llama_->embed(loader.prefix()) : received);
  return prefix_.output;
}

Activations Stage::backward(std::int64_t key, const Activations& gradients) {
  const auto found = kept_.find(key);
  if (found == kept_.end()) {
    throw runtime::InternalError("backward of microbatch {} before its forward", key);
  }
  const Kept kept = std::move(found->second);
  kept_.erase(found);
  std::vector<Tensor> roots;
  std::vector<Tensor> root_gradients;
  for (std::size_t i = 0; i < kept.outputs.size(); ++i) {
    const bool flows = gradients.empty() || gradients[i].numel() > 0;
    if (flows && kept.outputs[i].requires_grad()) {
      roots.push_back(kept.outputs[i]);
      root_gradients.push_back(gradients.empty() ? Tensor() : gradients[i]);
    }
  }
  torch::autograd::backward(roots, root_gradients);
  Activations back;
  for (const auto& input : kept.inputs) {
    back.push_back(input.grad().defined() ? input.grad() : at::empty({0}, input.options()));
  }
  return back;
}

Stage::Loss Stage::take_loss() { return std::exchange(loss_, Loss{}); }

}  // namespace desta::trainer
