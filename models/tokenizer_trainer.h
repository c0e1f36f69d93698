// Learns a byte-level BPE vocabulary from text (Sennrich et al. 2016) and writes it as a
// tokenizer.json of the published layout. Used to make the stand-in models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace desta::models {

struct TokenizerRecipe {
  std::string pattern;                      // how text is cut before merging
  std::int64_t vocab_size = 0;              // with the special tokens, which come last
  std::vector<std::string> special_tokens;  // in the order of their ids
};

// Counts pieces over `texts`, merges the most frequent pair (the first in byte order among equals)
// until the vocabulary is full or no pair occurs twice, and writes `folder`/tokenizer.json.
void train_tokenizer(const std::vector<std::string>& texts, const TokenizerRecipe& recipe,
                     const std::filesystem::path& folder);

}  // namespace desta::models
