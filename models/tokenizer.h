// A byte-level BPE tokenizer that reads tokenizer.json as published with Llama 3 and Whisper: the
// split pattern with Unicode classes, the merges, the added tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace desta::models {

using TokenId = std::int64_t;

class Tokenizer {
 public:
  // Reads `folder`/tokenizer.json. Throws ModelError naming the file for a missing or malformed file
  // and for a model, pre-tokenizer or normaliser that is not byte-level BPE.
  explicit Tokenizer(const std::filesystem::path& folder);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Text to tokens. Added tokens (`<|eot_id|>` and the like) in the text become themselves; nothing
  // is put before or behind. Bytes that are not UTF-8 count as U+FFFD.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text) const;
  // The same, but text that looks like an added token is spelt out: for text of users.
  [[nodiscard]] std::vector<TokenId> encode_plain(std::string_view text) const;

  // Tokens to text; special tokens are left out unless `with_special`. Incomplete UTF-8 at a cut
  // becomes U+FFFD.
  [[nodiscard]] std::string decode(std::span<const TokenId> tokens, bool with_special = false) const;

  // The id of an added token or vocabulary entry, if there is one.
  [[nodiscard]] std::optional<TokenId> find(std::string_view token) const;
  // The same; throws ModelError naming the file and the token.
  [[nodiscard]] TokenId require(std::string_view token) const;

  // One more than the largest id.
  [[nodiscard]] std::int64_t vocab_size() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace desta::models
