#include "models/chat_format.h"

#include <string>

namespace desta::models {

ChatFormat::ChatFormat(const Tokenizer& tokenizer)
    : tokenizer_(&tokenizer),
      begin_(tokenizer.require("<|begin_of_text|>")),
      start_header_(tokenizer.require("<|start_header_id|>")),
      end_header_(tokenizer.require("<|end_header_id|>")),
      end_of_turn_(tokenizer.require("<|eot_id|>")) {}

void ChatFormat::append_header(std::string_view role, std::vector<TokenId>& out) const {
  out.push_back(start_header_);
  const auto name = tokenizer_->encode_plain(role);
  out.insert(out.end(), name.begin(), name.end());
  out.push_back(end_header_);
  const auto gap = tokenizer_->encode_plain("\n\n");
  out.insert(out.end(), gap.begin(), gap.end());
}

void ChatFormat::append_turn(std::string_view role, std::string_view content,
                             std::vector<TokenId>& out) const {
  append_header(role, out);
  const auto text = tokenizer_->encode_plain(content);
  out.insert(out.end(), text.begin(), text.end());
  out.push_back(end_of_turn_);
}

SpeechPrompt speech_prompt(const ChatFormat& format, const Tokenizer& tokenizer,
                           std::string_view system, std::string_view transcription,
                           std::string_view question) {
  SpeechPrompt prompt;
  prompt.tokens.push_back(format.begin());
  if (!system.empty()) {
    format.append_turn("system", system, prompt.tokens);
  }
  format.append_header("audio", prompt.tokens);
  prompt.speech_at = static_cast<std::int64_t>(prompt.tokens.size());
  const auto words = tokenizer.encode_plain(transcription);
  prompt.tokens.insert(prompt.tokens.end(), words.begin(), words.end());
  prompt.tokens.push_back(format.end_of_turn());
  format.append_turn("user", question, prompt.tokens);
  format.append_header("assistant", prompt.tokens);
  return prompt;
}

std::vector<TokenId> text_prompt(const ChatFormat& format, std::string_view text) {
  std::vector<TokenId> tokens = {format.begin()};
  format.append_turn("user", text, tokens);
  format.append_header("assistant", tokens);
  return tokens;
}

}  // namespace desta::models
