#include "datagen/corpora.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "corpus_folders.h"
#include "datagen/metadata.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const ManifestRow& row_of(const ManifestReport& report, const std::string& id) {
  const auto found = std::ranges::find(report.rows, id, &ManifestRow::id);
  if (found == report.rows.end()) {
    throw std::out_of_range("no row " + id);
  }
  return *found;
}

// The attributes as a seed transcript gets them: "gender=Female age=23".
std::string attributes_of(const ManifestRow& row) {
  std::string text;
  for (const auto& attribute : annotate(row)) {
    text += (text.empty() ? "" : " ") + attribute.name + "=" + attribute.text;
  }
  return text;
}

// The attributes that corpora() promises are those that the rows have.
void expect_promised_attributes(const std::string& name, const ManifestReport& report) {
  std::set<std::string> found;
  for (const auto& row : report.rows) {
    EXPECT_EQ(row.fields.value("dataset", ""), name);
    for (const auto& attribute : annotate(row)) {
      found.insert(attribute.name);
    }
  }
  const auto corpus = std::ranges::find(corpora(), name, &Corpus::name);
  ASSERT_NE(corpus, corpora().end());
  std::set<std::string> promised;
  std::istringstream words{std::string(corpus->attributes)};
  for (std::string word; words >> word;) {
    promised.insert(word.substr(0, word.find(',')));
  }
  EXPECT_EQ(found, promised);
}

TEST(Corpora, VctkGivesGenderAgeAndAccentOfItsSpeakers) {
  const TestFolder root;
  make_vctk(root);
  const ManifestReport report = read_corpus("vctk", root.path());
  expect_promised_attributes("vctk", report);
  const std::string in = "vctk/wav48_silence_trimmed/";
  EXPECT_EQ(ids_of(report), (std::vector<std::string>{
                                in + "p225/p225_001_mic1.flac", in + "p225/p225_002_mic2.flac",
                                in + "p280/p280_001_mic1.flac", in + "p293/p293_001_mic1.flac",
                                in + "p335/p335_001_mic1.flac", in + "s5/s5_001_mic1.flac"}));
  const ManifestRow& first = report.rows.at(0);
  EXPECT_EQ(first.audio, root / "wav48_silence_trimmed/p225/p225_001_mic1.flac");
  EXPECT_EQ(first.transcription, "Please call Stella.");
  EXPECT_EQ(first.duration, 0);
  EXPECT_EQ(first.fields, json::parse(R"({"dataset": "vctk", "speaker": "p225", "gender": "Female",
                                          "age": 23, "accent": "British"})"));
  EXPECT_EQ(attributes_of(first), "gender=Female age=23 accent=British");
  EXPECT_EQ(attributes_of(report.rows.at(2)), "gender=Female age=25");
  EXPECT_FALSE(report.rows.at(2).fields.contains("accent")) << "Unknown";
  EXPECT_EQ(attributes_of(report.rows.at(3)), "gender=Female age=22 accent=Northern Irish");
  EXPECT_EQ(attributes_of(report.rows.at(4)), "gender=Female age=25 accent=New Zealand");
  EXPECT_EQ(attributes_of(report.rows.at(5)), "") << "s5 is not in the table";
  EXPECT_EQ(
      report.problems,
      (std::vector<std::string>{
          root.path().string() + ": left out: recordings without a transcription (2, the first: "
                                 "\"wav48_silence_trimmed/p315/p315_001_mic1.flac\")",
          root.path().string() +
              ": without attributes: speakers that speaker-info.txt lacks (1, the first: "
              "\"s5\")"}));
}

TEST(Corpora, AConfigurationNamesThemWhereAManifestMayStand) {
  const TestFolder root;
  make_vctk(root);
  const ManifestReport corpus = read_recordings("vctk:" + root.path().string());
  EXPECT_EQ(ids_of(corpus), ids_of(read_corpus("vctk", root.path())));
  // Anything else is a path, also one with a colon.
  const fs::path manifest = root / "mine:1.jsonl";
  write_manifest(manifest, corpus.rows);
  EXPECT_EQ(read_recordings(manifest.string()).rows.size(), corpus.rows.size());
}

