// A whole training job in miniature: random models of a few thousand parameters in Hugging Face
// layout, a handful of tones as speech, and an HDF5 dataset with ragged rows. Made in a second, so
// that tests run the real programs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "trainer/options.h"

namespace desta::tests {

// Writes models, audio and dataset under `folder` and returns options that train on them: float32,
// no dropout, eight samples a step in microbatches of two.
[[nodiscard]] trainer::TrainingOptions make_tiny_job(const std::filesystem::path& folder);

// The same options, for a folder that make_tiny_job has filled.
[[nodiscard]] trainer::TrainingOptions tiny_options(const std::filesystem::path& folder);

// A configuration file for the programs with the same content. Returns its path.
std::filesystem::path write_tiny_config(const std::filesystem::path& folder);

// A fresh folder under the system's temporary folder.
[[nodiscard]] std::filesystem::path fresh_folder(const std::string& name);

}  // namespace desta::tests
