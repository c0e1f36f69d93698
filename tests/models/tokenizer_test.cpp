#include "models/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model_fixtures.h"
#include "models/byte_level.h"
#include "models/split_pattern.h"
#include "models/tokenizer_trainer.h"

namespace desta::models {
namespace {

using nlohmann::json;

// The peer's answers of one kind, at least fifty: "cases" or "scrambled".
json expectations(const std::string& name, const std::string& kind) {
  json list = json::parse(read_file(fixture(name) / "expected.json")).at(kind);
  EXPECT_GE(list.size(), 50U);
  return list;
}

// Fixtures whose ids and texts were written by Hugging Face's tokenizers library (bench/peers).
class TokenizerParity : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerParity, EncodesAwkwardTextAsHuggingFaceDoes) {
  const Tokenizer tokenizer(fixture(GetParam()));
  for (const auto& expected : expectations(GetParam(), "cases")) {
    const auto text = expected.at("text").get<std::string>();
    EXPECT_EQ(tokenizer.encode(text), expected.at("ids").get<std::vector<TokenId>>())
        << "text: " << json(text).dump(-1, ' ', true);
  }
}

TEST_P(TokenizerParity, CutsTextInThePiecesOfHuggingFace) {
  const SplitPattern pattern(GetParam() == "tokenizer-whisper" ? kGpt2Pattern : kLlama3Pattern);
  for (const auto& expected : expectations(GetParam(), "cases")) {
    const auto text = expected.at("text").get<std::string>();
    std::vector<std::string> pieces;
    for (const auto piece : pattern.split(text)) {
      pieces.push_back(to_byte_characters(piece));
    }
    EXPECT_EQ(pieces, expected.at("pieces").get<std::vector<std::string>>())
        << "text: " << json(text).dump(-1, ' ', true);
  }
}

TEST_P(TokenizerParity, DecodesAsHuggingFaceDoes) {
  const Tokenizer tokenizer(fixture(GetParam()));
  for (const auto& expected : expectations(GetParam(), "cases")) {
    const auto ids = expected.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(ids, /*with_special=*/true), expected.at("decoded"));
    EXPECT_EQ(tokenizer.decode(ids), expected.at("without_special"));
  }
}

TEST_P(TokenizerParity, PutsTheSameReplacementCharactersForBytesThatAreNotText) {
  const Tokenizer tokenizer(fixture(GetParam()));
  for (const auto& expected : expectations(GetParam(), "scrambled")) {
    const auto ids = expected.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(ids, /*with_special=*/true), expected.at("decoded"))
        << "ids: " << expected.at("ids").dump();
  }
}

INSTANTIATE_TEST_SUITE_P(Peers, TokenizerParity,
                         testing::Values("tokenizer-llama3", "tokenizer-whisper",
                                         "tokenizer-stand-in"),
                         [](const auto& info) {
                           std::string name = info.param.substr(10);
                           std::erase(name, '-');
                           return name;
                         });

TEST(Tokenizer, GivesBackEveryTextThatItEncodes) {
  const Tokenizer tokenizer(fixture("tokenizer-llama3"));
  for (const auto& expected : expectations("tokenizer-llama3", "cases")) {
    const auto text = expected.at("text").get<std::string>();
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), true), text);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode_plain(text), true), text);
  }
}

TEST(Tokenizer, SpellsOutSpecialTokensInTextOfUsers) {
  const Tokenizer tokenizer(fixture("tokenizer-llama3"));
  const TokenId end = tokenizer.require("<|eot_id|>");
  EXPECT_EQ(tokenizer.encode("<|eot_id|>"), std::vector<TokenId>{end});
  const auto spelt = tokenizer.encode_plain("<|eot_id|>");
  EXPECT_EQ(std::count(spelt.begin(), spelt.end(), end), 0);
  EXPECT_EQ(tokenizer.decode(spelt), "<|eot_id|>");
}

TEST(Tokenizer, CountsBytesThatAreNotUtf8AsReplacementCharacters) {
  const Tokenizer tokenizer(fixture("tokenizer-llama3"));
  EXPECT_EQ(tokenizer.encode("a\xFFz"), tokenizer.encode("a\xEF\xBF\xBDz"));
}

TEST(Tokenizer, KnowsTheSizeThatAnEmbeddingNeeds) {
  // 963, by the peer's getVocabSize().
  EXPECT_EQ(Tokenizer(fixture("tokenizer-llama3")).vocab_size(), 963);
}

TEST(Tokenizer, NamesFileAndTokenWhenASpecialTokenIsMissing) {
  const Tokenizer tokenizer(fixture("tokenizer-whisper"));
  expect_model_error([&] { (void)tokenizer.require("<|eot_id|>"); },
                     {"tokenizer.json", "<|eot_id|>"});
}

TEST(Tokenizer, RefusesToDecodeWhatIsNotInTheVocabulary) {
  const Tokenizer tokenizer(fixture("tokenizer-whisper"));
  for (const TokenId id : {TokenId{-1}, tokenizer.vocab_size()}) {
    expect_model_error([&] { (void)tokenizer.decode(std::vector<TokenId>{id}); },
                       {std::to_string(id), "tokenizer.json"});
  }
}