TEST(Corpora, TheOlderVctkIsReadToo) {
  const TestFolder root;
  put(root / "speaker-info.txt",
      "ID  AGE  GENDER  ACCENTS  REGION  \r\n248  23  F    Indian  \r\n");
  put(root / "wav48/p248/p248_001.wav");
  put(root / "txt/p248/p248_001.txt", "Please call Stella.\n");
  const ManifestReport report = read_corpus("vctk", root.path());
  EXPECT_EQ(ids_of(report), std::vector<std::string>{"vctk/wav48/p248/p248_001.wav"});
  EXPECT_EQ(attributes_of(report.rows.at(0)), "gender=Female age=23 accent=Indian");
  EXPECT_TRUE(report.problems.empty());
}

TEST(Corpora, AccentDbGivesAccentsOfItsFolders) {
  const TestFolder root;
  put(root / "data/bangla/speaker_02/bangla_s02_001.wav");
  put(root / "data/bangla/speaker_01/bangla_s01_002.wav");
  put(root / "data/bangla/speaker_01/bangla_s01_001.wav");
  put(root / "data/bangla/speaker_01/.DS_Store");
  put(root / "data/bangla/speaker_01/notes.txt");
  put(root / "data/welsh/speaker_01/welsh_s01_001.wav");
  put(root / "data/klingon/speaker_01/klingon_s01_001.wav");
  put(root / "data/README.md");
  const ManifestReport report = read_corpus("accentdb", root.path());
  expect_promised_attributes("accentdb", report);
  EXPECT_EQ(ids_of(report),
            (std::vector<std::string>{"accentdb/data/bangla/speaker_01/bangla_s01_001.wav",
                                      "accentdb/data/bangla/speaker_01/bangla_s01_002.wav",
                                      "accentdb/data/bangla/speaker_02/bangla_s02_001.wav",
                                      "accentdb/data/welsh/speaker_01/welsh_s01_001.wav"}));
  EXPECT_EQ(report.rows.at(0).transcription, "");
  EXPECT_EQ(report.rows.at(0).fields.value("speaker", ""), "bangla/speaker_01");
  EXPECT_EQ(attributes_of(report.rows.at(0)), "accent=Bangla");
  EXPECT_EQ(attributes_of(report.rows.at(3)), "accent=Welsh");
  EXPECT_EQ(report.problems,
            std::vector<std::string>{
                root.path().string() +
                ": left out: values of accent that have no word here (1, the first: \"klingon\")"});
  EXPECT_EQ(ids_of(read_corpus("accentdb", root / "data")).size(), 4U) << "without data/";
}

const std::string kDailyTalk = R"({
  "0": {"0": {"utterance_idx": 0, "dialog_idx": 0, "turn": 0, "speaker": 1, "topic": "Work",
              "text": "How are you?", "emotion": "no emotion", "act": "question"},
        "1": {"utterance_idx": 1, "dialog_idx": 0, "turn": 1, "speaker": 0, "topic": "Work",
              "text": "Great!", "emotion": "happiness", "act": "inform"},
        "2": {"utterance_idx": 2, "dialog_idx": 0, "turn": 2, "speaker": 1, "topic": "Work",
              "text": "Oh.", "emotion": "ennui", "act": "inform"}},
  "12": {"0": {"speaker": "0", "text": "Go.", "emotion": "anger", "act": "directive"},
         "1": {"speaker": "1", "text": "No.", "emotion": "disgust", "act": "commissive"}}})";

