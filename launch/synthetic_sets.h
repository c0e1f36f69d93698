// The sets of synthetic speech that a configuration asks for: what training hears, and what it is
// tested on.
#pragma once

#include <string>
#include <vector>

#include "datagen/synthetic_corpus.h"
#include "launch/config.h"

namespace desta::launch {

struct SyntheticSet {
  std::string name;       // of its folder under data.folder/speech
  bool held_out = false;  // evaluated, never learned from
  datagen::SyntheticCorpusOptions corpus;
};

// In the order of their making. The training sets speak with training voices (of
// data.synthetic.train_accents, if any are named). Held out are
//   held-out      other voices in the same accents, noise and rooms drawn as in training
//   flite         another synthesiser's voices
// and, with data.synthetic.robustness, held-out voices and sentences in which one thing is fixed:
//   clean         neither noise nor reverberation
//   noise-30 ...  noise at 30, 20, 10, 5 and 0 dB SNR, no reverberation
//   reverberant   a large room (C50 0 dB: early and late energy are equal), no noise
//   new-accents   where training accents are named: all others
// Throws ConfigError when an accent is unknown.
[[nodiscard]] std::vector<SyntheticSet> synthetic_sets(const JobConfig& config);

// Speaks what is missing of them, where the configuration asks for synthetic speech. Throws as
// datagen::write_synthetic_corpus() does.
void speak(const JobConfig& config);

}  // namespace desta::launch
