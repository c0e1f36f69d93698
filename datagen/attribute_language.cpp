#include "datagen/attribute_language.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "datagen/normalise_text.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

const std::vector<std::string> kLowHigh = {"Low", "Normal", "High"};

std::vector<AttributeLanguage> make_languages() {
  return {
      {"gender",
       "gender",
       true,
       {"Male", "Female"},
       {"is {v}", "is a {v} speaker", "has a {v} voice", "sounds {v}"},
       {"What is the gender of the speaker?", "Is the speaker male or female?",
        "Which gender does the voice have?", "Is this a male or a female voice?",
        "Tell me the speaker's gender.", "What gender is the person who speaks?"},
       {"The speaker is {v}.", "The gender of the speaker is {v}.", "It is a {v} voice.", "{V}."},
       {"The gender of the speaker is not given.", "I cannot tell the gender from this."}},
      {"age",
       "age",
       true,
       {"Young", "Adult", "Elderly"},
       {"belongs to the {v} age group", "is of {v} age", "sounds {v} in age"},
       {"How old is the speaker?", "What is the age of the speaker?",
        "Which age group does the speaker belong to?", "Is the speaker young, adult or elderly?"},
       {"The age of the speaker is {v}.", "The speaker is of {v} age.", "Age: {v}."},
       {"The age of the speaker is not given.", "I cannot tell the age from this."}},
      {"accent",
       "accent",
       true,
       {"American", "British", "Scottish", "Lancashire", "Caribbean", "New York", "West Midlands",
        "Received Pronunciation", "Irish", "Indian", "Australian", "Canadian"},
       {"has {a} accent", "speaks with {a} accent", "talks in {a} accent"},
       {"What accent does the speaker have?", "Which accent do you hear?",
        "What is the accent of the speaker?", "Where does the accent come from?"},
       {"The speaker has {a} accent.", "The accent is {v}.", "It is {a} accent."},
       {"The accent is not given.", "I cannot tell the accent from this."}},
      {"emotion",
       "emotion",
       true,
       {"Neutral", "Cheerful", "Happy", "Sad", "Angry", "Surprised", "Calm", "Excited"},
       {"sounds {v}", "speaks in a {v} tone", "is in a {v} mood"},
       {"What emotion does the speaker show?", "How does the speaker feel?",
        "In what mood is the speaker?", "What is the tone of the voice?"},
       {"The speaker sounds {v}.", "The emotion is {v}.", "The tone is {v}."},
       {"The emotion is not given.", "I cannot tell the emotion from this."}},
      {"pitch",
       "pitch",
       true,
       kLowHigh,
       {"has a {v} pitch", "speaks at a {v} pitch", "uses a voice of {v} pitch"},
       {"What is the pitch of the voice?", "Is the pitch low, normal or high?",
        "How high is the voice?", "What pitch does the speaker have?",
        "Is the voice low, normal or high in pitch?"},
       {"The pitch is {v}.", "The voice has a {v} pitch.", "The pitch of the voice is {v}."},
       {"The pitch is not given.", "I cannot tell the pitch from this."}},
      {"volume",
       "volume",
       true,
       kLowHigh,
       {"speaks at a {v} volume", "has a {v} volume", "talks with {v} volume"},
       {"What is the volume of the speech?", "Is the volume low, normal or high?",
        "How loud is the speaker?", "At what volume does the speaker talk?"},
       {"The volume is {v}.", "The speech has a {v} volume.", "The volume of the speech is {v}."},
       {"The volume is not given.", "I cannot tell the volume from this."}},
      {"speaking_speed",
       "speed",
       true,
       {"Slow", "Normal", "Fast"},
       {"speaks at a {v} speed", "talks at a {v} pace", "has a {v} speaking speed"},
       {"What is the speaking speed?", "Is the speaking speed slow, normal or fast?",
        "How fast does the speaker talk?", "At what pace does the person speak?",
        "Does the person speak at a slow, normal or fast pace?"},
       {"The speaking speed is {v}.", "The pace is {v}.", "The speaker talks at a {v} pace."},
       {"The speaking speed is not given.", "I cannot tell the speed from this."}},
      {"noise_level",
       "noise",
       false,
       {"Low", "Moderate", "High"},
       {"has a {v} noise level", "contains a {v} level of background noise",
        "has {v} background noise"},
       {"What is the noise level?", "Is the noise level low, moderate or high?",
        "How much background noise is there?", "How noisy is the recording?"},
       {"The noise level is {v}.", "There is a {v} level of noise.",
        "The background noise is {v}."},
       {"The noise level is not given.", "I cannot tell the noise level from this."}},
      {"reverberation",
       "c50",
       false,
       {},
       {"has a reverberation C50 of {v}", "has a C50 of {v}"},
       {"What is the C50 of the room?", "How much reverberation is there?"},
       {"The C50 is {v}.", "The reverberation C50 is {v}."},
       {"The reverberation is not given.", "I cannot tell the reverberation from this."}},
      {"duration",
       "duration",
       false,
       {},
       {"lasts {v} seconds", "is {v} seconds long", "has a duration of {v} seconds"},
       {"How long is the recording?", "What is the duration of the audio?",
        "How many seconds does the recording last?", "How long does the speech last?"},
       {"The recording lasts {v} seconds.", "The duration is {v} seconds.", "{v} seconds."},
       {"The duration is not given.", "I cannot tell the duration from this."}},
  };
}

