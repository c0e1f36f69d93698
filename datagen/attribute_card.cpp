#include "datagen/attribute_card.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using runtime::ConfigError;

constexpr std::array<std::string_view, 6> kAttributes = {"gender",  "age",    "accent",
                                                         "emotion", "intent", "language"};
constexpr double kLongestSeconds = 60;

// One map of the card, whose keys are taken one by one.
class Section {
 public:
  Section(YAML::Node map, std::string file, std::string name)
      : map_(std::move(map)), file_(std::move(file)), name_(std::move(name)) {
    if (!map_.IsMap()) {
      throw ConfigError("{}: {} must be a map of keys", place(map_),
                        name_.empty() ? "the card" : "'" + name_ + "'");
    }
  }

  [[nodiscard]] YAML::Node find(const std::string& key) {
    known_.push_back(key);
    return map_[key];
  }

  [[nodiscard]] YAML::Node take(const std::string& key) {
    YAML::Node node = find(key);
    if (!node || node.IsNull()) {
      throw ConfigError("{}: '{}' is missing", place(map_), path(key));
    }
    return node;
  }

  template <typename T>
  [[nodiscard]] T value(const std::string& key, const char* kind) {
    const YAML::Node node = take(key);
    try {
      return node.as<T>();
    } catch (const YAML::Exception&) {
      throw ConfigError("{}: '{}' is not {}", place(node), path(key), kind);
    }
  }

  [[nodiscard]] Section section(const std::string& key) { return {take(key), file_, path(key)}; }

  void require(const std::string& key, bool holds, std::string_view range) {
    if (!holds) {
      throw ConfigError("{}: '{}' must be {}", place(map_[key]), path(key), range);
    }
  }

  // The keys in their order. Throws for one that stands twice.
  [[nodiscard]] std::vector<std::string> keys() const {
    std::vector<std::string> keys;
    for (const auto& entry : map_) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
        throw ConfigError("{}: '{}' stands twice", place(entry.first), path(key));
      }
      keys.push_back(key);
    }
    return keys;
  }

  // Complains about a key that nobody took.
  void finish() const {
    for (const std::string& key : keys()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        throw ConfigError("{}: unknown key '{}'; there are {}", place(map_[key]), path(key),
                          fmt::join(known_, ", "));
      }
    }
  }

 private:
  [[nodiscard]] std::string path(const std::string& key) const {
    return name_.empty() ? key : name_ + "." + key;
  }
  [[nodiscard]] std::string place(const YAML::Node& node) const {
    return fmt::format("{}:{}", file_, node.Mark().line + 1);
  }

  YAML::Node map_;
  std::string file_;
  std::string name_;
  std::vector<std::string> known_;
};

void read_input(Section input, AttributeCard& card) {
  const auto kind = input.value<std::string>("kind", "a text");
  input.require("kind", kind == "waveform" || kind == "log-mel", "waveform or log-mel");
  card.seconds = input.value<double>("seconds", "a number");
  input.require("seconds", card.seconds >= 0.1 && card.seconds <= kLongestSeconds,
                "from 0.1 to 60 seconds");
  card.input = kind == "waveform" ? AttributeCard::Input::kWaveform : AttributeCard::Input::kLogMel;
  if (card.input == AttributeCard::Input::kLogMel) {
    card.bins = input.value<std::int64_t>("bins", "a whole number");
    input.require("bins", card.bins >= 1 && card.bins <= 256, "from 1 to 256");
  }
  input.finish();
}

void read_outputs(Section outputs, AttributeCard& card) {
  for (const std::string& name : outputs.keys()) {
    AttributeOutput output{.attribute = name,
                           .labels = outputs.value<std::vector<std::string>>(name, "a list")};
    outputs.require(name, std::find(kAttributes.begin(), kAttributes.end(), name) != kAttributes.end(),
                    fmt::format("one of {}", fmt::join(kAttributes, ", ")));
    const std::set<std::string> different(output.labels.begin(), output.labels.end());
    outputs.require(name, different.size() >= 2 && different.size() == output.labels.size() &&
                              !different.contains(""),
                    "a list of two or more different labels");
    card.outputs.push_back(std::move(output));
  }
}

}  // namespace

AttributeCard read_attribute_card(const std::filesystem::path& path) {
  YAML::Node root;
  try {
    root = YAML::LoadFile(path.string());
  } catch (const YAML::BadFile&) {
    throw ConfigError("{}: cannot read it; metadata.models lists the cards of attribute models",
                      path.string());
  } catch (const YAML::ParserException& error) {
    throw ConfigError("{}:{}: not valid YAML: {}", path.string(), error.mark.line + 1, error.msg);
  }
  Section card_section(root, path.string(), "");
  AttributeCard card;
  card.name = card_section.value<std::string>("name", "a text");
  card_section.require("name", !card.name.empty(), "a name");
  card.source = card_section.value<std::string>("source", "a text");
  const auto model = card_section.value<std::string>("model", "the path of a file");
  card.model = std::filesystem::path(model).is_absolute() ? std::filesystem::path(model)
                                                          : path.parent_path() / model;
  if (const YAML::Node checksum = card_section.find("checksum"); checksum && checksum.IsScalar()) {
    card.checksum = checksum.Scalar();
    card_section.require("checksum",
                         card.checksum.size() == 16 && card.checksum.find_first_not_of(
                                                           "0123456789abcdef") == std::string::npos,
                         "sixteen lower-case hexadecimal digits");
  }
  read_input(card_section.section("input"), card);
  read_outputs(card_section.section("outputs"), card);
  card_section.require("outputs", !card.outputs.empty(), "one or more attributes");
  if (card_section.find("minimum_confidence")) {
    Section minimum = card_section.section("minimum_confidence");
    for (AttributeOutput& output : card.outputs) {
      if (minimum.find(output.attribute)) {
        output.minimum_confidence = minimum.value<double>(output.attribute, "a number");
        minimum.require(output.attribute,
                        output.minimum_confidence >= 0 && output.minimum_confidence <= 1,
                        "from 0 to 1");
      }
    }
    minimum.finish();
  }
  card_section.finish();
  return card;
}

}  // namespace desta::datagen
