// Cutting text into the pieces that BPE merges within, by a regular expression with Unicode classes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace desta::models {

// GPT-2's pattern, which Whisper's tokenizer implies, and Llama 3's.
extern const char* const kGpt2Pattern;
extern const char* const kLlama3Pattern;

class SplitPattern {
 public:
  // Throws ModelError when the expression does not compile.
  explicit SplitPattern(const std::string& expression);

  // Matches and what lies between them, in order; together they are `text`, which must be UTF-8.
  [[nodiscard]] std::vector<std::string_view> split(std::string_view text) const;

 private:
  std::shared_ptr<void> code_;
};

}  // namespace desta::models
