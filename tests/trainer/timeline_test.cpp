#include "trainer/timeline.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace desta::trainer {
namespace {

Simulation played() {
  return simulate(training_schedule("interleaved", {.ranks = 2, .chunks = 2, .microbatches = 4}),
                  std::vector<StageCost>(4, {.forward = 1, .backward = 2, .send_forward = 0.1}));
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
    ++found;
  }
  return found;
}

TEST(Timeline, ThePictureHasEveryPassOfEveryRank) {
  const std::string svg = to_svg(played(), "interleaved", "s");
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  EXPECT_EQ(count(svg, "<title>forward "), 16u);   // 4 microbatches through 4 stages
  EXPECT_EQ(count(svg, "<title>backward "), 16u);
  EXPECT_NE(svg.find("backward 3 of stage 2, trial 0: "), std::string::npos);
  EXPECT_NE(svg.find(">rank 1<"), std::string::npos);
}

TEST(Timeline, TheTraceHasEveryActionWhereItWasPlayed) {
  const Simulation simulation = played();
  const auto events = nlohmann::json::parse(to_chrome_trace(simulation)).at("traceEvents");
  EXPECT_EQ(events.size(), simulation.timeline[0].size() + simulation.timeline[1].size());
  const TimedAction& last = simulation.timeline[1].back();
  EXPECT_EQ(events.back().at("name"), name_of(last.action.op));
  EXPECT_EQ(events.back().at("pid"), 1);
  EXPECT_DOUBLE_EQ(events.back().at("ts").get<double>(), 1e6 * last.begin);
}

}  // namespace
}  // namespace desta::trainer