TEST(Corpora, DailyTalkGivesEmotionAndIntent) {
  const TestFolder root;
  put(root / "metadata.json", kDailyTalk);
  for (const char* name : {"0/0_1_d0", "0/1_0_d0", "0/2_1_d0", "12/0_0_d12"}) {
    put(root / "data" / (std::string(name) + ".wav"));
  }
  const ManifestReport report = read_corpus("dailytalk", root.path());
  expect_promised_attributes("dailytalk", report);
  EXPECT_EQ(ids_of(report), (std::vector<std::string>{
                                "dailytalk/data/0/0_1_d0.wav", "dailytalk/data/0/1_0_d0.wav",
                                "dailytalk/data/0/2_1_d0.wav", "dailytalk/data/12/0_0_d12.wav"}));
  EXPECT_EQ(report.rows.at(0).transcription, "How are you?");
  EXPECT_EQ(report.rows.at(0).fields.value("speaker", ""), "1");
  EXPECT_EQ(attributes_of(report.rows.at(0)), "emotion=Neutral intent=Question");
  EXPECT_EQ(attributes_of(report.rows.at(1)), "emotion=Happy intent=Inform");
  EXPECT_EQ(attributes_of(report.rows.at(2)), "intent=Inform");
  EXPECT_EQ(attributes_of(report.rows.at(3)), "emotion=Angry intent=Directive");
  ASSERT_EQ(report.problems.size(), 2U);
  expect_in("recordings that are missing (1, the first: \"data/12/1_1_d12.wav\")",
            report.problems[0]);
  expect_in("values of emotion that have no word here (1, the first: \"ennui\")",
            report.problems[1]);
}

TEST(Corpora, IemocapGivesGenderAndEmotionOfEachUtterance) {
  const TestFolder root;
  make_iemocap(root);
  put(root / "Session2/dialog/EmoEvaluation/Ses02M_script01_1.txt",
      "[1.0 - 2.0]\tSes02M_script01_1_M000\tang\t[2.5000, 2.5000, 2.5000]\n");
  put(root / "Session2/dialog/transcriptions/Ses02M_script01_1.txt",
      "Ses02M_script01_1_M000 [001.0000-002.0000]: No!\n");
  put(root / "Session2/sentences/wav/Ses02M_script01_1/Ses02M_script01_1_M000.wav");
  const ManifestReport report = read_corpus("iemocap", root.path());
  expect_promised_attributes("iemocap", report);
  const std::string in = "iemocap/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_";
  const std::string scripted =
      "iemocap/Session2/sentences/wav/Ses02M_script01_1/Ses02M_script01_1_M000.wav";
  EXPECT_EQ(ids_of(report), (std::vector<std::string>{in + "F000.wav", in + "F002.wav",
                                                      in + "M001.wav", in + "M003.wav", scripted}));
  EXPECT_EQ(row_of(report, in + "F000.wav").transcription, "Excuse me.");
  EXPECT_EQ(row_of(report, in + "F000.wav").fields.value("speaker", ""), "Ses01F");
  EXPECT_EQ(attributes_of(row_of(report, in + "F000.wav")), "gender=Female emotion=Neutral");
  EXPECT_EQ(row_of(report, in + "M001.wav").transcription, "Do you [sic] have your forms?");
  EXPECT_EQ(row_of(report, in + "M001.wav").fields.value("speaker", ""), "Ses01M");
  EXPECT_EQ(attributes_of(row_of(report, in + "M001.wav")), "gender=Male emotion=Excited");
  EXPECT_EQ(row_of(report, in + "F002.wav").transcription, "Yeah: here.");
  EXPECT_EQ(attributes_of(row_of(report, in + "F002.wav")), "gender=Female") << "raters disagree";
  EXPECT_EQ(attributes_of(row_of(report, in + "M003.wav")), "gender=Male emotion=Frustrated");
  EXPECT_EQ(attributes_of(row_of(report, scripted)), "gender=Male emotion=Angry");
  ASSERT_EQ(report.problems.size(), 2U) << "a sound alone, and a recording that is not there";
  expect_in(
      "recordings that are missing (1, the first: \"Session1/sentences/wav/Ses01F_impro01/"
      "Ses01F_impro01_F005.wav\")",
      report.problems[0]);
  expect_in(
      "recordings without a transcription (1, the first: \"Session1/sentences/wav/"
      "Ses01F_impro01/Ses01F_impro01_F004.wav\")",
      report.problems[1]);
}

