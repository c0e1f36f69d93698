#include "datagen/instruction_corpus.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "datagen/attribute_language.h"
#include "datagen/normalise_text.h"
#include "datagen/seed_transcript.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace {

using runtime::Random;

// A scene has many attributes or few: its share of them is drawn first. With one share for all, the
// first model had hardly seen a gender that the pitch follows, and did not find it there.
constexpr double kFewestPresent = 0.3;
constexpr double kMostPresent = 1.0;
// Training scenes whose words are drawn at random: what cannot be guessed must be read.
constexpr double kRandomWords = 0.3;

const std::vector<std::string> kDescribing = {
    "What can you hear from the audio?", "What can you hear from the audio?",
    "What can you hear from the audio?", "Describe the audio.", "What do you hear?",
    "Tell me what you can hear."};

const std::vector<std::string> kWordQuestions = {
    "What does the speaker say?", "What are the words?", "Repeat the sentence.",
    "Write down what is said.", "What is being said?", "Transcribe the audio."};
const std::vector<std::string> kWordAnswers = {"The speaker says: \"{v}\"", "\"{v}\"", "{v}",
                                               "The words are: \"{v}\""};
const std::vector<std::string> kWordClauses = {"The speaker says: \"{v}\"", "The words are: \"{v}\"",
                                               "I hear the words: \"{v}\"",
                                               "A voice says: \"{v}\""};

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::int64_t whole_seconds(const Scene& scene) {
  return std::max(1L, std::lround(scene.seconds));
}

std::int64_t word_count(const Scene& scene) {
  const std::string words = normalise_text(scene.sentence);
  return 1 + std::count(words.begin(), words.end(), ' ');
}

Attribute draw_value(Random& random, const AttributeLanguage& language, const Scene& scene) {
  Attribute value;
  value.name = language.name;
  value.source = random.chance(0.5) ? Source::kAnnotated : Source::kMeasured;
  if (language.name == "duration") {
    value.number = scene.seconds;
    value.unit = "s";
    value.text = fmt::format("{}s", whole_seconds(scene));
    value.word = value.text;
    return value;
  }
  if (language.name == "reverberation") {
    value.number = static_cast<double>(random.below(30));
    value.unit = "dB";
    value.text = value.word = fmt::format("{:.0f}dB", *value.number);
    return value;
  }
  value.word = random.pick(language.values);
  value.text = value.word;
  if (language.name == "age" && random.chance(0.3)) {
    value.word = value.text = std::to_string(16 + random.below(70));
  }
  if (language.name == "noise_level") {
    const double floor = value.word == "High" ? 0 : value.word == "Moderate" ? 10 : 25;
    value.number = floor + static_cast<double>(random.below(value.word == "Low" ? 40 : 12));
    value.unit = "dB";
    value.text = fmt::format("{}(Signal-to-Noise Ratio: {:.0f}db)", value.word, *value.number);
  }
  return value;
}

std::string random_words(Random& random, std::uint64_t count) {
  std::string text;
  for (std::uint64_t i = 0; i < count; ++i) {
    text += (i == 0 ? "" : " ") + random.pick(vocabulary());
  }
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text + ".";
}

bool in_split(const Scene& scene, Split split) {
  std::string key;
  for (const auto& attribute : scene.metadata) {
    if (attribute.name == "gender" || attribute.name == "pitch" || attribute.name == "volume" ||
        attribute.name == "speaking_speed") {
      key += attribute.word + "/";
    }
  }
  const bool held_out = runtime::hash64(key) % 10 == 0;
  return held_out == (split == Split::kHeldOut);
}

Question ask_attribute(Random& random, const AttributeLanguage& language,
                       const Attribute* attribute) {
  Question question;
  question.text = random.pick(language.questions);
  if (attribute == nullptr) {
    question.kind = QuestionKind::kUnknown;
    question.answer = random.pick(language.unknown);
    return question;
  }
  const std::string value = spoken_value(*attribute);
  question.kind = QuestionKind::kAttribute;
  question.needed = {label_of(*attribute)};
  if (language.name == "gender" && random.chance(0.3)) {
    const bool woman = value == "female";
    question.text = "Is the speaker a man or a woman?";
    question.answer = woman ? "The speaker is a woman." : "The speaker is a man.";
    question.needed = {woman ? "woman" : "man"};
  } else if (language.name == "gender" && random.chance(0.2)) {
    const bool asks_woman = random.chance(0.5);
    question.text = asks_woman ? "Is the speaker a woman?" : "Is the speaker a man?";
    const bool yes = asks_woman == (value == "female");
    question.answer = yes ? "Yes." : "No.";
    question.needed = {yes ? "yes" : "no"};
  } else {
    question.answer = fill(random.pick(language.answers), value);
  }
  return question;
}

Question ask_words(Random& random, const Scene& scene) {
  Question question;
  question.kind = QuestionKind::kWords;
  question.text = random.pick(kWordQuestions);
  question.answer = fill(random.pick(kWordAnswers), scene.sentence);
  question.needed = {scene.sentence};
  return question;
}

