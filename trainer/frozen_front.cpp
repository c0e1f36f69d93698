#include "trainer/frozen_front.h"

namespace desta::trainer {

FrozenFront::FrozenFront(const StagePart& part, const ModelShapes& shapes,
                         models::TensorSource& speech, const FeatureCache* features)
    : taps_(shapes.adapter.taps),
      begin_(part.encoder_begin),
      end_(frozen_end(part, shapes)),
      encoder_(shapes.whisper, models::EncoderPart{begin_, end_, part.encoder_front}, speech),
      features_(features) {
  if (part.encoder_front) {
    log_mel_.emplace(shapes.whisper.mel_bins, shapes.whisper.mel_frames());
  }
}

Activations FrozenFront::run(Activations received) const {
  const at::NoGradGuard no_grad;
  const models::Tensor hidden = received.front();
  received.front() = encoder_.run_layers(hidden, taps_, received);
  return received;
}

Activations FrozenFront::run_whole(const std::vector<std::size_t>& rows,
                                   const BatchLoader& loader) const {
  return run({encoder_.convolve(loader.audio(rows, *log_mel_))});
}

bool FrozenFront::advance(Work& work, const std::vector<std::size_t>& rows,
                          const BatchLoader& loader) const {
  const at::NoGradGuard no_grad;
  if (features_ != nullptr) {
    if (work.each.size() == rows.size()) {
      return false;
    }
    const std::size_t row = rows[work.each.size()];
    work.each.push_back(
        features_->get(loader.audio_path(row), [&] { return run_whole({row}, loader); }));
    return true;
  }
  if (work.out.empty()) {
    work.out = {encoder_.convolve(loader.audio(rows, *log_mel_))};
    work.next_layer = begin_;
    return true;
  }
  if (work.next_layer == end_) {
    return false;
  }
  const models::Tensor hidden = work.out.front();
  work.out.front() = encoder_.run_layer(work.next_layer++, hidden, taps_, work.out);
  return true;
}

bool FrozenFront::advance(const std::vector<std::size_t>& rows, const BatchLoader& loader) {
  return advance(ahead_[{&loader, rows}], rows, loader);
}

Activations FrozenFront::take(const std::vector<std::size_t>& rows, const BatchLoader& loader) {
  auto begun = ahead_.extract({&loader, rows});
  Work work = begun.empty() ? Work{} : std::move(begun.mapped());
  while (advance(work, rows, loader)) {
  }
  if (work.each.empty()) {
    return std::move(work.out);
  }
  Activations out;
  for (std::size_t i = 0; i < work.each.front().size(); ++i) {
    std::vector<models::Tensor> column;
    for (const auto& activations : work.each) {
      column.push_back(activations[i]);
    }
    out.push_back(at::cat(column));
  }
  return out;
}

}  // namespace desta::trainer