// Files that must be turned down, with what the message must say beside the file's name.
struct BadTokenizer {
  std::string name;
  std::string pointer;  // JSON pointer of what is replaced in a good file
  std::string value;    // JSON
  std::string says;
};

void PrintTo(const BadTokenizer& bad, std::ostream* out) { *out << bad.name; }

class MalformedTokenizer : public testing::TestWithParam<BadTokenizer> {};

TEST_P(MalformedTokenizer, IsAModelErrorThatNamesTheFile) {
  const ScratchFolder folder;
  json file = json::parse(read_file(fixture("tokenizer-llama3") / "tokenizer.json"));
  file[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  folder.write("tokenizer.json", file.dump());
  expect_model_error([&] { Tokenizer tokenizer(folder.path()); },
                     {(folder.path() / "tokenizer.json").string(), GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(
    Cases, MalformedTokenizer,
    testing::Values(BadTokenizer{"Unigram", "/model/type", "\"Unigram\"", "Unigram"},
                    BadTokenizer{"ModelIsAList", "/model", "[]", "not a valid"},
                    BadTokenizer{"VocabularyIsText", "/model/vocab", "\"x\"", "not a valid"},
                    BadTokenizer{"IdIsText", "/model/vocab/a", "\"x\"", "not a valid"},
                    BadTokenizer{"IdIsNegative", "/model/vocab/a", "-3", "impossible id -3"},
                    BadTokenizer{"MergeOfUnknownTokens", "/model/merges/0", "\"qqq zzz\"", "qqq"},
                    BadTokenizer{"MergeIsANumber", "/model/merges/0", "7", "not a valid"},
                    BadTokenizer{"Normaliser", "/normalizer", R"({"type":"NFC"})", "normaliser"},
                    BadTokenizer{"Whitespace", "/pre_tokenizer", R"({"type":"Whitespace"})",
                                 "Whitespace"},
                    BadTokenizer{"PatternDoesNotCompile",
                                 "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(\"", "("},
                    BadTokenizer{"AddedTokenWithoutId", "/added_tokens/0", R"({"content":"x"})",
                                 "not a valid"}),
    [](const auto& info) { return info.param.name; });

TEST(Tokenizer, SaysThatTheFileIsMissingOrNotJson) {
  const ScratchFolder folder;
  expect_model_error([&] { Tokenizer tokenizer(folder.path()); },
                     {"tokenizer.json", "cannot read"});
  folder.write("tokenizer.json", "{\"model\":");
  expect_model_error([&] { Tokenizer tokenizer(folder.path()); },
                     {"tokenizer.json", "not a valid"});
}

TEST(ByteLevel, RepairsUtf8AsUnicodeRecommends) {
  const std::string mark = "\xEF\xBF\xBD";
  // Table 3-8 of the Unicode Standard, chapter 3: maximal subparts.
  EXPECT_EQ(repair_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + mark + mark + mark + "b" + mark + "c" + mark + mark + "d");
  // Tables 3-9 to 3-11: overlong forms, surrogates and values that are too large give one each
  // byte.
  EXPECT_EQ(repair_utf8("\xC0\xAF\xE0\x80\xBF"), mark + mark + mark + mark + mark);
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), mark + mark + mark);
  EXPECT_EQ(repair_utf8("\xF4\x91\x92\x93"), mark + mark + mark + mark);
  EXPECT_EQ(repair_utf8("whole \xF0\x9F\x98\x80"), "whole \xF0\x9F\x98\x80");
  EXPECT_EQ(repair_utf8("cut \xF0\x9F\x98"), "cut " + mark);
}

TEST(ByteLevel, EveryByteComesBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
  }
  EXPECT_EQ(from_byte_characters(to_byte_characters(all)), all);
  EXPECT_EQ(from_byte_characters(" "), std::nullopt);  // a space is spelt U+0120
}

TEST(TokenizerTrainer, MergesTheMostFrequentPairFirst) {
  const ScratchFolder folder;
  // "abab" thrice: a+b occurs six times, then ab+ab thrice.
  train_tokenizer({"abab abab abab"},
                  {.pattern = kGpt2Pattern, .vocab_size = 260, .special_tokens = {"<|end|>"}},
                  folder.path());
  const json file = json::parse(read_file(folder.path() / "tokenizer.json"));
  EXPECT_EQ(file.at("model").at("merges").at(0), (json{"a", "b"}));
  EXPECT_EQ(file.at("model").at("merges").at(1), (json{"ab", "ab"}));
  const Tokenizer tokenizer(folder.path());
  EXPECT_EQ(tokenizer.encode("abab").size(), 1U);
  EXPECT_EQ(tokenizer.encode("<|end|>"), std::vector<TokenId>{tokenizer.vocab_size() - 1});
}

}  // namespace
}  // namespace desta::models
