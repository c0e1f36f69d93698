#include "datagen/row_selection.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "datagen/metadata.h"
#include "described_rows.h"

namespace desta::datagen {
namespace {

const Metadata kKnown = {attribute("gender", "Male"), attribute("volume", "Low")};

RowSelection selection(std::vector<std::string> attributes, std::vector<std::string> prompts) {
  return {.recipe = plain_recipe(std::move(prompts), {.attributes = std::move(attributes)}),
          .generator = "llm",
          .seed = 1,
          .decoding = "greedy"};
}

// The row that a selection's first prompt makes of recording `number`.
Row row_for(int number, const RowSelection& asked, const std::string& prompt) {
  Row row;
  row.audio_filepath = "audio/" + std::to_string(number) + ".wav";
  row.transcription = "Rain falls.";
  row.duration = 2;
  row.seed_transcript = seed_transcript(row.transcription, row.duration, kKnown, asked.recipe.seeds);
  row.prompt = prompt;
  row.response = "A man.";
  row.metadata_json = metadata_to_json(kKnown).dump();
  row.generator = asked.generator;
  row.seed = asked.seed;
  row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                   asked.decoding);
  return row;
}

std::vector<std::string> ids(const Dataset& dataset, const RowSelection& asked) {
  std::vector<std::string> found;
  const auto selected = select_rows(dataset, asked);
  for (const auto row : selected.rows) {
    found.push_back(dataset.id(row));
  }
  return found;
}

TEST(RowSelection, ATrialLearnsFromItsOwnRowsInAnOrderThatDoesNotDependOnTheWriting) {
  const RowSelection all = selection({"gender", "volume"}, {"What?"});
  const RowSelection poor = selection({"volume"}, {"What?"});
  const RowSelection asks = selection({"gender", "volume"}, {"Who?", "What?"});
  const TestFolder folder;
  DatasetWriter forward(folder.path() / "forward");
  DatasetWriter backward(folder.path() / "backward");
  std::vector<Row> rows;
  for (int i = 0; i < 10; ++i) {
    rows.push_back(row_for(i, all, "What?"));
    rows.push_back(row_for(i, poor, "What?"));
    rows.push_back(row_for(i, asks, "Who?"));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    forward.append(rows[i]);
    backward.append(rows[rows.size() - 1 - i]);
  }
  forward.finish();
  backward.finish();
  const Dataset a = Dataset::open(folder.path() / "forward");
  const Dataset b = Dataset::open(folder.path() / "backward");
  EXPECT_EQ(ids(a, all).size(), 10u);
  EXPECT_EQ(ids(a, poor).size(), 10u);
  EXPECT_EQ(ids(a, asks).size(), 20u);
  for (const auto& asked : {all, poor, asks}) {
    EXPECT_EQ(ids(a, asked), ids(b, asked));
  }
  const auto selected = select_rows(a, poor);
  for (const auto row : selected.rows) {
    EXPECT_EQ(a.row(row).seed_transcript.find("Gender"), std::string::npos);
  }
}

TEST(RowSelection, AnotherModelSeedOrDecodingMatchesNothing) {
  const RowSelection asked = selection({"gender"}, {"What?"});
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  writer.append(row_for(0, asked, "What?"));
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(select_rows(dataset, asked).rows.size(), 1u);
  RowSelection changed = asked;
  changed.generator = "another";
  EXPECT_TRUE(select_rows(dataset, changed).rows.empty());
  changed = asked;
  changed.seed = 2;
  EXPECT_TRUE(select_rows(dataset, changed).rows.empty());
  changed = asked;
  changed.decoding = "temperature 1";
  EXPECT_TRUE(select_rows(dataset, changed).rows.empty());
  changed = asked;
  changed.recipe.groups[0].prompts = {"Who?"};
  EXPECT_TRUE(select_rows(dataset, changed).rows.empty());
}

// A row for all that a recipe asks.
TEST(RowSelection, ARecipesRowsMatchAndNoOthers) {
  RowSelection asked = selection({"gender", "volume"}, {});
  asked.recipe.draw = 1;
  asked.recipe.drop = 0.5;
  asked.recipe.groups = {{.name = "describe", .prompts = {"What?", "Describe it."}, .each = 1},
                         {.name = "gender", .prompts = {"Who?"}, .needs = {"gender"}},
                         {.name = "age", .prompts = {"How old?"}, .needs = {"age"}}};
  RowSelection other = asked;  // drops nothing
  other.recipe.drop = 0;
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  std::size_t count = 0;
  std::size_t same = 0;
  for (int i = 0; i < 40; ++i) {
    for (const auto& [recipe, is_asked] : {std::pair(&asked.recipe, true), std::pair(&other.recipe, false)}) {
      for (const auto& question : asked_of(*recipe, "audio/" + std::to_string(i) + ".wav", kKnown, 1)) {
        Row row = row_for(i, asked, question.prompt);
        row.group = question.group;
        row.seed_transcript = seed_transcript(row.transcription, row.duration, kKnown, question.seeds);
        row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                         asked.decoding);
        const bool is_new = writer.append(row);
        count += is_asked && is_new ? 1 : 0;
        same += !is_asked && !is_new ? 1 : 0;
      }
    }
  }
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(count, 40u) << "one group each, one prompt each";
  EXPECT_EQ(select_rows(dataset, asked).rows.size(), 40u);
  EXPECT_EQ(select_rows(dataset, other).rows.size(), 40u);
  EXPECT_LT(same, 25u) << "a seed that tells less is another row";
  EXPECT_EQ(dataset.size(), 80u - same);
}