// One word, capital letters, JSON: the value in a form that was asked for.
Question ask_with_instruction(Random& random, const Scene& scene) {
  const Attribute& attribute = random.pick(scene.metadata);
  const AttributeLanguage& language = language_of(attribute.name);
  Question question = ask_attribute(random, language, &attribute);
  const std::string value = spoken_value(attribute);
  question.text = random.pick(language.questions);
  question.kind = QuestionKind::kInstruction;
  question.exact_case = true;
  switch (random.below(3)) {
    case 0:
      question.text += random.chance(0.5) ? " Answer in one word." : " Use only one word.";
      question.answer = value;
      break;
    case 1:
      question.text += random.chance(0.5) ? " Answer in capital letters." : " Use capital letters.";
      question.answer = upper(value);
      break;
    default:
      question.text += random.chance(0.5) ? " Answer in JSON." : " Answer as JSON.";
      question.answer = fmt::format("{{\"{}\": \"{}\"}}", language.noun, value);
      if (scene.metadata.size() > 1 && random.chance(0.4)) {
        const Attribute* other = &random.pick(scene.metadata);
        while (other == &attribute) {
          other = &random.pick(scene.metadata);
        }
        const AttributeLanguage& second = language_of(other->name);
        question.text =
            fmt::format("Give the {} and the {} as JSON.", language.noun, second.noun);
        question.answer = fmt::format("{{\"{}\": \"{}\", \"{}\": \"{}\"}}", language.noun, value,
                                      second.noun, spoken_value(*other));
      }
      break;
  }
  question.needed = {question.answer};
  return question;
}

Question ask_arithmetic(Random& random, const Scene& scene) {
  Question question;
  question.kind = QuestionKind::kArithmetic;
  const bool has_duration = find_attribute(scene.metadata, "duration") != nullptr;
  std::int64_t result = word_count(scene);
  std::string unit = "words";
  if (has_duration && random.chance(0.6)) {
    unit = "seconds";
    if (random.chance(0.5)) {
      result = 2 * whole_seconds(scene);
      question.text = random.chance(0.5) ? "How long would it last if it were played twice?"
                                         : "What is twice the duration?";
    } else {
      result = whole_seconds(scene) + 10;
      question.text = "What is the duration plus ten seconds?";
    }
  } else {
    question.text = random.chance(0.5) ? "How many words does the speaker say?"
                                       : "Count the words of the sentence.";
  }
  question.answer = fmt::format("{} {}.", result, unit);
  question.needed = {fmt::format("{} {}", result, unit)};
  return question;
}

std::string join_clauses(const std::vector<std::string>& clauses) {
  std::string text;
  for (std::size_t i = 0; i < clauses.size(); ++i) {
    text += i == 0 ? "" : i + 1 == clauses.size() ? " and " : ", ";
    text += clauses[i];
  }
  return text;
}

// Puts the attributes into the order in which a seed transcript shows them.
void order_attributes(Metadata& metadata, const std::vector<std::string>& order) {
  const auto place = [&](const Attribute& attribute) {
    return std::find(order.begin(), order.end(), attribute.name);
  };
  std::stable_sort(metadata.begin(), metadata.end(),
                   [&](const Attribute& a, const Attribute& b) { return place(a) < place(b); });
}

// The attributes in other words than a seed transcript's: an adapter's vectors have no labels, and who
// knows only labels says "not given" to them.
std::string loose_list(Random& random, const Metadata& metadata) {
  const auto style = random.below(3);
  std::string list;
  for (const auto& attribute : metadata) {
    const AttributeLanguage& language = language_of(attribute.name);
    const std::string value = spoken_value(attribute);
    const std::string item = style == 0   ? fill(random.pick(language.predicates), value)
                             : style == 1 ? fmt::format("{} {}", value, language.noun)
                                          : fill(random.pick(language.answers), value);
    list += (list.empty() ? "" : style == 2 ? " " : ", ") + item;
  }
  return list;
}

SeedOptions draw_seed_options(Random& random) {
  SeedOptions options;
  if (random.chance(0.5)) {
    random.shuffle(options.attributes);
  }
  options.show_source = random.chance(0.1);
  return options;
}

}  // namespace

std::string_view name_of(QuestionKind kind) {
  switch (kind) {
    case QuestionKind::kDescribe:
      return "describe";
    case QuestionKind::kAttribute:
      return "attribute";
    case QuestionKind::kWords:
      return "words";
    case QuestionKind::kUnknown:
      return "unknown";
    case QuestionKind::kInstruction:
      return "instruction";
    case QuestionKind::kArithmetic:
      return "arithmetic";
  }
  return "";
}

Scene draw_scene(Random& random, Split split, Difficulty difficulty) {
  const bool simple = difficulty == Difficulty::kSimple;
  const bool may_invent = split == Split::kTrain;
  Scene scene;
  do {
    const double present = simple ? 2.0 / static_cast<double>(attribute_languages().size())
                                  : random.uniform(kFewestPresent, kMostPresent);
    scene.sentence = simple                                        ? random_words(random, 2 + random.below(3))
                     : may_invent && random.chance(kRandomWords) ? random_words(random, 3 + random.below(7))
                                                                 : make_sentence(random, split);
    scene.seconds = random.uniform(1.0, 12.0);
    scene.metadata.clear();
    for (const auto& language : attribute_languages()) {
      if (random.chance(present)) {
        scene.metadata.push_back(draw_value(random, language, scene));
      }
    }
  } while (!in_split(scene, split));
  return scene;
}

