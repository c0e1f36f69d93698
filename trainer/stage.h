// One pipeline stage: a contiguous run of the frozen models, and the adapter where it falls, with the
// passes over one microbatch. Knows nothing of messages; the executor carries them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/log_mel.h"
#include "models/safetensors.h"
#include "trainer/batch_loader.h"
#include "trainer/partition.h"
#include "trainer/trial.h"

namespace desta::trainer {

// What crosses a stage boundary: hidden states, and in front of the adapter the taps so far.
using Activations = std::vector<Tensor>;

class Stage {
 public:
  // Loads this part's tensors from the two model sources and nothing else.
  Stage(StagePart part, const ModelShapes& shapes, models::TensorSource& speech,
        models::TensorSource& llm);

  [[nodiscard]] const StagePart& part() const { return part_; }

  // Forward pass of one microbatch. `input`: from the stage before, empty on the first.
  // With `learn`, what backward() needs is kept under `key` until it is called.
  struct Input {
    std::int64_t key = 0;                // names the microbatch within the step
    std::int64_t global_microbatch = 0;  // its number over all replicas
    const std::vector<std::size_t>* rows = nullptr;
    bool learn = true;
  };
  Activations forward(const Input& input, const Activations& received, Trial* trial,
                      const BatchLoader& loader, double loss_scale);

  // Backward pass: takes the gradient of what forward() sent (nothing on the last stage), adds the
  // adapter's gradients into its trial, returns the gradient of what forward() received (nothing on
  // the adapter's stage).
  Tensor backward(std::int64_t key, const Tensor& gradient);

  // Sum of the token losses times loss_scale, and tokens and right guesses, since the last call.
  struct Loss {
    double scaled_sum = 0;
    std::int64_t tokens = 0;
    std::int64_t right = 0;
  };
  Loss take_loss();

 private:
  struct Kept {
    Tensor input;   // leaf that gets a gradient; undefined on the adapter's stage
    Tensor output;  // what backward starts from
  };
  Activations run_encoder(const Input& input, const Activations& received,
                          const BatchLoader& loader) const;
  Tensor splice(const Tensor& speech, const TextBatch& text) const;
  Tensor loss(const Tensor& hidden, const TextBatch& text, double scale);

  StagePart part_;
  std::vector<std::int64_t> taps_;
  std::optional<models::WhisperEncoder> encoder_;
  std::optional<models::LogMel> log_mel_;
  std::optional<models::Llama> llama_;
  std::map<std::int64_t, Kept> kept_;
  Loss loss_;
};

}  // namespace desta::trainer
