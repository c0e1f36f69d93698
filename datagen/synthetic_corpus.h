// A folder of synthetic speech with a manifest: a data set for tests, demonstrations and training
// where no recordings are at hand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "datagen/manifest.h"
#include "datagen/synthesiser.h"
#include "datagen/synthetic_speech.h"
#include "datagen/voices.h"

namespace desta::datagen {

struct SyntheticCorpusOptions {
  std::filesystem::path folder;
  Split split = Split::kTrain;  // of the sentences
  std::size_t count = 1000;
  std::uint64_t seed = 1;
  std::vector<Voice> voices;  // empty: voices(split)
  std::optional<Air> air = std::nullopt;  // of all clips; none: drawn for each
};

// Writes folder/audio/NNNNNN-<id>.wav and, last of all, folder/manifest.jsonl; returns its rows.
// Utterance i depends on the seed and i alone, so a larger count continues a smaller one, and a
// run that was cut short goes on where it stopped: wavs that are there already are kept. A row
// carries what is true by construction (gender, age, accent, speaker, snr_db and c50_db where set)
// as annotations, and "plan": the settings and the words that they were meant to give.
// `progress`, if given, hears how many of `count` are done. Throws InternalError when the folder
// cannot be written.
std::vector<ManifestRow> write_synthetic_corpus(
    Synthesiser& synthesiser, const SyntheticCorpusOptions& options,
    const std::function<void(std::size_t done, std::size_t count)>& progress = {});

}  // namespace desta::datagen