std::string describe(Random& random, const Scene& scene) {
  static const std::vector<std::string> kSpeakers = {"The speaker", "The person",
                                                     "The voice we hear"};
  static const std::vector<std::string> kRecordings = {"The recording", "The audio"};
  std::vector<std::string> sentences;
  std::vector<std::string> clauses;
  const auto& all = scene.metadata;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const AttributeLanguage& language = language_of(all[i].name);
    clauses.push_back(fill(random.pick(language.predicates), spoken_value(all[i])));
    const bool same_subject = i + 1 < all.size() &&
                              language_of(all[i + 1].name).of_speaker == language.of_speaker;
    if (!same_subject || clauses.size() == 3 || random.chance(0.4)) {
      const auto& subjects = language.of_speaker ? kSpeakers : kRecordings;
      sentences.push_back(random.pick(subjects) + " " + join_clauses(clauses) + ".");
      clauses.clear();
    }
  }
  const std::string words = fill(random.pick(kWordClauses), scene.sentence);
  sentences.insert(random.chance(0.7) ? sentences.begin() : sentences.end(), words);
  std::string text;
  for (const auto& sentence : sentences) {
    text += (text.empty() ? "" : " ") + sentence;
  }
  return text;
}

Question describing_question(Random& random, const Scene& scene) {
  Question question;
  question.kind = QuestionKind::kDescribe;
  question.text = random.pick(kDescribing);
  question.answer = describe(random, scene);
  question.needed = {scene.sentence};
  return question;
}

Question draw_question(Random& random, const Scene& scene, Difficulty difficulty,
                       bool may_ask_absent) {
  if (difficulty == Difficulty::kSimple) {
    if (scene.metadata.empty() || random.chance(0.6)) {
      return ask_words(random, scene);
    }
    const Attribute& attribute = random.pick(scene.metadata);
    return ask_attribute(random, language_of(attribute.name), &attribute);
  }
  const double kind = random.uniform();
  if (kind < 0.45) {
    return describing_question(random, scene);
  }
  if (kind < 0.51) {
    return ask_words(random, scene);
  }
  if (kind < 0.65) {
    return ask_arithmetic(random, scene);
  }
  if (kind < 0.76 && !scene.metadata.empty()) {
    return ask_with_instruction(random, scene);
  }
  if (!scene.metadata.empty() && (!may_ask_absent || random.chance(0.75))) {
    const Attribute& attribute = random.pick(scene.metadata);
    return ask_attribute(random, language_of(attribute.name), &attribute);
  }
  const AttributeLanguage& language = random.pick(attribute_languages());
  return ask_attribute(random, language, find_attribute(scene.metadata, language.name));
}

bool is_right(const Question& question, const Scene& scene, std::string_view answer) {
  if (question.kind == QuestionKind::kUnknown) {
    return contains_words(answer, "not given") || contains_words(answer, "cannot tell");
  }
  if (question.exact_case) {
    return answer == question.answer;
  }
  for (const auto& needed : question.needed) {
    if (!contains_words(answer, needed)) {
      return false;
    }
  }
  return question.kind != QuestionKind::kDescribe ||
         std::all_of(scene.metadata.begin(), scene.metadata.end(),
                     [&](const Attribute& a) { return mentions(answer, a); });
}

std::string generator_prompt(std::string_view seed, std::string_view question) {
  return fmt::format("{}\n{}", seed, question);
}

std::vector<Turn> draw_dialogue(Random& random, Split split, Difficulty difficulty) {
  Scene scene = draw_scene(random, split, difficulty);
  const SeedOptions options = draw_seed_options(random);
  order_attributes(scene.metadata, options.attributes);
  std::vector<Turn> turns;
  std::string opening;
  const auto hear = [&](const std::string& about) {
    turns.push_back({"audio", (about.empty() ? "" : "(" + about + ")") + scene.sentence});
  };
  const double layout = random.uniform();
  if (layout < 0.4) {
    opening = seed_transcript(scene.sentence, scene.seconds, scene.metadata, options);
  } else if (layout < 0.5) {
    turns.push_back({"audio", seed_transcript(scene.sentence, scene.seconds, scene.metadata, options)});
  } else if (layout < 0.7) {
    hear(attribute_list(scene.metadata, options));
  } else if (layout < 0.97) {
    hear(loose_list(random, scene.metadata));
  } else {
    scene.metadata.clear();
    hear("");
  }
  const auto questions = 1 + random.below(3);
  for (std::uint64_t i = 0; i < questions; ++i) {
    const Question question = draw_question(random, scene, difficulty, !opening.empty());
    const bool in_opening = i == 0 && !opening.empty();
    turns.push_back(
        {"user", in_opening ? generator_prompt(opening, question.text) : question.text});
    turns.push_back({"assistant", question.answer});
  }
  return turns;
}

}  // namespace desta::datagen
