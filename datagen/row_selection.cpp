#include "datagen/row_selection.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

#include "datagen/key_set.h"
#include "datagen/metadata.h"

namespace desta::datagen {
namespace {

class Matcher {
 public:
  explicit Matcher(const RowSelection& selection) : selection_(selection) {
    for (const PromptGroup& group : selection.recipe.groups) {
      prompts_.insert(group.prompts.begin(), group.prompts.end());
    }
  }

  // The recipe's group of a row that is asked for.
  [[nodiscard]] std::optional<std::string> group_of(const Row& row) {
    if (selection_.every_row) {
      return row.group;
    }
    if (row.generator != selection_.generator || row.seed != selection_.seed ||
        !prompts_.contains(row.prompt)) {
      return std::nullopt;
    }
    // Rows of one recording are neighbours.
    if (row.audio_filepath != audio_ || row.metadata_json != metadata_json_) {
      audio_ = row.audio_filepath;
      metadata_json_ = row.metadata_json;
      metadata_ = with_thresholds(metadata_from_json(nlohmann::json::parse(row.metadata_json)),
                                  selection_.thresholds);
      asked_ = asked_of(selection_.recipe, row.audio_filepath, metadata_, row.seed);
    }
    const auto is_this = [&](const Asked& asked) {
      return asked.prompt == row.prompt && models_are_known(asked.seeds) &&
             row.id == row_key(row.audio_filepath,
                               seed_transcript(row.transcription, row.duration, metadata_, asked.seeds),
                               row.prompt, row.generator, row.seed, selection_.decoding);
    };
    const auto asked = std::find_if(asked_.begin(), asked_.end(), is_this);
    return asked == asked_.end() ? std::nullopt : std::optional(asked->group);
  }

 private:
  // Whether what the seed tells of models is of models that the selection has.
  [[nodiscard]] bool models_are_known(const SeedOptions& seeds) const {
    return std::ranges::all_of(seeds.attributes, [&](const std::string& name) {
      const Attribute* attribute = find_attribute(metadata_, name);
      return attribute == nullptr || attribute->source != Source::kModel ||
             std::ranges::find(selection_.models, attribute->origin) != selection_.models.end();
    });
  }

  const RowSelection& selection_;
  std::unordered_set<std::string> prompts_;
  std::string audio_;
  std::string metadata_json_;
  Metadata metadata_;
  std::vector<Asked> asked_;
};

}  // namespace

SelectedRows select_rows(const Dataset& dataset, const RowSelection& selection) {
  Matcher matcher(selection);
  const bool filters = selection.filters != FilterOptions{};
  KeySet responses;
  SelectedRows selected;
  dataset.for_each([&](std::size_t index, const Row& row) {
    auto group = matcher.group_of(row);
    if (!group.has_value()) {
      return;
    }
    if (filters) {
      Row judged = row;
      judged.group = std::move(*group);
      if (const auto rejection = judge(judged, selection.filters)) {
        ++selected.rejected[rejection->filter];
        return;
      }
      if (selection.filters.duplicates && !responses.insert(response_key(row))) {
        ++selected.rejected["duplicates"];
        return;
      }
    }
    selected.rows.push_back(index);
  });
  if (!selection.every_row) {
    std::ranges::sort(selected.rows, {}, [&](std::size_t row) { return dataset.id(row); });
  }
  return selected;
}

}  // namespace desta::datagen
