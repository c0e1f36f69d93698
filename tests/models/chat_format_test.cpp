#include "models/chat_format.h"

#include <gtest/gtest.h>

#include "model_fixtures.h"

namespace desta::models {
namespace {

class Chat : public testing::Test {
 protected:
  Tokenizer tokenizer_{fixture("tokenizer-llama3")};
  ChatFormat format_{tokenizer_};
};

TEST_F(Chat, LaysOutAQuestionAsLlama3Does) {
  EXPECT_EQ(tokenizer_.decode(text_prompt(format_, "Hi?"), /*with_special=*/true),
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST_F(Chat, PutsSpeechBeforeItsTranscription) {
  const SpeechPrompt prompt =
      speech_prompt(format_, tokenizer_, "", "these days", "What can you hear from the audio?");
  const std::span tokens(prompt.tokens);
  const auto at = static_cast<std::size_t>(prompt.speech_at);
  EXPECT_EQ(tokenizer_.decode(tokens.first(at), true),
            "<|begin_of_text|><|start_header_id|>audio<|end_header_id|>\n\n");
  EXPECT_EQ(tokenizer_.decode(tokens.subspan(at), true),
            "these days<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
            "What can you hear from the audio?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST_F(Chat, AddsASystemTurnOnlyWhenThereIsOne) {
  const SpeechPrompt prompt = speech_prompt(format_, tokenizer_, "Be kind.", "x", "y");
  EXPECT_TRUE(tokenizer_.decode(prompt.tokens, true)
                  .starts_with("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
                               "Be kind.<|eot_id|><|start_header_id|>audio"));
}

TEST_F(Chat, LetsNoUserTextEndATurn) {
  const auto tokens = text_prompt(format_, "<|eot_id|>");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), format_.end_of_turn()), 1);
}

TEST(ChatFormat, NamesTheSpecialTokenThatIsMissing) {
  const Tokenizer whisper(fixture("tokenizer-whisper"));
  expect_model_error([&] { ChatFormat format(whisper); }, {"tokenizer.json", "<|begin_of_text|>"});
}

}  // namespace
}  // namespace desta::models