void make_libritts(const TestFolder& root, const std::string& part, const std::string& item,
                   const std::string& words) {
  const auto first = item.find('_');
  const auto second = item.find('_', first + 1);
  const fs::path folder = root / ("LibriTTS/" + part) / item.substr(0, first) /
                          item.substr(first + 1, second - first - 1);
  put(folder / (item + ".wav"));
  if (!words.empty()) {
    put(folder / (item + ".normalized.txt"), words);
  }
}

TEST(Corpora, PromptTtsGivesStylesOfLibriTts) {
  const TestFolder root;
  put(root / "Real_training.csv",
      "\xef\xbb\xbf" + kStyleHeader +
          "19_198_000000_000000,19,F,high,slow,low,\"She says, \"\"softly\"\", slowly\"\r\n"
          "\r\n"
          "26_495_000004_000000,26,M,normal,fast,high,\"A man\"\r\n"
          "26_495_000005_000000,26,M,low,normal,normal,A man\r\n");
  put(root / "Real_test.csv", kStyleHeader +
                                  "1089_134686_000003_000000,1089,M,high,slow,low,x\n"
                                  "84_121123_000007_000001,84,F,high,slow,low,x\n");
  put(root / "Synthesized_test.csv", "other columns");
  make_libritts(root, "train-clean-100", "19_198_000000_000000", "I am not resigned.\n");
  make_libritts(root, "train-other-500", "26_495_000004_000000", "So it is.");
  make_libritts(root, "train-other-500", "26_495_000005_000000", "");
  make_libritts(root, "test-clean", "1089_134686_000003_000000", "He hoped.");
  const ManifestReport report = read_corpus("prompttts", root.path());
  expect_promised_attributes("prompttts", report);
  const std::string in = "prompttts/LibriTTS/";
  EXPECT_EQ(ids_of(report),
            (std::vector<std::string>{in + "test-clean/1089/134686/1089_134686_000003_000000.wav",
                                      in + "train-clean-100/19/198/19_198_000000_000000.wav",
                                      in + "train-other-500/26/495/26_495_000004_000000.wav"}));
  EXPECT_EQ(report.rows.at(1).transcription, "I am not resigned.");
  EXPECT_EQ(report.rows.at(1).fields.value("speaker", ""), "19");
  EXPECT_EQ(attributes_of(report.rows.at(1)),
            "gender=Female pitch=High volume=Low speaking_speed=Slow");
  EXPECT_EQ(attributes_of(report.rows.at(2)),
            "gender=Male pitch=Normal volume=High speaking_speed=Fast");
  ASSERT_EQ(report.problems.size(), 2U);
  expect_in("in no part of LibriTTS here (1, the first: \"84_121123_000007_000001\")",
            report.problems[0]);
  expect_in(
      "without a transcription (1, the first: "
      "\"LibriTTS/train-other-500/26/495/26_495_000005_000000.wav\")",
      report.problems[1]);
}

