// How English speaks of the attributes: phrases that state a value, questions that ask for one,
// answers that give it. One table serves the corpus that the stand-in LLM learns from, the checks
// that a description mentions what it was given, and the questions of the evaluation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "datagen/metadata.h"

namespace desta::datagen {

// In the templates `{v}` stands for the value in lower case ("female", "4", "15").
struct AttributeLanguage {
  std::string name;                      // "gender"
  std::string noun;                      // "gender": the key of a JSON answer
  bool of_speaker = true;                // a predicate of the speaker, else of the recording
  std::vector<std::string> values;       // the words that a seed transcript may show; empty: numbers
  std::vector<std::string> predicates;   // "is {v}": completes "The speaker ..." or "The recording ..."
  std::vector<std::string> questions;    // open questions that `answers` fit
  std::vector<std::string> answers;
  std::vector<std::string> unknown;      // answers when the value is not given
};

[[nodiscard]] const std::vector<AttributeLanguage>& attribute_languages();
// Throws ConfigError for a name that the table lacks.
[[nodiscard]] const AttributeLanguage& language_of(std::string_view name);

// The value as sentences use it: the word in lower case (proper adjectives keep their capital), the
// number without its unit: "female", "Scottish", "4", "15".
[[nodiscard]] std::string spoken_value(const Attribute& attribute);

// `pattern` with every "{v}" replaced; "{V}" capitalises it, "{a}" puts an article before it. One
// second is not "1 seconds".
[[nodiscard]] std::string fill(std::string_view pattern, std::string_view value);

// What an answer must contain, as consecutive words, to be right about the value: "female",
// "4 seconds", "1 second".
[[nodiscard]] std::string label_of(const Attribute& attribute);

// True when `text` states this value of the attribute, in any of the words the table knows.
[[nodiscard]] bool mentions(std::string_view text, const Attribute& attribute);

}  // namespace desta::datagen
