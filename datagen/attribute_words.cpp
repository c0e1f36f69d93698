#include "datagen/attribute_words.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "datagen/attribute_language.h"
#include "datagen/normalise_text.h"

namespace desta::datagen {
namespace {

using Words = std::vector<std::string>;

struct Value {
  std::string word;  // as in Attribute::word
  Words own;         // these say it alone, in any clause that is about nothing else
  Words near;        // these where a topic's word is near
};

struct Vocabulary {
  std::string name;
  Words topics;
  std::vector<Value> values;
};

// One table for what is mentioned and what is contradicted.
const std::vector<Vocabulary>& vocabularies() {
  static const std::vector<Vocabulary> table = {
      {"gender",
       {},
       {{"Male", {"male", "man", "mans", "masculine", "gentleman"}, {}},
        {"Female", {"female", "woman", "womans", "feminine", "lady"}, {}}}},
      {"age",
       {"age", "aged"},
       {{"Young", {"young", "youthful", "teenager", "teenage", "child"}, {}},
        {"Adult", {"adult", "grownup"}, {"middle"}},
        {"Elderly", {"elderly", "senior", "older"}, {"old"}}}},
      {"pitch",
       {"pitch", "pitched", "pitches"},
       {{"Low", {}, {"low", "lower", "deep"}},
        {"Normal", {}, {"normal", "medium", "moderate", "average", "mid"}},
        {"High", {}, {"high", "higher"}}}},
      {"volume",
       {"volume", "loudness"},
       {{"Low", {"quietly", "softly"}, {"low", "lower", "quiet", "soft"}},
        {"Normal", {}, {"normal", "medium", "moderate", "average"}},
        {"High", {"loud", "loudly"}, {"high", "higher"}}}},
      {"speaking_speed",
       {"speed", "pace", "rate", "tempo"},
       {{"Slow", {"slow", "slowly"}, {"leisurely", "low"}},
        {"Normal", {}, {"normal", "medium", "moderate", "average", "steady"}},
        {"Fast", {"fast", "rapid", "rapidly", "quickly"}, {"quick", "high"}}}},
      {"noise_level",
       {"noise", "noisy", "background"},
       {{"Low", {}, {"low", "little", "minimal", "quiet", "slight"}},
        {"Moderate", {}, {"moderate", "medium"}},
        {"High", {}, {"high", "loud", "heavy", "strong"}}}},
  };
  return table;
}

bool contains(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

struct Token {
  std::string word;
  bool marked = false;  // punctuation stands behind it
};

// Words in lower case without apostrophes, and whether one of `marks` stands behind each. The first token has no
// word: it is what stands in front of all.
std::vector<Token> tokens_of(std::string_view text, std::string_view marks) {
  std::vector<Token> tokens(1);
  bool within = false;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 || u >= 0x80) {
      if (!within) {
        tokens.emplace_back();
      }
      within = true;
      tokens.back().word += static_cast<char>(std::tolower(u));
    } else if (c != '\'') {
      within = false;
      tokens.back().marked = tokens.back().marked || marks.find(c) != std::string_view::npos;
    }
  }
  return tokens;
}

using Clause = Words;  // normalised words

// Clauses end at punctuation and at words that join them.
std::vector<Clause> clauses_of(std::string_view text) {
  static const Words kJoins = {"and", "but", "while", "with", "whereas", "though", "although", "at"};
  std::vector<Clause> clauses(1);
  for (const Token& token : tokens_of(text, ",.;:!?()\n")) {
    if (contains(kJoins, token.word)) {
      clauses.emplace_back();
    } else if (!token.word.empty()) {
      clauses.back().push_back(token.word);
    }
    if (token.marked) {
      clauses.emplace_back();
    }
  }
  return clauses;
}

bool negates(const Clause& clause) {
  static const Words kNegations = {"not",  "no",   "never", "neither", "nor",    "without", "isnt",
                                   "arent", "doesnt", "dont",  "wasnt",   "cannot", "cant"};
  return std::any_of(clause.begin(), clause.end(),
                     [](const std::string& word) { return contains(kNegations, word); });
}

const Vocabulary* topic_of(const std::string& word) {
  for (const Vocabulary& vocabulary : vocabularies()) {
    if (contains(vocabulary.topics, word)) {
      return &vocabulary;
    }
  }
  return nullptr;
}

// What the word at `place` is about: the topic nearest to it, the one behind it before the one in front,
// as English has it ("high pitch, low volume"); null where the clause has none.
const Vocabulary* nearest_topic(const Clause& clause, std::size_t place) {
  for (std::size_t distance = 1; distance < clause.size(); ++distance) {
    if (place + distance < clause.size()) {
      if (const Vocabulary* topic = topic_of(clause[place + distance])) {
        return topic;
      }
    }
    if (distance <= place) {
      if (const Vocabulary* topic = topic_of(clause[place - distance])) {
        return topic;
      }
    }
  }
  return nullptr;
}

struct Statement {
  std::string value;  // "High"
  std::string word;   // by which it is said
};

std::vector<Statement> statements(const std::vector<Clause>& clauses, const Vocabulary& vocabulary) {
  std::vector<Statement> found;
  for (const Clause& clause : clauses) {
    if (negates(clause)) {
      continue;
    }
    for (std::size_t i = 0; i < clause.size(); ++i) {
      for (const Value& value : vocabulary.values) {
        const bool own = contains(value.own, clause[i]);
        if (!own && !contains(value.near, clause[i])) {
          continue;
        }
        const Vocabulary* topic = nearest_topic(clause, i);
        if (topic == &vocabulary || (own && topic == nullptr) || (own && vocabulary.topics.empty())) {
          found.push_back({value.word, clause[i]});
        }
      }
    }
  }
  return found;
}

const Vocabulary* vocabulary_of(const std::string& name) {
  for (const Vocabulary& vocabulary : vocabularies()) {
    if (vocabulary.name == name) {
      return &vocabulary;
    }
  }
  return nullptr;
}

bool has_phrases(const std::string& name) {
  const auto& all = attribute_languages();
  return std::any_of(all.begin(), all.end(), [&](const auto& language) { return language.name == name; });
}

bool states_in(std::string_view text, const Attribute& attribute) {
  if (has_phrases(attribute.name)) {
    if (mentions(text, attribute)) {
      return true;
    }
    if (attribute.name == "duration" && contains_words(text, label_of(attribute))) {
      return true;
    }
  } else if (contains_words(text, attribute.word.empty() ? attribute.text : attribute.word)) {
    return true;
  }
  const Vocabulary* vocabulary = vocabulary_of(attribute.name);
  if (vocabulary == nullptr) {
    return false;
  }
  const auto said = statements(clauses_of(text), *vocabulary);
  return std::any_of(said.begin(), said.end(),
                     [&](const Statement& statement) { return statement.value == attribute.word; });
}

}  // namespace

