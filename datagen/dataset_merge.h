// Several datasets made one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace desta::datagen {

struct MergedInput {
  std::filesystem::path folder;
  std::uint64_t taken = 0;
  std::uint64_t duplicates = 0;  // rows whose id was there already, from this input or one before it
  std::uint64_t rejected = 0;    // rows that a filter took out, and that are remembered as such in the output
};

// Copies the rows of `inputs`, in order, into a new dataset `output`; of rows with one id the first is
// taken. What filters took out (rejected_rows.h) goes along, in the same order, but for ids that are rows now. The
// copy is made beside `output` as .NAME.merging and renamed when it is whole: whatever kills a
// merge, `output` is whole or absent, and the same merge starts over. Throws ConfigError when `output` is
// an input, lies in one or holds one, or is there and not empty, or when another process is merging into
// it; DataError for an input that is no dataset or damaged; InternalError when the disk is full.
std::vector<MergedInput> merge_datasets(const std::filesystem::path& output,
                                        const std::vector<std::filesystem::path>& inputs,
                                        std::size_t rows_per_shard = 1000);

}  // namespace desta::datagen
