#include <gtest/gtest.h>

#include <algorithm>

#include "corpus_folders.h"
#include "datagen/corpora.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::ConfigError;
using runtime::DataError;

// The refusal of a corpus: one line.
std::string refusal(const std::string& name, const fs::path& root) {
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(read_corpus(name, root)); });
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 600U) << message;
  return message;
}

const std::string kHuge(10'000'000, 'x');

TEST(CorpusRefusals, VctkRefusesATableThatItCannotTrust) {
  const TestFolder root;
  make_vctk(root);
  const fs::path table = root / "speaker-info.txt";
  const auto refusal_of = [&](const std::string& text) {
    put(table, text);
    return refusal("vctk", root.path());
  };
  const std::string header = "ID  AGE  GENDER  ACCENTS  REGION\n";
  expect_in(table.string() + ":1: the columns ID AGE GENDER ACCENTS", refusal_of("p225  23  F\n"));
  expect_in(table.string() + ":1: the columns", refusal_of("ID  AGE  ACCENTS\n"));
  expect_in(table.string() + ":1: the columns", refusal_of(""));
  expect_in(table.string() + ":3: id, age, gender and accent",
            refusal_of(header + "p225  23  F  English\np226  22  M\n"));
  expect_in(table.string() + ":2: \"young\" is no age",
            refusal_of(header + "p225 young F English\n"));
  expect_in(table.string() + ":2: \"230\" is no age", refusal_of(header + "p225 230 F English\n"));
  expect_in(table.string() + ":2: \"23x\" is no age", refusal_of(header + "p225 23x F English\n"));
  expect_in(table.string() + ":3: \"p225\" is described twice",
            refusal_of(header + "p225 23 F English\np225 24 F English\n"));
  expect_in(table.string() + ":2: not UTF-8", refusal_of(header + "p225 23 F Engl\xffsh\n"));
  expect_in(table.string() + ":2: longer than 1048576 bytes", refusal_of(header + kHuge));
  fs::remove(table);
  expect_in(table.string() + ": no such file", refusal("vctk", root.path()));
  fs::create_directory(table);
  expect_in(table.string() + ": no such file", refusal("vctk", root.path()));
}

TEST(CorpusRefusals, VctkRefusesTextsThatAreNone) {
  const TestFolder root;
  make_vctk(root);
  const fs::path text = root / "txt/p225/p225_001.txt";
  put(text, "Caf\xe9.");
  expect_in(text.string() + ":1: not UTF-8", refusal("vctk", root.path()));
  put(text, kHuge);
  expect_in(text.string() + ":1: longer than", refusal("vctk", root.path()));
  put(text, "Caf\xc3\xa9.");
  EXPECT_EQ(read_corpus("vctk", root.path()).rows.at(0).transcription, "Caf\xc3\xa9.");
}

TEST(CorpusRefusals, DailyTalkRefusesWhatIsNotItsMetadata) {
  const TestFolder root;
  const fs::path table = root / "metadata.json";
  const auto refusal_of = [&](const std::string& text) {
    put(table, text);
    return refusal("dailytalk", root.path());
  };
  expect_in(table.string() + ": no such file", refusal("dailytalk", root.path()));
  expect_in(table.string() + ":3: not JSON", refusal_of("{\n\"0\":\n{]}\n\n"));
  expect_in(table.string() + ":1: not JSON", refusal_of(""));
  expect_in(table.string() + ":1: not JSON", refusal_of(R"({"0": ")"
                                                        "\xff"
                                                        R"("})"));
  expect_in(table.string() + ": not JSON: a number", refusal_of(R"({"0": 1e999})"));
  expect_in("an object of dialogues was expected, not array", refusal_of("[]"));
  expect_in("dialogue \"../0\": it must have a number", refusal_of(R"({"../0": {}})"));
  expect_in("dialogue \"0\": it must have a number and be an object", refusal_of(R"({"0": 1})"));
  expect_in("dialogue \"0\", utterance \"a\\x0ab\"", refusal_of(R"({"0": {"a\nb": {}}})"));
  expect_in("utterance \"1\": \"speaker\" is missing", refusal_of(R"({"0": {"1": {}}})"));
  expect_in("speaker \"/etc\" is no number",
            refusal_of(R"({"0": {"1": {"speaker": "/etc", "text": "", "emotion": ""}}})"));
  expect_in("utterance \"1\": \"emotion\" is missing, or no text",
            refusal_of(R"({"0": {"1": {"speaker": 0, "text": "", "emotion": {}}}})"));
  expect_in("utterance \"1\": \"text\" is missing",
            refusal_of(R"({"0": {"1": {"speaker": 0, "emotion": "anger", "act": "inform"}}})"));
  expect_in(":1: not JSON", refusal_of(std::string(5'000'000, '[')));
  put(table, "{}");
  fs::resize_file(table, (1 << 26) + 1);
  expect_in(table.string() + ": larger than 67108864 bytes", refusal("dailytalk", root.path()));
}