TEST(Corpora, TextrolSpeechGivesFiveFactorsOfStyle) {
  const TestFolder root;
  put(root / "caption/random_train.csv",
      kCaptionHeader +
          "0,emotion/ESD/0018_000351.wav,a,M,low,high,normal,angry,\"Fast, he says\",\"Well, "
          "go.\"\n"
          "1,./emotion/TESS/OAF_back_fear.wav,b,F,high,low,high,fear,Slow,Say the word back.\n"
          "2,VCTK/p225_001.wav,c,F,normal,normal,low,neutral,Plain,Please call Stella.\n"
          "3,LibriTTS/none.wav,d,F,normal,normal,low,neutral,Plain,Not here.\n"
          "4,emotion/MEAD/silent.wav,d,F,normal,normal,low,neutral,Plain,\n");
  put(root / "caption/random_val.csv",
      kCaptionHeader +
          "9,VCTK/p225_001.wav,c,F,normal,normal,low,neutral,In other words,Please call Stella.\n"
          "9,emotion/ESD/0018_000351.wav,a,M,high,high,normal,angry,Fast,\"Well, go.\"\n");
  put(root / "caption/README.txt");
  put(root / "emotion/ESD/0018_000351.wav");
  put(root / "emotion/TESS/OAF_back_fear.wav");
  put(root / "emotion/MEAD/silent.wav");
  put(root / "VCTK/p225_001.wav");
  const ManifestReport report = read_corpus("textrolspeech", root.path());
  expect_promised_attributes("textrolspeech", report);
  EXPECT_EQ(ids_of(report),
            (std::vector<std::string>{"textrolspeech/VCTK/p225_001.wav",
                                      "textrolspeech/emotion/ESD/0018_000351.wav",
                                      "textrolspeech/emotion/TESS/OAF_back_fear.wav"}));
  EXPECT_EQ(attributes_of(report.rows.at(0)),
            "gender=Female emotion=Neutral pitch=Normal volume=Low speaking_speed=Normal");
  EXPECT_EQ(report.rows.at(1).transcription, "Well, go.");
  EXPECT_EQ(attributes_of(report.rows.at(1)),
            "gender=Male emotion=Angry pitch=Low volume=Normal speaking_speed=Fast");
  EXPECT_EQ(report.rows.at(2).audio, root / "emotion/TESS/OAF_back_fear.wav");
  EXPECT_EQ(attributes_of(report.rows.at(2)),
            "gender=Female emotion=Fearful pitch=High volume=High speaking_speed=Slow");
  ASSERT_EQ(report.problems.size(), 3U);
  expect_in("missing (1, the first: \"LibriTTS/none.wav\")", report.problems[0]);
  expect_in("without a transcription (1, the first: \"emotion/MEAD/silent.wav\")",
            report.problems[1]);
  expect_in(
      "second and different annotations of a recording (1, the first: "
      "\"textrolspeech/emotion/ESD/0018_000351.wav\")",
      report.problems[2]);
}

TEST(Corpora, VoxCelebGivesGenderAndKeepsNationalityApart) {
  const TestFolder root;
  make_voxceleb1(root);
  put(root / "vox2_meta.csv",
      "\xef\xbb\xbfVoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \n"
      "id00012 ,n000012 ,m ,dev \n");
  put(root / "wav/id10001/1zcIwhmdeo4/00001.wav");
  put(root / "test/wav/id10270/5r0dWxy17C8/00002.wav");
  put(root / "test/wav/id10270/5r0dWxy17C8/00001.wav");
  put(root / "dev/aac/id00012/21Uxsk56VDQ/00001.m4a");
  put(root / "dev/aac/id00012/21Uxsk56VDQ/00001.wav");
  put(root / "dev/aac/id00012/21Uxsk56VDQ/00002.m4a");
  put(root / "dev/aac/id99999/21Uxsk56VDQ/00001.wav");
  const ManifestReport report = read_corpus("voxceleb", root.path());
  expect_promised_attributes("voxceleb", report);
  EXPECT_EQ(ids_of(report),
            (std::vector<std::string>{"voxceleb/dev/aac/id00012/21Uxsk56VDQ/00001.wav",
                                      "voxceleb/dev/aac/id99999/21Uxsk56VDQ/00001.wav",
                                      "voxceleb/test/wav/id10270/5r0dWxy17C8/00001.wav",
                                      "voxceleb/test/wav/id10270/5r0dWxy17C8/00002.wav",
                                      "voxceleb/wav/id10001/1zcIwhmdeo4/00001.wav"}));
  EXPECT_EQ(attributes_of(report.rows.at(0)), "gender=Male");
  EXPECT_EQ(attributes_of(report.rows.at(1)), "");
  EXPECT_EQ(attributes_of(report.rows.at(2)), "gender=Female") << "no accent from a nationality";
  EXPECT_EQ(report.rows.at(2).fields.value("nationality", ""), "USA");
  EXPECT_EQ(report.rows.at(2).transcription, "");
  ASSERT_EQ(report.problems.size(), 2U);
  expect_in(
      "in AAC, to be converted to WAV (1, the first: "
      "\"dev/aac/id00012/21Uxsk56VDQ/00002.m4a\")",
      report.problems[0]);
  expect_in("speakers that the tables lack (1, the first: \"id99999\")", report.problems[1]);
}

