#include "datagen/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

Metadata known(const std::vector<std::string>& names) {
  Metadata metadata;
  for (const std::string& name : names) {
    Attribute& attribute = metadata.emplace_back();
    attribute.name = name;
    attribute.text = attribute.word = "Low";
  }
  return metadata;
}

std::string audio(int number) { return "/speech/" + std::to_string(number) + ".wav"; }

std::vector<std::string> texts(const std::vector<Asked>& asked) {
  std::vector<std::string> all;
  for (const Asked& one : asked) {
    all.push_back(one.group + ": " + one.prompt);
  }
  return all;
}

TEST(Recipe, APlainListAsksEachPromptInItsOrder) {
  SeedOptions seeds;
  seeds.attributes = {"pitch"};
  const auto asked = asked_of(plain_recipe({"B?", "A?", "B?"}, seeds), audio(0), known({"pitch"}), 1);
  EXPECT_EQ(texts(asked), (std::vector<std::string>{": B?", ": A?"})) << "each once";
  EXPECT_EQ(asked[0].seeds, seeds);
}

TEST(Recipe, GroupsAreMixedByTheirWeights) {
  Recipe recipe;
  recipe.draw = 1;
  recipe.groups = {{.name = "one", .weight = 1, .prompts = {"A?"}}, {.name = "three", .weight = 3, .prompts = {"B?"}}};
  std::map<std::string, int> counts;
  constexpr int kRecordings = 4000;
  for (int i = 0; i < kRecordings; ++i) {
    const auto asked = asked_of(recipe, audio(i), {}, 7);
    ASSERT_EQ(asked.size(), 1u);
    ++counts[asked[0].group];
  }
  // Binomial: a quarter of 4000, standard deviation 27.
  EXPECT_NEAR(counts["one"], 1000, 5 * 27.4);
}

TEST(Recipe, EachGroupGivesAllOneOrSomeOfItsPrompts) {
  Recipe recipe;
  recipe.groups = {{.name = "all", .prompts = {"A?", "B?"}},
                   {.name = "one", .prompts = {"C?", "D?", "E?"}, .each = 1},
                   {.name = "two", .prompts = {"F?", "G?", "H?"}, .each = 2}};
  std::map<std::string, int> counts;
  for (int i = 0; i < 3000; ++i) {
    const auto asked = texts(asked_of(recipe, audio(i), {}, 1));
    ASSERT_EQ(asked.size(), 5u);
    EXPECT_EQ(std::set<std::string>(asked.begin(), asked.end()).size(), 5u) << "none twice";
    for (const auto& text : asked) {
      ++counts[text];
    }
  }
  EXPECT_EQ(counts["all: A?"], 3000);
  for (const char* one : {"one: C?", "one: D?", "one: E?"}) {
    EXPECT_NEAR(counts[one], 1000, 5 * 25.8) << one;
  }
  for (const char* two : {"two: F?", "two: G?", "two: H?"}) {
    EXPECT_NEAR(counts[two], 2000, 5 * 25.8) << two;
  }
}

// Neither the order of what there is to draw from, nor what came before.
TEST(Recipe, ADrawDependsOnSeedAndRecordingAlone) {
  Recipe recipe;
  recipe.draw = 2;
  recipe.groups = {{.name = "a", .weight = 2, .prompts = {"1?", "2?", "3?"}, .each = 1},
                   {.name = "b", .weight = 1, .prompts = {"4?", "5?"}, .each = 1},
                   {.name = "c", .weight = 3, .prompts = {"6?"}}};
  Recipe turned = recipe;
  std::reverse(turned.groups.begin(), turned.groups.end());
  for (auto& group : turned.groups) {
    std::reverse(group.prompts.begin(), group.prompts.end());
  }
  Recipe larger = recipe;
  larger.groups[0].prompts.push_back("7?");
  int other_seed = 0;
  int changed = 0;
  for (int i = 0; i < 1000; ++i) {
    auto plain = texts(asked_of(recipe, audio(i), {}, 1));
    auto reversed = texts(asked_of(turned, audio(i), {}, 1));
    std::sort(plain.begin(), plain.end());
    std::sort(reversed.begin(), reversed.end());
    EXPECT_EQ(plain, reversed);
    auto again = texts(asked_of(recipe, audio(i), {}, 2));
    std::sort(again.begin(), again.end());
    other_seed += again != plain ? 1 : 0;
    auto more = texts(asked_of(larger, audio(i), {}, 1));
    std::sort(more.begin(), more.end());
    if (more != plain) {
      ++changed;
      EXPECT_NE(std::find(more.begin(), more.end(), "a: 7?"), more.end()) << "only the new one wins";
    }
  }
  EXPECT_GT(other_seed, 500);
  EXPECT_GT(changed, 100);
  EXPECT_LT(changed, 300) << "a quarter of those that draw from the group";
}

