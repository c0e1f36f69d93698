#include "launch/sweep_report.h"

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <set>

#include "launch/sweep_fixture.h"
#include "launch/sweep_plot.h"
#include "launch/sweep_tables.h"

namespace desta::tests {
namespace {

using launch::Plan;
using nlohmann::ordered_json;

struct Question {
  std::string set;
  std::string task;
  int recording;
  bool right;
};

ordered_json score(double accuracy, int n) {
  return {{"accuracy", accuracy},
          {"majority", 0.5},
          {"transcription_only", 0.25},
          {"ceiling", 1.0},
          {"n", n}};
}

class SweepReport : public SweepTest {
 protected:
  // An evaluation of one trial: two tasks of the set "held-out".
  void evaluate(const Plan& p, std::size_t trial, double gender, double words, double text = 1,
                std::int64_t round = 1, const std::vector<Question>& questions = {}) const {
    ordered_json report;
    auto& set = report["sets"]["held-out"];
    set["tasks"]["gender"] = score(gender, 4);
    set["tasks"]["words"] = score(words, 4);
    set["average"] = score((gender + words) / 2, 8);
    set["instruction_following"]["json"] = score(0.75, 4);
    report["retention"] = {{"same", 3}, {"n", 4}};
    report["text"] = {{"right", text * 10}, {"n", 10}, {"accuracy", text}};
    const fs::path run = fs::relative(p.run_folder(p.trials[trial], round), folder_);
    write(run / "evaluation.json", report.dump());
    std::string answers;
    for (const auto& question : questions) {
      answers += ordered_json{{"set", question.set},
                              {"task", question.task},
                              {"audio", std::to_string(question.recording)},
                              {"question", "?"},
                              {"right", question.right}}
                     .dump() +
                 "\n";
    }
    write(run / "answers.jsonl", answers);
    write(run / "metrics.jsonl",
          "{\"step\": 1, \"loss\": 9}\n{\"step\": 1, \"loss\": 4}\n{\"step\": 2, \"loss\": 2}\n");
  }
  static std::string page_of(const Plan& p) {
    return read_text(launch::write_report(p) / "report.html");
  }
};

TEST_F(SweepReport, TheCsvHasEveryNumberOfTheEvaluations) {
  const Plan p = plan("list: {'a, \"b\"': {}}\nseeds: [1, 2]\n");
  evaluate(p, 0, 1.0 / 3.0, 0.25);
  evaluate(p, 1, 0.5, 0.75);
  const auto results = launch::read_results(p);
  const std::string csv = launch::results_csv(results);
  const std::string path = (p.run_folder(p.trials[0], 1) / "evaluation.json").string();
  const std::string start = p.trials[0].id + ",\"a, \"\"b\"\"\",1,1,";
  expect_holds(csv, "trial,condition,seed,round,set,task,accuracy,n,path\n");
  expect_holds(csv, start + "held-out,gender,0.3333333333333333,4," + path + "\n");
  expect_holds(csv, start + "held-out,words,0.25,4," + path + "\n");
  expect_holds(csv, start + "held-out,average,0.29166666666666663,8,");
  expect_holds(csv, start + "held-out,json,0.75,4,");
  expect_holds(csv, start + "text,text,1,10,");
  expect_holds(csv, start + "retention,retention,0.75,4,");
  EXPECT_EQ(count_of(csv, "\n"), 1 + 2 * 6);
}

TEST_F(SweepReport, ThePageShowsMeansAndDeviationsOverSeeds) {
  const Plan p = plan("list: {a: {}, b: {adapter.queries: 8}}\nseeds: [1, 2]\n");
  evaluate(p, 0, 0.5, 0.25);
  evaluate(p, 1, 0.75, 0.25);
  const std::string page = page_of(p);
  // (50 + 75) / 2, and 25 / sqrt(2).
  expect_holds(page, "62.5 <small>± 17.7</small>");
  expect_holds(page, "25.0 <small>± 0.0</small>");
  expect_holds(page, "2 are missing");
  expect_holds(page, p.trials[2].id + ": pending");
  expect_holds(page, p.trials[3].id + ": pending");
  expect_holds(page, "href=\"../trials/" + p.trials[0].id + "/run/evaluation.json\"");
  expect_holds(page, "2.0000");
}

TEST_F(SweepReport, DifferencesPairSeedsAndQuestions) {
  const Plan p =
      plan("list: {base: {}, other: {adapter.queries: 8}}\nseeds: [1, 2]\nbaseline: base\n");
  // Two recordings; seed 1 gains both answers about gender, seed 2 too. The last question of
  // "other" was never asked of the baseline: it does not count. The order of answers does not
  // matter.
  evaluate(p, 0, 0, 1, 1, 1,
           {{"held-out", "gender", 1, false},
            {"held-out", "gender", 2, false},
            {"held-out", "words", 1, true},
            {"held-out", "words", 2, true}});
  evaluate(p, 1, 0, 1, 1, 1,
           {{"held-out", "gender", 1, false},
            {"held-out", "gender", 2, false},
            {"held-out", "words", 1, true},
            {"held-out", "words", 2, true}});
  for (const std::size_t trial : {2, 3}) {
    evaluate(p, trial, 1, 1, 1, 1,
             {{"held-out", "words", 2, true},
              {"held-out", "words", 1, true},
              {"held-out", "gender", 2, true},
              {"held-out", "gender", 1, true},
              {"held-out", "gender", 3, false},
              {"elsewhere", "gender", 1, false}});
  }
  const auto results = launch::read_results(p);
  const auto summary = launch::summarise(p, results);
  ASSERT_EQ(summary.rows.size(), 2u);
  EXPECT_FALSE(summary.rows[0].sets[0].average.difference) << "the baseline itself";
  const auto& other = summary.rows[1].sets[0];
  EXPECT_DOUBLE_EQ(other.tasks[0].difference->difference, 1.0);
  EXPECT_TRUE(other.tasks[0].difference->excludes_zero());
  EXPECT_DOUBLE_EQ(other.tasks[1].difference->difference, 0.0);
  EXPECT_FALSE(other.tasks[1].difference->excludes_zero());
  EXPECT_DOUBLE_EQ(other.average.difference->difference, 0.5);
  expect_holds(page_of(p), "+50.0 [+50.0, +50.0] *");
  expect_holds(launch::results_latex(p, summary), "$100.0 \\pm 0.0$*");
}

TEST_F(SweepReport, ASeedThatTheBaselineLacksIsNotCompared) {
  const Plan p =
      plan("list: {base: {}, other: {adapter.queries: 8}}\nseeds: [1, 2]\nbaseline: base\n");
  evaluate(p, 0, 0, 0, 1, 1, {{"held-out", "gender", 1, false}, {"held-out", "words", 1, false}});
  evaluate(p, 3, 1, 1, 1, 1, {{"held-out", "gender", 1, true}, {"held-out", "words", 1, true}});
  const auto results = launch::read_results(p);
  const auto summary = launch::summarise(p, results);
  EXPECT_FALSE(summary.rows[1].sets[0].average.difference);
}

TEST_F(SweepReport, NamesWithSpecialCharactersAreEscaped) {
  const Plan p = plan("list: {'<b>&_100%': {}, c: {adapter.queries: 8}}\nbaseline: '<b>&_100%'\n");
  evaluate(p, 0, 0.5, 0.5);
  evaluate(p, 1, 0.5, 0.5);
  const std::string page = page_of(p);
  expect_holds(page, "&lt;b&gt;&amp;_100%");
  expect_lacks(page, "<b>&_");
  expect_holds(read_text(p.folder / "report/table.tex"),
               "\\textless{}b\\textgreater{}\\&\\_100\\%");
  EXPECT_EQ(launch::escape_latex("\\{}$#^~"),
            "\\textbackslash{}\\{\\}\\$\\#\\textasciicircum{}\\textasciitilde{}");
}

TEST_F(SweepReport, EveryPlotIsAWholeSvg) {
  const Plan p = plan("list: {'<a>': {}, b: {adapter.queries: 8}}\nseeds: [1, 2]\nrounds: 2\n");
  for (std::size_t trial = 0; trial < 4; ++trial) {
    evaluate(p, trial, 0.5, 0.25, 0.9, 1);
    evaluate(p, trial, 0.75, 0.25, 0.7, 2);
  }
  const fs::path report = launch::write_report(p);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(report)) {
    if (entry.path().extension() == ".svg") {
      names.insert(entry.path().stem().string());
      boost::property_tree::ptree tree;
      EXPECT_NO_THROW(boost::property_tree::read_xml(entry.path().string(), tree)) << entry.path();
      expect_lacks(read_text(entry.path()), "nan");
    }
  }
  EXPECT_EQ(names, (std::set<std::string>{"average", "loss", "rounds-held-out", "rounds-text",
                                          "tasks-held-out"}));
}

TEST_F(SweepReport, ASweepThatHasNotBegunGetsAReportThatSaysSo) {
  const Plan p = plan("seeds: [1, 2]\n");
  expect_holds(page_of(p), "0 evaluations are here, 2 are missing");
}

TEST_F(SweepReport, AnEvaluationThatCannotBeReadIsNamedAndLeftOut) {
  const Plan p = plan("seeds: [1, 2]\n");
  evaluate(p, 0, 0.5, 0.5);
  evaluate(p, 1, 0.5, 0.5);
  const fs::path broken = p.run_folder(p.trials[1], 1) / "evaluation.json";
  std::ofstream(broken) << "{\"sets\": 3}";
  const auto results = launch::read_results(p);
  EXPECT_EQ(results.runs.size(), 1u);
  ASSERT_EQ(results.missing.size(), 1u);
  expect_holds(results.missing[0], broken.string());
}

TEST(SweepPlots, NumbersAtTheEndOfSetNamesAreFound) {
  EXPECT_EQ(launch::split_number("noise-20")->stem, "noise");
  EXPECT_DOUBLE_EQ(launch::split_number("noise-20")->number, 20);
  EXPECT_DOUBLE_EQ(launch::split_number("snr-2.5")->number, 2.5);
  EXPECT_FALSE(launch::split_number("held-out"));
  EXPECT_FALSE(launch::split_number("2024"));
}

TEST(SweepPlots, LongLinesAreThinnedToMeans) {
  const auto thin = launch::thinned({{1, 10}, {2, 20}, {3, 30}, {4, 50}}, 2);
  ASSERT_EQ(thin.size(), 2u);
  EXPECT_DOUBLE_EQ(thin[0].x, 1.5);
  EXPECT_DOUBLE_EQ(thin[0].y, 15);
  EXPECT_DOUBLE_EQ(thin[1].y, 40);
}

}  // namespace
}  // namespace desta::tests