TEST(CorpusRefusals, IemocapRefusesWhatItCannotParse) {
  const TestFolder root;
  make_iemocap(root);
  const fs::path verdicts = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt";
  const fs::path spoken = root / "Session1/dialog/transcriptions/Ses01F_impro01.txt";
  const auto refusal_of = [&](const fs::path& file, const std::string& text) {
    put(file, text);
    return refusal("iemocap", root.path());
  };
  for (const char* line :
       {"[6.2901 - 8.2357", "[6.2901 - 8.2357]", "[1 - 2]\tSes01F_impro01_F000",
        "[1 - 2]\t../../../etc/passwd\tneu\t[]", "[1 - 2]\tSes01F/../x_F000\tneu",
        "[1 - 2]\tSes01F_impro01_X000\tneu", "[1 - 2]\tSes01F_impro01_F\tneu",
        "[1 - 2]\tSes_F000\tneu", "[1 - 2]\tSes01F\tneu"}) {
    expect_in(verdicts.string() + ":2: \"[start - end] utterance emotion\" was expected",
              refusal_of(verdicts, std::string("% header\n") + line + "\n"));
  }
  expect_in(verdicts.string() + ":3: longer than", refusal_of(verdicts, "%\n\n[" + kHuge));
  expect_in(verdicts.string() + ":1: not UTF-8", refusal_of(verdicts, "\xc3\x28\n"));
  put(verdicts, kVerdicts);
  expect_in(spoken.string() + ":2: not UTF-8", refusal_of(spoken, "M: hm\nSes\xed\xa0\x80\n"));
  fs::remove(spoken);
  expect_in(spoken.string() + ": no such file", refusal("iemocap", root.path()));
  fs::remove_all(root / "Session1/dialog/EmoEvaluation");
  expect_in("EmoEvaluation: no such folder", refusal("iemocap", root.path()));
}

TEST(CorpusRefusals, PromptTtsRefusesBadTables) {
  const TestFolder root;
  const fs::path table = root / "Real_training.csv";
  fs::create_directories(root / "LibriTTS/dev-clean");
  const auto refusal_of = [&](const std::string& text) {
    put(table, text);
    return refusal("prompttts", root.path());
  };
  expect_in(table.string() + ": no header", refusal_of(""));
  expect_in(table.string() + ": no header", refusal_of("\n" + kStyleHeader));
  expect_in(table.string() + ":1: no column \"speaking_speed\"; the header is \"item_name, gender",
            refusal_of("item_name,gender,pitch,energy\n"));
  expect_in(table.string() + ":2: 3 fields; the header has 7",
            refusal_of(kStyleHeader + "a,b,c\n"));
  expect_in(table.string() + ":2: 8 fields; the header has 7",
            refusal_of(kStyleHeader + "1,2,3,4,5,6,7,8\n"));
  expect_in(table.string() + ":2: a quotation mark is not closed",
            refusal_of(kStyleHeader + "1,2,3,4,5,6,\"7\n"));
  expect_in(table.string() + ":2: text behind a closed quotation mark",
            refusal_of(kStyleHeader + "1,2,3,4,5,6,\"7\"8\n"));
  expect_in(table.string() + ":3: not UTF-8",
            refusal_of(kStyleHeader + "\n1_2_3,2,F,low,slow,low,caf\xe9\n"));
  expect_in(table.string() + ":2: longer than", refusal_of(kStyleHeader + "\"" + kHuge));
  for (const char* item :
       {"../../etc/passwd", "19", "19_198", "_198_0_0", "19__0_0", "/etc_0_0", ""}) {
    expect_in(table.string() + ":2: item_name \"" + item + "\" is no utterance",
              refusal_of(kStyleHeader + item + ",19,F,high,slow,low,x\n"));
  }
  fs::remove_all(root / "LibriTTS");
  expect_in("LibriTTS: no such folder", refusal("prompttts", root.path()));
}

