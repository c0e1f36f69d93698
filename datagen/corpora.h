// Speech corpora as they are published, read into the rows of a manifest: the corpus's own folders
// and tables in, one row a recording out. Each layout, with its sources and its words, stands at
// the head of its reader, datagen/corpus_<name>.cpp.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "datagen/manifest.h"

namespace desta::datagen {

struct Corpus {
  std::string_view name;        // "vctk"
  std::string_view title;       // "VCTK 0.92"
  std::string_view holds;       // what lies in its root folder: "speaker-info.txt, txt/"
  std::string_view attributes;  // the keys that its rows may have, as annotate() reads them
};

// The corpora that read_corpus() knows, sorted by name.
[[nodiscard]] std::span<const Corpus> corpora();

// The recordings of a corpus that lie below `root`, sorted by id, whatever the order on disk. A row
// has
//   id             "vctk/wav48_silence_trimmed/p225/p225_001_mic1.flac": the same on every machine
//   audio          absolute; sound is not opened, and duration stays 0: unknown
//   transcription  as published; empty in corpora that have none (AccentDB, VoxCeleb)
//   fields         "dataset" (the name), "speaker" where known, and what is annotated: gender,
//                  age [years], accent, emotion, intent, pitch, volume, speaking_speed
// Labels become our words by the tables in the readers. A label that says "unknown" gives no
// attribute; one that a table lacks gives none and is named in `problems`. Recordings that are
// missing, or have no words where the others have, are left out: one line of `problems` for each
// kind, with their number and the first of them.
//
// The corpus may be hostile: it is read in bounded memory, and hidden files are passed over. Throws
// DataError, one line with file and line (or record), when a table is missing, lacks a column or
// contradicts itself; for a line of more than 1 MiB, text that is not UTF-8, or a path that leaves
// the root (links are followed: who made them may put sound on another disk); and when not one
// recording is found. Throws ConfigError, with the names there are, for an unknown `name`.
[[nodiscard]] ManifestReport read_corpus(std::string_view name, const std::filesystem::path& root);

// What `source` names: a manifest's path, or NAME:ROOT, such as vctk:/corpora/VCTK-0.92, a corpus that
// corpora() has.
[[nodiscard]] ManifestReport read_recordings(const std::string& source);

}  // namespace desta::datagen
