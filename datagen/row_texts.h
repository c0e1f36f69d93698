// The texts of a row by name: columns of a shard, keys of a rejected row. Their order is the shards': a new one
// goes to the end, with a new version (dataset_shard.cpp).
#pragma once

#include <array>
#include <string>

#include "datagen/dataset.h"

namespace desta::datagen {

struct RowText {
  const char* name;
  std::string Row::*member;
};

inline constexpr auto kRowTexts = std::to_array<RowText>({
    {"id", &Row::id},
    {"audio_filepath", &Row::audio_filepath},
    {"transcription", &Row::transcription},
    {"seed_transcript", &Row::seed_transcript},
    {"prompt", &Row::prompt},
    {"response", &Row::response},
    {"metadata_json", &Row::metadata_json},
    {"generator", &Row::generator},
    {"decoding", &Row::decoding},
    {"group", &Row::group},
});

}  // namespace desta::datagen