TEST(Corpora, OrderAndExamplesDoNotDependOnTheDisk) {
  const TestFolder root;
  make_voxceleb1(root);
  const std::string in = "wav/id10001/1zcIwhmdeo4/";
  for (int i = 0; i < 64; ++i) {
    const int scrambled = i * 37 % 64 + 1;
    put(root / fmt::format("{}{:05}.{}", in, scrambled, scrambled > 32 ? "wav" : "m4a"));
  }
  const ManifestReport report = read_corpus("voxceleb", root.path());
  std::vector<std::string> ids;
  for (int i = 33; i <= 64; ++i) {
    ids.push_back(fmt::format("voxceleb/{}{:05}.wav", in, i));
  }
  EXPECT_EQ(ids_of(report), ids);
  ASSERT_EQ(report.problems.size(), 1U);
  expect_in("(32, the first: \"" + in + "00001.m4a\")", report.problems[0]);
}

TEST(Corpora, BecomeManifestsThatReadBackTheSame) {
  const TestFolder root;
  make_vctk(root);
  const ManifestReport report = read_corpus("vctk", root.path());
  write_manifest(root / "manifest.jsonl", report.rows);
  const ManifestReport back = read_manifest(root / "manifest.jsonl");
  EXPECT_TRUE(back.problems.empty());
  EXPECT_EQ(ids_of(back), ids_of(report));
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    EXPECT_EQ(back.rows.at(i).audio, report.rows[i].audio);
    EXPECT_EQ(back.rows[i].transcription, report.rows[i].transcription);
    EXPECT_EQ(annotate(back.rows[i]), annotate(report.rows[i]));
  }
}

TEST(Corpora, NeitherPlaceNorSpellingOfTheRootChangesTheIds) {
  const TestFolder root;
  fs::create_directories(root / "here");
  put(root / "here/american/speaker_01/american_s01_001.wav");
  const std::vector<std::string> ids = {"accentdb/american/speaker_01/american_s01_001.wav"};
  const fs::path sound = root / "here/american/speaker_01/american_s01_001.wav";
  const fs::path before = fs::current_path();
  fs::current_path(root.path());
  for (const char* spelling : {"here", "here/", "./here", "here/../here/."}) {
    const ManifestReport report = read_corpus("accentdb", spelling);
    EXPECT_EQ(ids_of(report), ids) << spelling;
    EXPECT_EQ(report.rows.at(0).audio, sound) << spelling;
  }
  fs::current_path(root / "here");
  EXPECT_EQ(ids_of(read_corpus("accentdb", ".")), ids);
  fs::current_path(before);
  fs::rename(root / "here", root / "there");
  EXPECT_EQ(ids_of(read_corpus("accentdb", root / "there")), ids);
}

TEST(Corpora, SoundOnAnotherDiskIsReachedThroughALink) {
  const TestFolder root;
  put(root / "disk/american/speaker_01/american_s01_001.wav");
  fs::create_directories(root / "corpus");
  fs::create_directory_symlink(root / "disk", root / "corpus/data");
  fs::create_symlink("nowhere", root / "disk/american/speaker_01/american_s01_002.wav");
  const ManifestReport report = read_corpus("accentdb", root / "corpus");
  EXPECT_EQ(ids_of(report),
            std::vector<std::string>{"accentdb/data/american/speaker_01/american_s01_001.wav"});
  ASSERT_EQ(report.problems.size(), 1U);
  expect_in(
      "recordings that are missing (1, the first: "
      "\"data/american/speaker_01/american_s01_002.wav\")",
      report.problems[0]);
}

}  // namespace
}  // namespace desta::datagen
