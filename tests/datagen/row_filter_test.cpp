#include "datagen/row_filter.h"

#include <gtest/gtest.h>

#include "datagen/attribute_words.h"
#include "datagen/metadata.h"
#include "datagen/seed_transcript.h"
#include "described_rows.h"

namespace desta::datagen {
namespace {

const Metadata kMan = {attribute("gender", "Male"), attribute("pitch", "Low"), attribute("volume", "High")};

Row answered(const std::string& response, const std::string& transcription = "Rain falls.",
             const Metadata& metadata = kMan) {
  Row row;
  row.id = "0";
  row.audio_filepath = "a.wav";
  row.transcription = transcription;
  row.seed_transcript = seed_transcript(transcription, 2, metadata);
  row.metadata_json = metadata_to_json(metadata).dump();
  row.response = response;
  return row;
}

// The filter that takes the response out, or "".
std::string filter_of(const Row& row, const FilterOptions& options) {
  const auto rejection = judge(row, options);
  return rejection ? rejection->filter : "";
}

TEST(RowFilter, NothingIsTakenOutUnlessAsked) {
  for (const char* response : {"", "As an AI, I cannot hear.", "a a a a a a a a a a a a a a a a a", "A woman."}) {
    EXPECT_EQ(judge(answered(response), {}), std::nullopt) << response;
  }
}

TEST(RowFilter, LengthCountsWords) {
  FilterOptions options;
  options.min_words = 2;
  options.max_words = 3;
  EXPECT_EQ(filter_of(answered("One."), options), "min_words");
  EXPECT_EQ(filter_of(answered(""), options), "min_words");
  EXPECT_EQ(filter_of(answered("One\n two."), options), "");
  EXPECT_EQ(filter_of(answered("One two three."), options), "");
  EXPECT_EQ(filter_of(answered("One two three four."), options), "max_words");
}

TEST(RowFilter, RefusalsAreFoundButNotInQuotations) {
  FilterOptions options;
  options.refusals = true;
  for (const char* refusal : {"As an AI language model, I have no ears.", "I'm sorry, but I can't help.",
                              "Unfortunately I can\xe2\x80\x99t say, since I do not have the ability to listen.",
                              "I CANNOT HEAR the audio."}) {
    EXPECT_EQ(filter_of(answered(refusal), options), "refusals") << refusal;
  }
  EXPECT_EQ(filter_of(answered("A man says: \"I'm sorry, but I cannot hear you.\"",
                               "I'm sorry, but I cannot hear you."),
                      options),
            "");
  EXPECT_EQ(filter_of(answered("I cannot tell the accent from this."), options), "") << "an answer";
  options.refusal_phrases = {"no ears"};
  EXPECT_EQ(filter_of(answered("I have no ears."), options), "refusals");
  EXPECT_EQ(filter_of(answered("As an AI, no."), options), "");
}

TEST(RowFilter, RepetitionIsWhatCompressesTooWell) {
  FilterOptions options;
  options.repetition = 2.4;
  std::string loop;
  for (int i = 0; i < 30; ++i) {
    loop += "The speaker has a low pitch. ";
  }
  EXPECT_EQ(filter_of(answered(loop), options), "repetition");
  // A description of DeSTA2's kind, 60 words.
  EXPECT_EQ(filter_of(answered("The audio features a male speaker with a Scottish accent who says that these days "
                               "are long gone. His voice has a high pitch and a low volume, and he speaks at a fast "
                               "pace with a neutral emotion. There is a moderate level of background noise, and the "
                               "recording lasts for about four seconds in a room with some reverberation."),
                      options),
            "");
  EXPECT_EQ(filter_of(answered("Yes."), options), "");
  EXPECT_EQ(filter_of(answered(""), options), "");
}

TEST(RowFilter, AnotherLanguageIsTakenOutWhereItIsSure) {
  FilterOptions options;
  options.language = "en";
  EXPECT_EQ(filter_of(answered("Der Sprecher ist ein Mann mit tiefer Stimme, und es regnet im Hintergrund."), options),
            "language");
  EXPECT_EQ(filter_of(answered("\xe8\xaf\xb4\xe8\xaf\x9d\xe7\x9a\x84\xe4\xba\xba\xe6\x98\xaf\xe4\xb8\x80\xe4\xbd\x8d"
                               "\xe7\x94\xb7\xe6\x80\xa7\xef\xbc\x8c\xe5\xa3\xb0\xe9\x9f\xb3\xe5\xbe\x88\xe4\xbd\x8e"),
                      options),
            "language");
  EXPECT_EQ(filter_of(answered("The speaker is a man with a deep voice, and rain falls behind him."), options), "");
  for (const char* unsure : {"Yes.", "42", ""}) {
    EXPECT_EQ(filter_of(answered(unsure), options), "") << unsure;
  }
  options.language = "de";
  EXPECT_EQ(filter_of(answered("The speaker is a man with a deep voice, and rain falls behind him."), options),
            "language");
  EXPECT_TRUE(is_known_language("en"));
  EXPECT_FALSE(is_known_language("english"));
  EXPECT_FALSE(is_known_language("xx"));
}

TEST(RowFilter, MentionsAreCountedAmongWhatWasTold) {
  FilterOptions options;
  options.mentions = 2;
  EXPECT_EQ(filter_of(answered("A man says that rain falls."), options), "mentions");
  EXPECT_EQ(filter_of(answered("A man with a deep-pitched voice."), options), "");
  EXPECT_EQ(filter_of(answered("It is a loud voice, rather low in pitch."), options), "");
  options.mentions = 3;
  EXPECT_EQ(filter_of(answered("A man with a deep-pitched voice."), options), "mentions");
  EXPECT_EQ(filter_of(answered("A man, loud, low in pitch."), options), "");
  options.mentions = 5;
  EXPECT_EQ(filter_of(answered("A man, loud, low in pitch."), options), "") << "all that there are";
  // What the seed did not tell need not be said.
  Row row = answered("A man.");
  row.seed_transcript = seed_transcript(row.transcription, 2, kMan, {.attributes = {"gender"}});
  EXPECT_EQ(filter_of(row, options), "");
  // Groups have their own number.
  options.group_mentions = {{"words", 0}};
  row = answered("Rain falls.");
  EXPECT_EQ(filter_of(row, options), "mentions");
  row.group = "words";
  EXPECT_EQ(filter_of(row, options), "");
}

TEST(RowFilter, AContradictionStatesAnotherValueAlone) {
  FilterOptions options;
  options.contradictions = true;
  for (const char* wrong : {"The speaker is female.", "A woman speaks.", "A voice of high pitch.",
                            "The voice is high-pitched.", "The pitch of the voice is rather high.",
                            "She talks softly.", "He speaks quietly, at a normal speed."}) {
    EXPECT_EQ(filter_of(answered(wrong), options), "contradictions") << wrong;
  }
  for (const char* right :
       {"The speaker is male.", "A man, not a woman.", "The speaker is not a woman.",
        "A man speaks at a high volume with a low pitch.", "The volume is high, and the pitch low.",
        "Low pitch, high volume.", "There is high background noise.", "He talks at a low speed.",
        "The speaker says: Rain falls."}) {
    EXPECT_EQ(filter_of(answered(right), options), "") << right;
  }
  EXPECT_EQ(filter_of(answered("The man says: \"Is the woman here?\"", "Is the woman here?"), options), "");
  EXPECT_EQ(filter_of(answered("He says \"Is the woman here?\"", "Is the woman here?"), options), "") << "quoted";
  EXPECT_EQ(filter_of(answered("A woman.", "Rain falls.", {}), options), "") << "nothing is known";
  const auto rejection = judge(answered("A woman speaks."), options);
  ASSERT_TRUE(rejection.has_value());
  EXPECT_EQ(rejection->reason, "says 'woman' where gender is Male");
  const Attribute twenty = attribute("age", "20");
  EXPECT_EQ(contradiction("An elderly man.", twenty), std::nullopt) << "a number is no word";
}

TEST(RowFilter, DuplicatesAreTheSameWordsAboutTheSameRecording) {
  EXPECT_EQ(response_key(answered("A man speaks.")), response_key(answered("a man  speaks")));
  EXPECT_NE(response_key(answered("A man speaks.")), response_key(answered("A man spoke.")));
  Row other = answered("A man speaks.");
  other.audio_filepath = "b.wav";
  EXPECT_NE(response_key(answered("A man speaks.")), response_key(other));
}

}  // namespace
}  // namespace desta::datagen
