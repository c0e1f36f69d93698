#include "trainer/stage.h"

#include <torch/csrc/autograd/autograd.h>

#include "runtime/core/error.h"

namespace desta::trainer {

Stage::Stage(StagePart part, const ModelShapes& shapes, models::TensorSource& speech,
             models::TensorSource& llm, const models::TensorMap& learned,
             const FeatureCache* features)
    : part_(part), taps_(shapes.adapter.taps), recompute_(shapes.recompute) {
  models::MapSource own(learned);
  const auto split = frozen_end(part_, shapes);
  if (part_.encoder_front || part_.encoder_begin < split) {
    frozen_front_.emplace(part_, shapes, speech, features);
  }
  if (split < part_.encoder_end) {
    trained_encoder_.emplace(shapes.whisper, models::EncoderPart{split, part_.encoder_end, false}, own);
  }
  if (part_.has_llama()) {
    const models::Lora lora(own, shapes.lora.value_or(models::LoraConfig()));
    llama_.emplace(shapes.llama,
                   models::LlamaPart{part_.llama_begin, part_.llama_end, part_.adapter, part_.head},
                   llm, shapes.lora.has_value() ? &lora : nullptr);
  }
}

bool Stage::look_ahead(const std::vector<std::size_t>& rows, const BatchLoader& loader) {
  return part_.encoder_front && frozen_front_->advance(rows, loader);
}

Activations Stage::hear(const Input& input, const Activations& received,
                        const BatchLoader& loader) {
  const auto found = heard_.find(input.heard_key);
  if (found != heard_.end()) {
    if (--found->second.left > 0) {
      return found->second.out;
    }
    return std::move(heard_.extract(found).mapped().out);
  }
  Activations out = part_.has_encoder() ? run_encoder(input, received, loader) : received;
  if (part_.adapter && input.heard_by > 1) {
    heard_[input.heard_key] = {out, input.heard_by - 1};
  }
  return out;
}

Activations Stage::run_encoder(const Input& input, const Activations& received,
                               const BatchLoader& loader) {
  Activations out = part_.encoder_front         ? frozen_front_->take(*input.rows, loader)
                    : frozen_front_.has_value() ? frozen_front_->run(received)
                                                : received;
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
  if (part_.has_encoder() || part_.adapter) {
    current = hear(input, current, loader);
  }
  if (part_.has_llama()) {
    const at::AutoGradMode gradients(input.learn);
    if (recompute_ && input.learn) {
      kept.again = Again{input, *input.rows, current, trial, &loader, {}};
    }
    current = run_llama(input, current, trial, loader, loss_scale,
                        kept.again.has_value() ? &*kept.again : nullptr);
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

Tensor Stage::run_layers(const Input& input, const Activations& received, Trial* trial,
                         const TextBatch& text) {
  Tensor hidden = received.front();
  if (part_.adapter) {
    // Hidden states behind the last tap are not used.
    const Activations tapped(received.begin() + 1, received.end());
    hidden = splice(input.learn ? trial->forward(tapped, input.global_microbatch)
                                : trial->infer(tapped),
                    text);
  }
  return llama_->run_layers(hidden, text.packing, prefix_);
}

Activations Stage::run_llama(const Input& input, const Activations& received, Trial* trial,
                             const BatchLoader& loader, double loss_scale, Again* again) {
  const TextBatch text = loader.text(*input.rows);
  Tensor hidden;
  {
    const at::AutoGradMode gradients(input.learn && again == nullptr);
    hidden = run_layers(input, received, trial, text);
  }
  if (!part_.head) {
    return {hidden};
  }
  if (again != nullptr) {
    again->head_input = hidden = hidden.detach().requires_grad_(true);
  }
  return {loss(hidden, text, loss_scale)};
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
  Kept kept = std::move(found->second);
  kept_.erase(found);
  Activations arriving = gradients;
  if (kept.again.has_value()) {
    Again& again = *kept.again;
    if (part_.head) {
      torch::autograd::backward(kept.outputs, {});
      arriving = {again.head_input.grad()};
    }
    again.input.rows = &again.rows;
    const at::AutoGradMode on(true);
    kept.outputs = {run_layers(again.input, again.received, again.trial, again.loader->text(again.rows))};
  }
  std::vector<Tensor> roots;
  std::vector<Tensor> root_gradients;
  for (std::size_t i = 0; i < kept.outputs.size(); ++i) {
    const bool flows = arriving.empty() || arriving[i].numel() > 0;
    if (flows && kept.outputs[i].requires_grad()) {
      roots.push_back(kept.outputs[i]);
      root_gradients.push_back(arriving.empty() ? Tensor() : arriving[i]);
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
