// Trained classifiers of what no signal measure tells (gender, age, accent, emotion, intent, language):
// TorchScript files, each with a card.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "datagen/attribute_card.h"
#include "datagen/metadata.h"
#include "datagen/waveform.h"

namespace desta::datagen {

class AttributeModel {
 public:
  // Reads the card and loads the model, and has it judge silence once, so that one that does not do what
  // its card says is refused here. Throws ConfigError for the card; ModelError, one line that names the
  // file, for a model that is missing, is not TorchScript that this LibTorch can load, has another checksum,
  // fails on the card's input, or answers with anything but finite logits [recordings, labels] for each
  // output.
  explicit AttributeModel(const std::filesystem::path& card);
  ~AttributeModel();
  AttributeModel(AttributeModel&&) noexcept;
  AttributeModel& operator=(AttributeModel&&) noexcept;

  // For each recording the attributes whose softmax reaches the card's minimum: its likeliest label, with
  // the softmax as confidence (to three decimals), source kModel and this model's origin. The recordings,
  // at kSampleRate, go through the model as one batch. Throws ModelError when an answer is not finite.
  [[nodiscard]] std::vector<Metadata> operator()(std::span<const Waveform> recordings) const;

  [[nodiscard]] const AttributeCard& card() const;

  // "gender-age@0123456789abcdef": the card's name, and a hash of card and model.
  [[nodiscard]] const std::string& origin() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

using AttributeModels = std::vector<AttributeModel>;

[[nodiscard]] AttributeModels load_attribute_models(const std::vector<std::string>& cards);

// The origin that the model of a card gives its attributes; loads nothing. Throws as the constructor does
// for files that cannot be read.
[[nodiscard]] std::string attribute_model_origin(const std::filesystem::path& card);

}  // namespace desta::datagen