TEST(Recipe, TaskSpecificQuestionsGoToRecordingsThatHaveTheAttribute) {
  Recipe recipe;
  recipe.groups = {{.name = "describe", .prompts = {"What?"}},
                   {.name = "accent", .prompts = {"Which accent?"}, .needs = {"accent"}, .attributes = {{"accent"}}}};
  EXPECT_EQ(texts(asked_of(recipe, audio(0), known({"pitch"}), 1)), (std::vector<std::string>{"describe: What?"}));
  const auto asked = asked_of(recipe, audio(0), known({"pitch", "accent"}), 1);
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[1].seeds.attributes, (std::vector<std::string>{"accent"})) << "its own subset";
  EXPECT_EQ(asked[0].seeds.attributes, recipe.seeds.attributes);
}

TEST(Recipe, AttributesAreDroppedAtRandomAndNeededOnesNever) {
  Recipe recipe;
  recipe.drop = 0.3;
  recipe.seeds.attributes = {"gender", "pitch", "volume"};
  recipe.groups = {{.name = "describe", .prompts = {"What?", "Tell me."}},
                   {.name = "gender", .prompts = {"Who?"}, .needs = {"gender"}},
                   {.name = "whole", .prompts = {"All?"}, .drop = 0.0}};
  const Metadata all = known({"gender", "pitch", "volume"});
  std::map<std::string, int> told;
  for (int i = 0; i < 3000; ++i) {
    const auto asked = asked_of(recipe, audio(i), all, 1);
    ASSERT_EQ(asked.size(), 4u);
    EXPECT_EQ(asked[0].seeds, asked[1].seeds) << "one seed transcript for a recording's prompts";
    for (const auto& name : asked[0].seeds.attributes) {
      ++told[name];
    }
    const auto& needed = asked[2].seeds.attributes;
    EXPECT_NE(std::find(needed.begin(), needed.end(), "gender"), needed.end());
    EXPECT_EQ(asked[3].seeds.attributes, recipe.seeds.attributes);
  }
  for (const auto& [name, count] : told) {
    EXPECT_NEAR(count, 2100, 5 * 25.1) << name;  // 70 %, standard deviation 25.1
  }
}

Metadata scottish() {
  Metadata metadata = known({"pitch", "accent"});
  metadata[1].text = metadata[1].word = "Scottish";
  return metadata;
}

TEST(SeedLayout, TheDefaultIsThePublishedLine) {
  SeedOptions options;
  EXPECT_EQ(seed_transcript("Long gone.", 4.2, scottish(), options),
            "[00:00:00 - 00:00:04]: \"Long gone.\" (Accent: Scottish, Pitch: Low)");
  options.layout = "[{start} - {end}]: \"{text}\" ({attributes})";
  EXPECT_EQ(seed_transcript("Long gone.", 4.2, scottish(), options),
            "[00:00:00 - 00:00:04]: \"Long gone.\" (Accent: Scottish, Pitch: Low)");
  EXPECT_EQ(seed_transcript("Long gone.", 4.2, {}, options), "[00:00:00 - 00:00:04]: \"Long gone.\"");
}

TEST(SeedLayout, FieldsAreFilledInAndEmptyBracketsGo) {
  SeedOptions options;
  options.layout = "{{{seconds} s}} <{attributes}> Words: {text}";
  EXPECT_EQ(seed_transcript("So {it} is.", 4.2, scottish(), options),
            "{4 s} <Accent: Scottish, Pitch: Low> Words: So {it} is.");
  EXPECT_EQ(seed_transcript("Yes.", 4.2, {}, options), "{4 s} Words: Yes.");
  options.layout = "{text}";
  EXPECT_EQ(seed_transcript("", 4.2, scottish(), options), "");
}

TEST(SeedLayout, WhatIsWrongWithALayoutIsSaid) {
  const auto message = [](const std::string& layout) -> std::string {
    try {
      check_layout(layout);
    } catch (const runtime::ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message("{text} ({attributes})"), "");
  EXPECT_NE(message("{txt}").find("no field 'txt'"), std::string::npos) << message("{txt}");
  EXPECT_NE(message("{txt}").find("attributes"), std::string::npos);
  for (const char* layout : {"{text", "text}", "{text}}", "{"}) {
    EXPECT_NE(message(layout).find("without its partner"), std::string::npos) << layout;
  }
}

TEST(SeedLayout, WhatWasToldIsFoundAgain) {
  const Metadata metadata = scottish();
  SeedOptions options;
  options.attributes = {"pitch"};
  const auto told = told_attributes(seed_transcript("Scottish.", 2, metadata, options), metadata);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].name, "pitch");
}

}  // namespace
}  // namespace desta::datagen
