#include "launch/recipe_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "launch/measured_manifest.h"
#include "launch/recipe_plan.h"
#include "launch/row_plan.h"
#include "runtime/core/error.h"
#include "yaml_fixture.h"

namespace desta::launch {
namespace {
namespace fs = std::filesystem;

class RecipeFile : public YamlTest {
 protected:
  RecipeFile() : YamlTest("recipe") {}

  datagen::Recipe load(const std::string& text) {
    write(text);
    return load_recipe(file_, {.attributes = {"gender", "pitch"}});
  }
  std::string error(const std::string& text) {
    return error_of([&] { (void)load(text); });
  }
};

TEST_F(RecipeFile, SaysGroupsWeightsSubsetsAndTheSeedTranscript) {
  std::ofstream(folder_ / "pool.txt") << "  Three.  \n\nFour.\r\n";
  const auto recipe = load(R"(
seeds: {drop: 0.25, layout: "{text} <{attributes}>", show_source: true}
draw: 2
groups:
  describe: {weight: 2.5, prompts: [One., Two.], each: one}
  pool:
    file: pool.txt
    each: 2
    needs: [gender]
    attributes: [gender]
    drop: 0
    mentions: 1
)");
  EXPECT_EQ(recipe.draw, 2);
  EXPECT_EQ(recipe.drop, 0.25);
  EXPECT_EQ(recipe.seeds.attributes, (std::vector<std::string>{"gender", "pitch"})) << "as the configuration has it";
  EXPECT_EQ(recipe.seeds.layout, "{text} <{attributes}>");
  EXPECT_TRUE(recipe.seeds.show_source);
  ASSERT_EQ(recipe.groups.size(), 2u);
  EXPECT_EQ(recipe.groups[0], (datagen::PromptGroup{
                                  .name = "describe", .weight = 2.5, .prompts = {"One.", "Two."}, .each = 1}));
  EXPECT_EQ(recipe.groups[1], (datagen::PromptGroup{.name = "pool",
                                                    .prompts = {"Three.", "Four."},
                                                    .each = 2,
                                                    .needs = {"gender"},
                                                    .attributes = {{"gender"}},
                                                    .drop = 0.0,
                                                    .mentions = 1}));
}

TEST_F(RecipeFile, WhatIsWrongNamesFileLineAndKey) {
  const std::string good = "groups:\n  a: {prompts: [One.]}\n";
  EXPECT_EQ(error(good), "");
  EXPECT_EQ(error(good + "drw: one\n"), at(3) + "unknown key 'drw'; did you mean 'draw'?");
  EXPECT_EQ(error("groups:\n  a: {promts: [One.]}\n").find(file_.string()), 0u);
  EXPECT_EQ(error("groups:\n  a:\n    prompts: [One.]\n    wieght: 2\n"),
            at(4) + "unknown key 'groups.a.wieght'; did you mean 'groups.a.weight'?");
  EXPECT_EQ(error(good + "  a: {prompts: [Two.]}\n"), at(3) + "'groups.a' stands twice");
  EXPECT_EQ(error("draw: one\ngroups:\n  a:\n    weight: 0\n    prompts: [One.]\n"),
            at(4) + "'groups.a.weight' must be more than 0");
  EXPECT_EQ(error("draw: some\n" + good), at(1) + "'draw' must be all, one or a whole number of 1 or more");
  EXPECT_EQ(error("groups:\n  a: {prompts: [One.], each: 0}\n"),
            at(2) + "'groups.a.each' must be all, one or a whole number of 1 or more");
  EXPECT_NE(error("groups:\n  a: {prompts: [One.], each: 2}\n").find("'groups.a.each' is 2, but there are 1"),
            std::string::npos);
  EXPECT_EQ(error("groups:\n  a: {prompts: [One.], needs: [shoe]}\n").find(at(2) + "'groups.a.needs' must be a list of"),
            0u);
  EXPECT_EQ(error("groups:\n  a: {prompts: [One.], needs: [age]}\n"),
            at(2) + "'groups.a.needs' must be among the attributes that the group is told; 'age' is not");
  EXPECT_EQ(error("seeds: {drop: 2}\n" + good), at(1) + "'seeds.drop' must be between 0 and 1");
  EXPECT_NE(error("seeds: {layout: '{txt}'}\n" + good).find("'seeds.layout': "), std::string::npos);
  EXPECT_NE(error("groups:\n  a: {prompts: [One.], weight: 2}\n").find("'groups.a.weight' must be left out, or draw"),
            std::string::npos)
      << "a weight without a draw does nothing";
  EXPECT_NE(error("groups:\n  a: {prompts: [One., One.]}\n").find("\"One.\" stands twice"), std::string::npos);
  EXPECT_NE(error("groups:\n  a: {prompts: [One., ' ']}\n").find("number 2 is empty"), std::string::npos);
  EXPECT_NE(error("groups:\n  a: {each: all}\n").find("'groups.a' has no prompts"), std::string::npos);
  EXPECT_NE(error("groups: {}\n").find("no group of prompts"), std::string::npos);
  EXPECT_NE(error("").find("no group of prompts"), std::string::npos);
  EXPECT_NE(error("groups:\n  a:\n").find("'groups.a' has no prompts"), std::string::npos);
  EXPECT_NE(error("groups: [a]\n").find("'groups' must be a section"), std::string::npos);
  EXPECT_NE(error("groups:\n  a: {file: none.txt}\n").find((folder_ / "none.txt").string()), std::string::npos);
}

TEST_F(RecipeFile, TheRecipesThatComeWithItAreGood) {
  for (const auto& entry : fs::directory_iterator(DESTA_SOURCE_DIR "/configs/recipes")) {
    EXPECT_GT(load_recipe(entry.path(), {}).groups.size(), 1u) << entry.path();
  }
}

TEST_F(RecipeFile, AConfigurationWithABadRecipeIsRefused) {
  const fs::path config = folder_ / "job.yaml";
  std::ofstream(config) << "data: {recipe: " << (folder_ / "absent.yaml").string() << "}\n";
  EXPECT_THROW((void)load_config(config, {}), runtime::ConfigError);
  (void)load("groups:\n  a: {prompts: [One.], mentions: 2}\n");
  const auto loaded = load_config(config, {"data.recipe=" + file_.string(), "filters.mentions=4"});
  const auto recipe = recipe_of(loaded);
  EXPECT_EQ(recipe.groups.at(0).name, "a");
  EXPECT_EQ(filters_of(loaded, recipe).group_mentions.at("a"), 2);
  EXPECT_EQ(filters_of(loaded, recipe).mentions, 4);
  const auto off = load_config(config, {"data.recipe=" + file_.string()});
  EXPECT_EQ(filters_of(off, recipe), datagen::FilterOptions{}) << "a group's number does not turn the filter on";
}

// Keys of rows as they were before there were recipes: by the same formula, written out here.
TEST_F(RecipeFile, APlainListOfPromptsPlansTheSameKeysAsEver) {
  JobConfig config = load_config(tests::write_tiny_config(folder_), {"prompts=['A?', 'B?']", "data.seed=9"});
  datagen::Attribute gender;
  gender.name = "gender";
  gender.text = gender.word = "Male";
  const std::vector<MeasuredRow> measured = {{"/a.wav", "Rain falls.", 2.0, {gender}}};
  const auto rows = plan_rows(config, measured);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].seed_transcript, "[00:00:00 - 00:00:02]: \"Rain falls.\" (Gender:Male)");
  EXPECT_EQ(rows[0].id, datagen::row_key("/a.wav", rows[0].seed_transcript, "A?", generator_name(config), 9,
                                         config.data.decoding.describe()));
  EXPECT_EQ(rows[1].prompt, "B?");
  EXPECT_EQ(rows[1].group, "");
}

TEST_F(RecipeFile, ThePlanShowsGroupsWeightsAndRows) {
  const fs::path config = tests::write_tiny_config(folder_);
  std::ofstream(file_) << "draw: 1\ngroups:\n  a: {weight: 3, prompts: [One., Two.]}\n  b: {prompts: [Three.], needs: [accent]}\n";
  const auto loaded = load_config(config, {"data.recipe=" + file_.string()});
  const std::string plan = recipe_plan(loaded, "train", loaded.data.train_manifest);
  EXPECT_NE(plan.find("24 recordings, 1 groups each: 48 rows"), std::string::npos) << plan;
  EXPECT_NE(plan.find("weight 3"), std::string::npos) << plan;
  EXPECT_NE(plan.find("needs accent: 0 recordings, 0 rows"), std::string::npos) << plan;
}

}  // namespace
}  // namespace desta::launch
