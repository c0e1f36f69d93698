// The frozen encoder's layers of one stage, for microbatches in their turn and ahead of it. What it makes of
// a recording does not depend on what learns: whenever it runs, the bits are the same.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "models/log_mel.h"
#include "models/whisper.h"
#include "trainer/batch_loader.h"
#include "trainer/feature_cache.h"
#include "trainer/partition.h"

namespace desta::trainer {

// What crosses a stage boundary. In front of the adapter: hidden states and the taps so far, [batch,
// frames, d_model] each. Behind it: the rows' hidden states, packed, [total, hidden].
using Activations = std::vector<models::Tensor>;

class FrozenFront {
 public:
  // `features`: where what the first stage makes is kept, or null; then recordings go through it one by
  // one, so that what is found there and what is computed are the same to the bit.
  FrozenFront(const StagePart& part, const ModelShapes& shapes, models::TensorSource& speech,
              const FeatureCache* features);

  // On the first stage: hidden states and taps of these rows. Goes on from where advance() has come.
  [[nodiscard]] Activations take(const std::vector<std::size_t>& rows, const BatchLoader& loader);
  // On a later one: the same from what the stage before has sent.
  [[nodiscard]] Activations run(Activations received) const;

  // On the first stage: one slice of the work that take() of these rows will need (the sound and the
  // convolutions, or one layer; with features one recording), and true; false when all of it is done.
  bool advance(const std::vector<std::size_t>& rows, const BatchLoader& loader);

 private:
  // Rows of different data sets may have the same numbers.
  using Key = std::pair<const BatchLoader*, std::vector<std::size_t>>;
  struct Work {
    Activations out;               // hidden states and taps so far; none before the convolutions
    std::vector<Activations> each; // with features: of the recordings that are done
    std::int64_t next_layer = 0;
  };
  bool advance(Work& work, const std::vector<std::size_t>& rows, const BatchLoader& loader) const;
  [[nodiscard]] Activations run_whole(const std::vector<std::size_t>& rows,
                                      const BatchLoader& loader) const;

  std::vector<std::int64_t> taps_;
  std::int64_t begin_;
  std::int64_t end_;
  models::WhisperEncoder encoder_;
  std::optional<models::LogMel> log_mel_;
  const FeatureCache* features_;
  std::map<Key, Work> ahead_;
};

}  // namespace desta::trainer
