// One pipeline stage: a contiguous run of the frozen models, and the adapter where it falls, with the
// passes over one microbatch. Knows nothing of messages; the executor carries them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/safetensors.h"
#include "trainer/batch_loader.h"
#include "trainer/frozen_front.h"
#include "trainer/partition.h"
#include "trainer/trial.h"

namespace desta::trainer {

using models::Tensor;

class Stage {
 public:
  // Loads this part's tensors from the two model sources and nothing else. With shapes.recompute, what the
  // adapter and the LLM's layers keep for the backward pass is made again then. `learned`: what learns here
  // beside the adapter, by name; it takes the place of the sources' tensors. `features`: as
  // FrozenFront's.
  Stage(StagePart part, const ModelShapes& shapes, models::TensorSource& speech,
        models::TensorSource& llm, const models::TensorMap& learned = {},
        const FeatureCache* features = nullptr);

  [[nodiscard]] const StagePart& part() const { return part_; }
  // Its part of the LLM, or null.
  [[nodiscard]] const models::Llama* llama() const { return llama_.has_value() ? &*llama_ : nullptr; }

  // Forward pass of one microbatch. `input`: from the stage before, empty on the first.
  // With `learn`, what backward() needs is kept under `key` until it is called.
  struct Input {
    std::int64_t key = 0;                // names trial and microbatch within the step
    std::int64_t global_microbatch = 0;  // its number over all replicas
    const std::vector<std::size_t>* rows = nullptr;
    bool learn = true;
    // Where the adapter is: so many passes of the step have the same rows, known by the same number. The
    // first hears them for all; the others get nothing from the stage before.
    std::int64_t heard_key = 0;
    std::int64_t heard_by = 1;
  };
  Activations forward(const Input& input, const Activations& received, Trial* trial,
                      const BatchLoader& loader, double loss_scale);

  // Does a slice of what forward() of these rows will need of the frozen encoder in front, where that is
  // here. False when there is none, or nothing of it is left to do (FrozenFront::advance).
  bool look_ahead(const std::vector<std::size_t>& rows, const BatchLoader& loader);

  // The prompts' beginning through this stage's layers of the LLM, whose keys and values all microbatches
  // see from then on: [length, hidden] from the stage before (none for the adapter's stage, which has the
  // tokens) -> the same for the stage behind.
  [[nodiscard]] Tensor take_prefix(const Tensor& received, const BatchLoader& loader);

  // Backward pass: takes the gradients of what forward() sent (none on the last stage), adds those of
  // what learns into the trial, returns the gradients of what forward() received (none on the first
  // stage with a backward pass). A gradient without elements: nothing flows back there.
  Activations backward(std::int64_t key, const Activations& gradients);

  // Sum of the token losses times loss_scale, and tokens and right guesses, since the last call.
  struct Loss {
    double scaled_sum = 0;
    std::int64_t tokens = 0;
    std::int64_t right = 0;
  };
  Loss take_loss();

 private:
  // A pass to be made again.
  struct Again {
    Input input;
    std::vector<std::size_t> rows;
    Activations received;
    Trial* trial = nullptr;
    const BatchLoader* loader = nullptr;
    Tensor head_input;  // on the last stage: a leaf
  };
  struct Kept {
    Activations inputs;   // leaves that get gradients
    Activations outputs;  // what backward starts from
    std::optional<Again> again;
  };
  // What the adapter hears: what the encoder's layers here make of the input, or what was received.
  Activations hear(const Input& input, const Activations& received, const BatchLoader& loader);
  // What the encoder's layers here make of the input: the hidden states, then the taps so far.
  Activations run_encoder(const Input& input, const Activations& received,
                          const BatchLoader& loader);
  // Adapter and layers: hidden states, packed.
  Tensor run_layers(const Input& input, const Activations& received, Trial* trial,
                    const TextBatch& text);
  // And the loss. `again`: where they are to be made again.
  Activations run_llama(const Input& input, const Activations& received, Trial* trial,
                        const BatchLoader& loader, double loss_scale, Again* again);
  Tensor splice(const Tensor& speech, const TextBatch& text) const;
  Tensor loss(const Tensor& hidden, const TextBatch& text, double scale);

  StagePart part_;
  std::vector<std::int64_t> taps_;
  bool recompute_;
  std::optional<FrozenFront> frozen_front_;
  std::optional<models::WhisperEncoder> trained_encoder_;  // the layers behind, where they learn
  std::optional<models::Llama> llama_;
  models::LlamaPrefix prefix_;
  std::map<std::int64_t, Kept> kept_;
  struct Heard {
    Activations out;
    std::int64_t left = 0;  // passes that are still to come
  };
  std::map<std::int64_t, Heard> heard_;
  Loss loss_;
};

}  // namespace desta::trainer