std::string without_quotation(std::string_view text, std::string_view transcription) {
  const std::string quoted = normalise_text(transcription);
  // Words one by one, and full stops, which no quotation reaches over unless it has them itself.
  std::vector<Token> words = tokens_of(text, ",.;:!?()\n\"");
  words.erase(words.begin());
  Words wanted;
  for (std::size_t start = 0; start < quoted.size();) {
    const std::size_t end = std::min(quoted.find(' ', start), quoted.size());
    wanted.push_back(quoted.substr(start, end - start));
    start = end + 1;
  }
  std::string own;
  for (std::size_t i = 0; i < words.size();) {
    const bool here =
        !wanted.empty() && i + wanted.size() <= words.size() &&
        std::equal(wanted.begin(), wanted.end(), words.begin() + static_cast<std::ptrdiff_t>(i),
                   [](const std::string& a, const Token& b) { return a == b.word; });
    if (here) {
      own += own.empty() || own.ends_with('.') ? "" : ".";
      i += wanted.size();
      continue;
    }
    own += (own.empty() ? "" : " ") + words[i].word + (words[i].marked ? "." : "");
    ++i;
  }
  return own;
}

bool states(std::string_view text, const Attribute& attribute, std::string_view transcription) {
  return states_in(without_quotation(text, transcription), attribute);
}

std::optional<std::string> contradiction(std::string_view text, const Attribute& attribute,
                                         std::string_view transcription) {
  const Vocabulary* vocabulary = vocabulary_of(attribute.name);
  const auto is_this = [&](const auto& value) { return value.word == attribute.word; };
  if (vocabulary == nullptr ||
      std::none_of(vocabulary->values.begin(), vocabulary->values.end(), is_this)) {
    return std::nullopt;
  }
  const std::string own = without_quotation(text, transcription);
  const auto said = statements(clauses_of(own), *vocabulary);
  if (said.empty() || states_in(own, attribute)) {
    return std::nullopt;
  }
  return said.front().word;
}

}  // namespace desta::datagen
