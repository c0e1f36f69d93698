// Llama 3's chat layout, with DeSTA2's extra role for speech:
//   <|begin_of_text|><|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>...
#pragma once

#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace desta::models {

class ChatFormat {
 public:
  // Throws ModelError when the tokenizer lacks one of the special tokens.
  explicit ChatFormat(const Tokenizer& tokenizer);

  [[nodiscard]] TokenId begin() const { return begin_; }
  [[nodiscard]] TokenId end_of_turn() const { return end_of_turn_; }

  // Appends `<|start_header_id|>role<|end_header_id|>\n\n`.
  void append_header(std::string_view role, std::vector<TokenId>& out) const;
  // Appends a whole turn. Text that looks like a special token is spelt out.
  void append_turn(std::string_view role, std::string_view content,
                   std::vector<TokenId>& out) const;

 private:
  const Tokenizer* tokenizer_;
  TokenId begin_, start_header_, end_header_, end_of_turn_;
};

// A prompt that holds speech: tokens with a gap of `queries` speech vectors after `speech_at` tokens.
//   <bos>[system]<audio header>[speech]transcription<eot><user header>question<eot><assistant header>
struct SpeechPrompt {
  std::vector<TokenId> tokens;
  std::int64_t speech_at = 0;
};

// `system` may be empty: training uses none.
[[nodiscard]] SpeechPrompt speech_prompt(const ChatFormat& format, const Tokenizer& tokenizer,
                                         std::string_view system, std::string_view transcription,
                                         std::string_view question);

// <bos><user header>text<eot><assistant header>: a prompt without speech.
[[nodiscard]] std::vector<TokenId> text_prompt(const ChatFormat& format, std::string_view text);

}  // namespace desta::models