bool is_vowel(char c) { return std::string_view("aeiouAEIOU").find(c) != std::string_view::npos; }

}  // namespace

const std::vector<AttributeLanguage>& attribute_languages() {
  static const std::vector<AttributeLanguage> languages = make_languages();
  return languages;
}

const AttributeLanguage& language_of(std::string_view name) {
  for (const auto& language : attribute_languages()) {
    if (language.name == name) {
      return language;
    }
  }
  throw runtime::ConfigError("attribute '{}' has no phrases to ask or state it with", name);
}

std::string spoken_value(const Attribute& attribute) {
  if (attribute.name == "duration" && attribute.number.has_value()) {
    return std::to_string(std::max(1L, std::lround(*attribute.number)));
  }
  if (attribute.name == "reverberation") {
    return attribute.text;  // the number: its word is a grade
  }
  if (attribute.name == "accent") {
    return attribute.word;
  }
  std::string value = attribute.word;
  std::transform(value.begin(), value.end(), value.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return value;
}

std::string label_of(const Attribute& attribute) {
  const std::string value = spoken_value(attribute);
  return attribute.name == "duration" ? fill("{v} seconds", value) : value;
}

std::string fill(std::string_view pattern, std::string_view value) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const auto place = pattern.substr(i, 3);
    if (place == "{v}") {
      out += value;
    } else if (place == "{V}") {
      out += value;
      const auto start = out.size() - value.size();
      if (start < out.size()) {
        out[start] = static_cast<char>(std::toupper(static_cast<unsigned char>(out[start])));
      }
    } else if (place == "{a}") {
      out += (!value.empty() && is_vowel(value.front()) ? "an " : "a ");
      out += value;
    } else {
      out += pattern[i];
      continue;
    }
    i += 2;
  }
  const auto plural = value == "1" ? out.find("1 seconds") : std::string::npos;
  if (plural != std::string::npos) {
    out.erase(plural + std::string_view("1 second").size(), 1);
  }
  return out;
}

bool mentions(std::string_view text, const Attribute& attribute) {
  const AttributeLanguage& language = language_of(attribute.name);
  const std::string value = spoken_value(attribute);
  const auto states = [&](const std::string& pattern) {
    return contains_words(text, fill(pattern, value));
  };
  if (std::any_of(language.predicates.begin(), language.predicates.end(), states) ||
      std::any_of(language.answers.begin(), language.answers.end(), states)) {
    return true;
  }
  // Values that no other attribute shares speak for themselves.
  const bool shared = value == "low" || value == "normal" || value == "high" ||
                      value == "moderate" || attribute.name == "duration";
  return !shared && contains_words(text, value);
}

}  // namespace desta::datagen
