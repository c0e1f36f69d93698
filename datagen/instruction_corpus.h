// Dialogues about seed transcripts, drawn at random without end: what the stand-in LLM learns to be
// a small "instruct" model from, and, with held-out sentences and attribute combinations, what it is
// measured on. Large instruct models need none of this.
#pragma once

#include <string>
#include <vector>

#include "datagen/metadata.h"
#include "datagen/sentence_grammar.h"
#include "runtime/core/random.h"

namespace desta::datagen {

struct Turn {
  std::string role;  // "audio", "user", "assistant"
  std::string content;
};

// What a dialogue tests, for tables of quality by kind.
enum class QuestionKind { kDescribe, kAttribute, kWords, kUnknown, kInstruction, kArithmetic };
[[nodiscard]] std::string_view name_of(QuestionKind kind);

struct Question {
  QuestionKind kind = QuestionKind::kDescribe;
  std::string text;
  std::string answer;              // one good answer
  std::vector<std::string> needed; // what any right answer contains, as consecutive words
  bool exact_case = false;         // `answer` must be met letter by letter (JSON, capitals)
};

// An utterance that exists only as text.
struct Scene {
  std::string sentence;
  double seconds = 0;
  Metadata metadata;
};

// How much a dialogue asks for. Models learn to look things up in short scenes within minutes and in
// whole ones hardly at all, so training starts with the former.
enum class Difficulty {
  kSimple,  // up to three attributes, two to four words, questions with short answers
  kFull,
};

// A scene with three to ten attributes in ten, on average. A combination of gender, pitch, volume
// and speed belongs to the held-out split by its hash, one in ten, as a sentence does by its own.
[[nodiscard]] Scene draw_scene(runtime::Random& random, Split split,
                               Difficulty difficulty = Difficulty::kFull);

// A question of any kind about the scene; about an attribute that it lacks only if `may_ask_absent`.
[[nodiscard]] Question draw_question(runtime::Random& random, const Scene& scene,
                                     Difficulty difficulty = Difficulty::kFull,
                                     bool may_ask_absent = true);
// The describing question.
[[nodiscard]] Question describing_question(runtime::Random& random, const Scene& scene);

// A natural description that names the words and every attribute, in the scene's order and in varied
// wording. (In random order a small model loses track of what it has said.)
[[nodiscard]] std::string describe(runtime::Random& random, const Scene& scene);

// True when `answer` is right: contains all that is needed and, for a description, mentions every
// attribute of the scene.
[[nodiscard]] bool is_right(const Question& question, const Scene& scene, std::string_view answer);

// A whole dialogue: the scene in one of the layouts that models meet it in (seed transcript in the
// user's turn, as DeSTA2 generates; in the audio role's turn, attributes before or behind the
// words), then one to three questions with their answers.
[[nodiscard]] std::vector<Turn> draw_dialogue(runtime::Random& random, Split split,
                                              Difficulty difficulty = Difficulty::kFull);

// The opening turns and the question as DeSTA2's generator gets them: one user turn, the seed
// transcript and then the question.
[[nodiscard]] std::string generator_prompt(std::string_view seed, std::string_view question);

}  // namespace desta::datagen
