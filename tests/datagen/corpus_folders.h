// Corpora as they are published, in small, for the tests of their readers.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "datagen/manifest.h"
#include "test_files.h"

namespace desta::datagen {

// A file with the folders above it; sound is not opened, so any bytes will do.
inline void put(const std::filesystem::path& path, const std::string& text = "RIFF") {
  std::filesystem::create_directories(path.parent_path());
  write_text(path, text);
}

inline std::vector<std::string> ids_of(const ManifestReport& report) {
  std::vector<std::string> ids;
  for (const auto& row : report.rows) {
    ids.push_back(row.id);
  }
  return ids;
}

inline void expect_in(const std::string& part, const std::string& message) {
  EXPECT_NE(message.find(part), std::string::npos) << "\"" << part << "\" is not in: " << message;
}

inline const std::string kSpeakerInfo =
    "ID  AGE  GENDER  ACCENTS  REGION COMMENTS \n"
    "p225  23  F    English    Southern  England\n"
    "p248  23  F    Indian\n"
    "p280  25  F    Unknown    France (mic2 files unavailable)\n"
    "p293  22  F    NorthernIrish  Belfast\n"
    "p315  18  M    American  New England (Text unavailable)\n"
    "p335  25  F    NewZealand  English\n";

inline void make_vctk(const TestFolder& root) {
  put(root / "speaker-info.txt", kSpeakerInfo);
  const std::filesystem::path sound = root / "wav48_silence_trimmed";
  put(root / "wav48_silence_trimmed/log.txt", "trimmed");
  put(sound / "p225/p225_001_mic1.flac");
  put(sound / "p225/p225_001_mic2.flac");
  put(sound / "p225/p225_002_mic2.flac");
  put(sound / "p280/p280_001_mic1.flac");
  put(sound / "p293/p293_001_mic1.flac");
  put(sound / "p315/p315_001_mic1.flac");
  put(sound / "p315/p315_002_mic1.flac");
  put(sound / "p335/p335_001_mic1.flac");
  put(sound / "s5/s5_001_mic1.flac");
  put(root / "txt/p225/p225_001.txt", "Please call Stella. \n");
  put(root / "txt/p225/p225_002.txt", "Ask her to bring these things.");
  put(root / "txt/p280/p280_001.txt", "Please call Stella.");
  put(root / "txt/p293/p293_001.txt", "Please call Stella.");
  put(root / "txt/p335/p335_001.txt", "Please call Stella.");
  put(root / "txt/s5/s5_001.txt", "Please call Stella.");
}

inline const std::string kVerdicts =
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"
    "\n"
    "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
    "C-E2:\tNeutral;\t()\n"
    "A-E3:\tval 3; act 2; dom  2;\t()\n"
    "\n"
    "[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]\n"
    "C-E2:\tExcited;\t()\n"
    "\n"
    "[14.8872 - 18.0175]\tSes01F_impro01_F002\txxx\t[2.5000, 2.5000, 2.5000]\n"
    "[19.2900 - 20.7875]\tSes01F_impro01_M003\tfru\t[2.5000, 3.5000, 3.5000]\n"
    "[21.3257 - 24.7400]\tSes01F_impro01_F004\tsad\t[2.5000, 3.5000, 3.5000]\n"
    "[25.0000 - 26.7400]\tSes01F_impro01_F005\tsad\t[2.5000, 3.5000, 3.5000]\n";
inline const std::string kSpoken =
    "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
    "M: [BREATHING]\n"
    "Ses01F_impro01_M001 [010.0100-011.3925]: [LAUGHTER]  Do you [sic] have  your forms? "
    "[+GARBAGE+]\n"
    "Ses01F_impro01_F002 [014.8872-018.0175]: Yeah: here.\n"
    "Ses01F_impro01_M003 [019.2900-020.7875]: Let me see them.\n"
    "Ses01F_impro01_F004 [021.3257-024.7400]: [LAUGHTER]\n"
    "Ses01F_impro01_F005 [025.0000-026.7400]: Is there a problem?\n";

inline void make_iemocap(const TestFolder& root) {
  const std::filesystem::path session = root / "Session1";
  put(session / "dialog/EmoEvaluation/Ses01F_impro01.txt", kVerdicts);
  put(session / "dialog/EmoEvaluation/._Ses01F_impro01.txt", "Mac OS X \xff\xfe");
  put(session / "dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt", "Ses01F :Neutral;");
  put(session / "dialog/transcriptions/Ses01F_impro01.txt", kSpoken);
  for (const char* name : {"F000", "M001", "F002", "M003", "F004"}) {
    put(session / "sentences/wav/Ses01F_impro01" /
        ("Ses01F_impro01_" + std::string(name) + ".wav"));
  }
  put(root / "README.txt", "Thank you");
}

inline const std::string kStyleHeader =
    "item_name,spk_id,gender,pitch,speaking_speed,energy,style_prompt\r\n";

inline const std::string kCaptionHeader =
    "num,wav_fp,item_name,gender,pitch,tempo,energy,emotion,style_prompt,content_prompt\n";

inline void make_voxceleb1(const TestFolder& root) {
  put(root / "vox1_meta.csv",
      "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
      "id10001\tA.J._Buckley\tm\tIreland\tdev\n"
      "id10270\tEartha_Kitt\tf\tUSA\ttest\n");
}

}  // namespace desta::datagen
