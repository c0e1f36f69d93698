#include "models/tokenizer_trainer.h"

#include <map>
#include <nlohmann/json.hpp>

#include "models/byte_level.h"
#include "models/split_pattern.h"
#include "runtime/core/atomic_file.h"

namespace desta::models {
using nlohmann::json;

namespace {

using Symbols = std::vector<std::string>;

// Distinct pieces of the texts, as single byte characters, with how often each occurs.
std::vector<std::pair<Symbols, std::int64_t>> count_pieces(const std::vector<std::string>& texts,
                                                           const SplitPattern& pattern) {
  std::map<std::string, std::int64_t> counts;
  for (const auto& text : texts) {
    for (const auto piece : pattern.split(text)) {
      ++counts[std::string(piece)];
    }
  }
  std::vector<std::pair<Symbols, std::int64_t>> pieces;
  for (const auto& [piece, count] : counts) {
    Symbols symbols;
    for (const char byte : piece) {
      symbols.push_back(to_byte_characters({&byte, 1}));
    }
    pieces.emplace_back(std::move(symbols), count);
  }
  return pieces;
}

void apply_merge(Symbols& symbols, const std::string& left, const std::string& right) {
  Symbols merged;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    if (i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right) {
      merged.push_back(left + right);
      ++i;
    } else {
      merged.push_back(symbols[i]);
    }
  }
  symbols = std::move(merged);
}

json pre_tokenizer(const std::string& pattern) {
  const bool gpt2 = pattern == kGpt2Pattern;
  const json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", gpt2}};
  if (gpt2) {
    return byte_level;
  }
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}};
}

}  // namespace

void train_tokenizer(const std::vector<std::string>& texts, const TokenizerRecipe& recipe,
                     const std::filesystem::path& folder) {
  auto pieces = count_pieces(texts, SplitPattern(recipe.pattern));
  std::map<std::string, std::int64_t> vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    vocabulary.emplace(to_byte_characters({&value, 1}),
                       static_cast<std::int64_t>(vocabulary.size()));
  }
  json merges = json::array();
  const auto plain_size =
      recipe.vocab_size - static_cast<std::int64_t>(recipe.special_tokens.size());
  while (static_cast<std::int64_t>(vocabulary.size()) < plain_size) {
    std::map<std::pair<std::string, std::string>, std::int64_t> pairs;
    for (const auto& [symbols, count] : pieces) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        pairs[{symbols[i], symbols[i + 1]}] += count;
      }
    }
    const auto best = std::max_element(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
      return a.second < b.second;
    });
    if (best == pairs.end() || best->second < 2) {
      break;
    }
    const auto& [left, right] = best->first;
    vocabulary.emplace(left + right, static_cast<std::int64_t>(vocabulary.size()));
    merges.push_back({left, right});
    for (auto& [symbols, count] : pieces) {
      apply_merge(symbols, left, right);
    }
  }
  json added = json::array();
  auto id = static_cast<std::int64_t>(vocabulary.size());
  for (const auto& token : recipe.special_tokens) {
    added.push_back({{"id", id++},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const json file = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", pre_tokenizer(recipe.pattern)},
      {"post_processor", nullptr},
      {"decoder",
       {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocabulary},
        {"merges", merges}}}};
  runtime::write_file_atomically(folder / "tokenizer.json", file.dump() + "\n");
}

}  // namespace desta::models
