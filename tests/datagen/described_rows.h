// Rows, and shards that are not as they should be, for the tests of datasets.
#pragma once

#include <hdf5.h>

#include <fstream>
#include <functional>
#include <string>

#include "datagen/dataset.h"
#include "datagen/dataset_shard.h"
#include "datagen/metadata.h"
#include "runtime/core/hash.h"
#include "test_files.h"

namespace desta::datagen {

inline Attribute attribute(const std::string& name, const std::string& word,
                           Source source = Source::kMeasured) {
  return {.name = name, .text = word, .word = word, .number = {}, .unit = {}, .source = source};
}

// Even rows are spoken by women, which is annotated; every third one is Low, which is measured.
inline Row described_row(int number) {
  Metadata metadata = {
      attribute("gender", number % 2 == 0 ? "Female" : "Male", Source::kAnnotated)};
  if (number % 3 == 0) {
    metadata.push_back(attribute("pitch", "Low", Source::kMeasured));
    metadata.back().number = 100 + number;
    metadata.back().unit = "Hz";
  }
  Row row;
  row.audio_filepath = "audio/" + std::to_string(number) + ".wav";
  row.transcription = "Sentence \"" + std::to_string(number) + "\", caf\xc3\xa9.";
  row.seed_transcript = "[00:00:00 - 00:00:02]: \"" + row.transcription + "\" (Gender:Male)";
  row.prompt = number % 4 == 0 ? "Who speaks?" : "What can you hear from the audio?";
  row.response = "Response number " + std::to_string(number);
  row.metadata_json = metadata_to_json(metadata).dump();
  row.generator = "test";
  row.decoding = "greedy";
  row.seed = 1000000000000ULL + static_cast<std::uint64_t>(number);
  row.duration = 0.5 * (number + 1);
  row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                   row.decoding);
  return row;
}

inline void write_described(const std::filesystem::path& folder, int first, int count,
                            std::size_t per_shard) {
  DatasetWriter writer(folder, per_shard);
  for (int i = first; i < first + count; ++i) {
    writer.append(described_row(i));
  }
  writer.finish();
}

// Puts `bytes` where `found` stands in a file.
inline void overwrite(const std::filesystem::path& path, const std::string& found,
                      const std::string& bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::size_t at = text.find(found);
  ASSERT_NE(at, std::string::npos) << found;
  file.clear();
  file.seekp(static_cast<std::streamoff>(at));
  file << bytes;
}

// Opens an HDF5 file for `change`.
inline void change_hdf5(const std::filesystem::path& path, const std::function<void(hid_t)>& change) {
  const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  ASSERT_TRUE(file.valid());
  change(file.get());
}

inline void set_version(const std::filesystem::path& path, std::uint32_t version) {
  change_hdf5(path, [&](hid_t file) {
    const Hdf5Handle attribute(H5Aopen(file, "version", H5P_DEFAULT), H5Aclose);
    ASSERT_GE(H5Awrite(attribute.get(), H5T_NATIVE_UINT32, &version), 0);
  });
}

}  // namespace desta::datagen