TEST(RowSelection, WhatTheFiltersTakeOutIsNotLearnedFrom) {
  RowSelection asked = selection({"gender"}, {"What?", "Who?"});
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  for (int i = 0; i < 6; ++i) {
    Row row = row_for(i, asked, i < 3 ? "What?" : "Who?");
    row.response = i % 3 == 0 ? "A woman speaks." : "A man speaks.";
    writer.append(row);
  }
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(select_rows(dataset, asked).rows.size(), 6u);
  asked.filters.contradictions = true;
  const auto rows = select_rows(dataset, asked).rows;
  ASSERT_EQ(rows.size(), 4u);
  for (const auto row : rows) {
    EXPECT_EQ(dataset.row(row).response, "A man speaks.");
  }
}

TEST(RowSelection, OfARecordingsSameWordsTheFirstIsLearnedFrom) {
  RowSelection asked = selection({"gender"}, {"What?", "Who?"});
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  const auto write = [&](int recording, const std::string& prompt, const std::string& response) {
    Row row = row_for(recording, asked, prompt);
    row.response = response;
    writer.append(row);
    return row.id;
  };
  const auto first = write(1, "What?", "A man speaks.");
  (void)write(1, "Who?", "a man speaks");
  const auto other = write(2, "Who?", "A man speaks.");
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(select_rows(dataset, asked).rows.size(), 3u);
  asked.filters.duplicates = true;
  const auto found = ids(dataset, asked);
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()), (std::set<std::string>{first, other}));
  EXPECT_EQ(select_rows(dataset, asked).rejected, (std::map<std::string, std::uint64_t>{{"duplicates", 1}}));
}

TEST(RowSelection, EveryRowThatTheFiltersLetPassWhoeverMadeIt) {
  const RowSelection one = selection({"gender"}, {"What?"});
  const RowSelection two = selection({"volume"}, {"Who?"});
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  std::vector<std::string> written;
  for (int i = 0; i < 6; ++i) {
    Row row = i % 2 == 0 ? row_for(i, one, "What?") : row_for(i, two, "Who?");
    row.response = i < 2 ? "Short." : "Long enough.";
    row.group = i == 4 ? "talkative" : "";
    written.push_back(row.id);
    writer.append(row);
  }
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  RowSelection every;
  every.every_row = true;
  EXPECT_EQ(ids(dataset, every), written) << "in the order of the dataset";
  every.filters.min_words = 2;
  EXPECT_EQ(ids(dataset, every), std::vector<std::string>(written.begin() + 2, written.end()));
  every.filters.mentions = 0;
  every.filters.group_mentions["talkative"] = 1;
  const auto selected = select_rows(dataset, every);
  EXPECT_EQ(selected.rows.size(), 3u) << "the row's own group counts";
  EXPECT_EQ(selected.rejected, (std::map<std::string, std::uint64_t>{{"mentions", 1}, {"min_words", 2}}));
}

// A row whose words were made by other thresholds, or by another model, is not what was asked for.
TEST(RowSelection, AnotherThresholdOrAttributeModelMatchesNothing) {
  RowSelection asked = selection({"pitch", "emotion"}, {"What?"});
  asked.models = {"moods@1"};
  Metadata metadata = {attribute("pitch", "High"), attribute("emotion", "Calm")};
  metadata[0].source = Source::kMeasured;
  metadata[0].number = 200;
  metadata[1].source = Source::kModel;
  metadata[1].origin = "moods@1";
  Row row = row_for(0, asked, "What?");
  row.metadata_json = metadata_to_json(metadata).dump();
  const auto question = asked_of(asked.recipe, row.audio_filepath, metadata, row.seed).front();
  row.seed_transcript = seed_transcript(row.transcription, row.duration, metadata, question.seeds);
  row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                   asked.decoding);
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  writer.append(row);
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(select_rows(dataset, asked).rows.size(), 1u);
  RowSelection changed = asked;
  changed.thresholds.pitch_high_hz = 210;
  EXPECT_TRUE(select_rows(dataset, changed).rows.empty());
  changed = asked;
  changed.thresholds.pitch_high_hz = 190;
  EXPECT_EQ(select_rows(dataset, changed).rows.size(), 1u) << "the same word";
  changed = asked;
  changed.models = {"moods@2"};
  EXPECT_TRUE(select_rows(dataset, changed).rows.empty());
}

}  // namespace
}  // namespace desta::datagen
