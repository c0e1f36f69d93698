// How dataset rows travel between actors.
#pragma once

#include "datagen/dataset.h"

namespace desta::datagen {

template <class Archive>
void serialize(Archive& archive, Row& row) {
  archive(row.id, row.audio_filepath, row.transcription, row.seed_transcript, row.prompt,
          row.response, row.metadata_json, row.generator, row.decoding, row.group, row.seed, row.duration);
}

}  // namespace desta::datagen