TEST(CorpusRefusals, TextrolSpeechNeverLeavesItsFolder) {
  const TestFolder outside;
  const fs::path root = outside / "corpus";
  const fs::path table = root / "caption/train.csv";
  put(outside / "secret.wav");
  put(root / "a.wav");
  const auto refusal_of = [&](const std::string& path) {
    put(table, kCaptionHeader + "0,a.wav,a,M,low,low,low,sad,x,Words.\n1," + path +
                   ",a,M,low,low,low,sad,x,Words.\n");
    return refusal("textrolspeech", root);
  };
  for (const std::string& path :
       {std::string("../secret.wav"), std::string("b/../../secret.wav"), std::string(".."),
        (outside / "secret.wav").string(), std::string()}) {
    expect_in(table.string() + ":3: \"" + path + "\" is not a path within the corpus",
              refusal_of(path));
  }
  expect_in(R"("a\x07.wav" is not a path)", refusal_of("a\a.wav"));
  expect_in(R"("a\x00.wav" is not a path)", refusal_of(std::string("a\0.wav", 6)));
  // Within it, however clumsily written; and a name longer than any file system takes is missing.
  put(table, kCaptionHeader + "0,b/../a.wav,a,M,low,low,low,sad,x,Words.\n0," +
                 std::string(100'000, 'y') + ",a,M,low,low,low,sad,x,Words.\n");
  const ManifestReport report = read_corpus("textrolspeech", root);
  EXPECT_EQ(ids_of(report), std::vector<std::string>{"textrolspeech/a.wav"});
  ASSERT_EQ(report.problems.size(), 1U);
  EXPECT_LT(report.problems[0].size(), 400U);
}

TEST(CorpusRefusals, VoxCelebRefusesBadTables) {
  const TestFolder root;
  expect_in("neither vox1_meta.csv nor vox2_meta.csv", refusal("voxceleb", root.path()));
  const fs::path table = root / "vox1_meta.csv";
  put(table, "VoxCeleb1 ID\tGender\nid10001\tm\nid10001\tf\n");
  expect_in(table.string() + ":3: \"id10001\" is described twice",
            refusal("voxceleb", root.path()));
  put(table, "VoxCeleb1 ID\tNationality\n");
  expect_in(table.string() + ":1: no column \"Gender\"; the header is",
            refusal("voxceleb", root.path()));
  put(table, "name,Gender\n");
  expect_in(table.string() + ":1: no column \"VoxCeleb1 ID\"", refusal("voxceleb", root.path()));
  make_voxceleb1(root);
  put(root / "dev/aac/id10001/v/00001.m4a");
  expect_in("not one recording of VoxCeleb 1 and 2", refusal("voxceleb", root.path()));
  expect_in("the first problem: " + root.path().string() + ": left out: recordings in AAC",
            refusal("voxceleb", root.path()));
}

TEST(CorpusRefusals, AnUnknownNameIsAnsweredWithTheKnownOnes) {
  const TestFolder root;
  const std::string message =
      message_of<ConfigError>([&] { static_cast<void>(read_corpus("vtck", root.path())); });
  EXPECT_EQ(message,
            "corpus 'vtck' is not known; these are: accentdb, dailytalk, iemocap, prompttts, "
            "textrolspeech, vctk, voxceleb");
  EXPECT_TRUE(std::ranges::is_sorted(corpora(), {}, &Corpus::name));
}

TEST(CorpusRefusals, AnotherFolderIsRefusedWithWhatTheRootHolds) {
  const TestFolder root;
  put(root / "holiday/video.mp4");
  for (const Corpus& corpus : corpora()) {
    refusal(std::string(corpus.name), root.path());
    const std::string message = refusal(std::string(corpus.name), root / "missing");
    expect_in("missing: no such folder; the root of " + std::string(corpus.title), message);
    expect_in(std::string(corpus.holds), message);
    refusal(std::string(corpus.name), root / "holiday/video.mp4");
  }
}

TEST(CorpusRefusals, NamesThatAManifestCannotHoldAreRefused) {
  const TestFolder root;
  put(root / "american/speaker_01/a\xff.wav");
  expect_in(R"(speaker_01: holds the name "a\xff.wav")", refusal("accentdb", root.path()));
  fs::remove_all(root / "american");
  put(root / "american/speaker\n01/a.wav");
  expect_in(R"(american: holds the name "speaker\x0a01")", refusal("accentdb", root.path()));
}

}  // namespace
}  // namespace desta::datagen
