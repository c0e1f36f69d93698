#include "launch/sweep_file.h"

#include <set>

#include "launch/sweep_fixture.h"
#include "launch/sweep_trial.h"

namespace desta::tests {
namespace {

using launch::Plan;
using launch::Trial;

std::vector<std::string> ids_of(const Plan& plan) {
  std::vector<std::string> ids;
  for (const auto& trial : plan.trials) {
    ids.push_back(trial.id);
  }
  return ids;
}

TEST_F(SweepTest, ListGridPairedAndSeedsAreCrossed) {
  const Plan p = plan(
      "list:\n  one: {}\n  two: {metadata.attributes: [gender]}\n"
      "paired:\n  - {optimizer.learning_rate: [0.1, 0.2, 0.3], optimizer.warmup_steps: [1, 2, 3]}\n"
      "grid:\n  adapter.queries: [8, 16]\n"
      "seeds: [1, 2]\n"
      "baseline: 'one, optimizer.learning_rate=0.1, optimizer.warmup_steps=1, "
      "adapter.queries=8'\n");
  ASSERT_EQ(p.conditions.size(), 2u * 3 * 2);
  EXPECT_EQ(p.trials.size(), 2u * 3 * 2 * 2);
  EXPECT_EQ(p.conditions[0], p.baseline);
  EXPECT_EQ(p.conditions[3],
            "one, optimizer.learning_rate=0.2, optimizer.warmup_steps=2, adapter.queries=16");
  std::set<std::string> ids;
  for (std::size_t i = 0; i < p.trials.size(); ++i) {
    EXPECT_EQ(p.trials[i].index, i);
    EXPECT_TRUE(ids.insert(p.trials[i].id).second) << p.trials[i].id;
    const auto config = launch::load_config(write("trial.yaml", p.trials[i].config), {});
    EXPECT_EQ(config.training.seed, p.trials[i].seed);
    EXPECT_DOUBLE_EQ(config.training.optimizer.learning_rate * 10,
                     static_cast<double>(config.training.optimizer.warmup_steps));
    EXPECT_EQ(config.training.steps, 10) << "from the base";
  }
}

TEST_F(SweepTest, AListAloneGivesItsNamesAndNothingGivesTheBase) {
  EXPECT_EQ(plan("list: {a: {}, b: {adapter.queries: 8}}\n").conditions,
            (std::vector<std::string>{"a", "b"}));
  const Plan p = plan("");
  EXPECT_EQ(p.conditions, (std::vector<std::string>{"base"}));
  ASSERT_EQ(p.trials.size(), 1u);
  EXPECT_EQ(p.trials[0].seed, 1u) << "the base's run.seed";
}

TEST_F(SweepTest, UnknownKeysAreNamedWithTheirLineAndTheNearest) {
  expect_holds(mistake("seeds: [1]\nrouns: 2\n"),
               "sweep.yaml:5: unknown key 'rouns'; did you mean 'rounds'?");
  const auto setting = mistake("set:\n  training.step: 5\n");
  expect_holds(setting, "sweep.yaml:5: trial 'base'");
  expect_holds(setting, "unknown key 'training.step'; did you mean 'training.steps'?");
}

TEST_F(SweepTest, ABadValueNamesItsLineAndItsTrial) {
  const auto message = mistake("grid:\n  adapter.queries:\n    - 8\n    - -1\nseeds: [1, 2]\n");
  expect_holds(message, "sweep.yaml:7: trial 'adapter.queries=-1 (seed 1)'");
  expect_holds(message, "must be 1 or more");
}

TEST_F(SweepTest, MistakesInTheFileAreNamed) {
  expect_holds(mistake("list: {a: {}, b: {adapter.queries: 8}}\nbaseline: aa\n"),
               "no condition is called 'aa'; did you mean 'a'?");
  expect_holds(mistake("grid: {adapter.queries: []}\n"), "list of one or more values");
  expect_holds(mistake("list: {}\n"), "'list' has no condition");
  expect_holds(mistake("seeds: []\n"), "one or more different numbers");
  expect_holds(mistake("seeds: [1, 1]\n"), "one or more different numbers");
  expect_holds(mistake("rounds: 0\n"), "'rounds' must be 1 or more");
  expect_holds(mistake("set: {run.seed: 3}\n"), "list seeds under 'seeds'");
  expect_holds(mistake("list: {a: {run.folder: x}}\n"), "a folder of its own");
  expect_holds(mistake("list: {a: {adapter.queries: 8}}\ngrid: {adapter.queries: [8]}\n"),
               "'adapter.queries' is varied twice");
  expect_holds(mistake("paired:\n  - {adapter.queries: [8, 9], adapter.layers: [1]}\n"),
               "has 1 values and the keys before it have 2");
  expect_holds(mistake("list: {a: {}, a: {}}\n"), "'a' stands twice");
  expect_holds(mistake("list: {a b: {}, a-b: {}}\n"), "is the same as one before it");
  expect_holds(mistake("launcher: ''\nset: {pipeline.stages: 2}\n"), "'launcher' is empty");
  expect_holds(mistake("list: {a: {prompts: [Who?]}}\n"), "sweep.yaml:4: not valid YAML");
}

TEST_F(SweepTest, FilesThatAreNotThereAreNamed) {
  EXPECT_THROW((void)launch::read_sweep_file(folder_ / "absent.yaml"), runtime::ConfigError);
  write("sweep.yaml", "name: x\nbase: absent.yaml\nfolder: s\n");
  try {
    (void)launch::make_plan(launch::read_sweep_file(folder_ / "sweep.yaml"), {});
    FAIL();
  } catch (const runtime::ConfigError& error) {
    expect_holds(error.what(), (folder_ / "absent.yaml").string());
  }
}

TEST_F(SweepTest, IdsChangeWithSettingsAndWithNothingElse) {
  const std::string text = "list: {a: {}, b: {adapter.queries: 8}}\nseeds: [1, 2]\n";
  const auto ids = ids_of(plan(text));
  EXPECT_EQ(ids_of(plan("# a comment\n" + text + "baseline: a\n")), ids);
  EXPECT_EQ(ids[0].substr(0, 8), "a-seed1-");
  const auto changed = ids_of(plan("set: {training.steps: 11}\n" + text));
  const auto overridden = ids_of(plan(text, {"training.steps=11"}));
  EXPECT_EQ(changed, overridden) << "--set is part of the identity as 'set' is";
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_NE(ids[i], changed[i]);
  }
  // Another place for the results is no other trial.
  auto file = launch::read_sweep_file(sweep(text));
  file.folder = folder_ / "elsewhere";
  EXPECT_EQ(ids_of(launch::make_plan(file, {})), ids);
}

TEST_F(SweepTest, TheCommandLineMayNotUndoWhatIsVaried) {
  const std::string text = "grid: {adapter.queries: [8, 16]}\n";
  expect_holds(mistake(text, {"adapter.queries=9"}), "varies 'adapter.queries'");
  expect_holds(mistake(text, {"adapter={queries: 9}"}), "varies 'adapter.queries'");
  expect_holds(mistake(text, {"run.seed=9"}), "under 'seeds'");
  expect_holds(mistake(text, {"nonsense"}), "key.path=value");
}

TEST_F(SweepTest, TrialsLearnFromMatchingRowsAndShareFeaturesUnlessTold) {
  const auto config_of = [&](const Plan& p) {
    return launch::load_config(write("trial.yaml", p.trials[0].config), {});
  };
  auto config = config_of(plan(""));
  EXPECT_EQ(config.data.select, "matching");
  EXPECT_EQ(config.training.features, "d/features");
  EXPECT_FALSE(config.preemption.requeue);
  EXPECT_EQ(config.training.folder, plan("").run_folder(plan("").trials[0], 1).string());
  config = config_of(plan("set: {data.select: all, data.features: ''}\n"));
  EXPECT_EQ(config.data.select, "all");
  EXPECT_EQ(config.training.features, "");
  write("base.yaml", "data: {select: all, features: cache}\npreemption: {requeue: true}\n");
  config = config_of(plan(""));
  EXPECT_EQ(config.data.select, "all");
  EXPECT_EQ(config.training.features, "cache");
  EXPECT_FALSE(config.preemption.requeue) << "the sweep asks, not its trials";
  EXPECT_TRUE(plan("").preemption.requeue);
}

TEST_F(SweepTest, ARecipeThatChangesInItsFileMakesOtherData) {
  const fs::path recipe = folder_ / "recipe.yaml";
  const auto trial_with = [&](const std::string& prompt) {
    std::ofstream(recipe) << "groups: {a: {prompts: [" << prompt << "]}}\n";
    return plan("set: {data.recipe: " + recipe.string() + "}\n").trials.at(0);
  };
  const Trial first = trial_with("What");
  EXPECT_EQ(trial_with("What").data_key, first.data_key);
  EXPECT_NE(trial_with("Who").data_key, first.data_key);
  EXPECT_NE(trial_with("Who").id, first.id);
}

TEST_F(SweepTest, DataIsGeneratedOnceForWhatItDependsOn) {
  EXPECT_EQ(plan("grid: {adapter.queries: [8, 16]}\nseeds: [1, 2]\n").data_jobs().size(), 1u);
  EXPECT_EQ(plan("list: {a: {}, b: {prompts: ['Who?']}}\nseeds: [1, 2]\n").data_jobs().size(), 2u);
  EXPECT_EQ(plan("set: {data.seed: 0}\nseeds: [1, 2]\n").data_jobs().size(), 2u)
      << "run.seed is the data's then";
  EXPECT_EQ(plan("list: {a: {}, b: {data.select: all}}\n").data_jobs().size(), 1u);
  EXPECT_EQ(plan("set: {data.train_manifest: ''}\n").data_jobs().size(), 0u)
      << "made by other means";
}

TEST_F(SweepTest, TrialsMayNotSpeakOverEachOther) {
  const std::string two = "set: {data.seed: 0, data.synthetic.enabled: true}\nseeds: [1, 2]\n";
  expect_holds(mistake(two), "set data.seed for all of them");
  EXPECT_EQ(
      plan("set: {data.seed: 1, data.synthetic.enabled: true}\nseeds: [1, 2]\n").trials.size(), 2u);
}

TEST_F(SweepTest, APlanComesBackFromItsFile) {
  const Plan one =
      plan("list: {'a <b>': {}, b: {prompts: [\"Who?\\nWhat?\"]}}\nrounds: 2\nbaseline: b\n");
  const fs::path path = launch::save_plan(one);
  EXPECT_EQ(launch::save_plan(one), path);
  const Plan other = launch::load_plan(path);
  EXPECT_EQ(launch::save_plan(other), path);
  EXPECT_EQ(ids_of(other), ids_of(one));
  EXPECT_EQ(other.trials[1].config, one.trials[1].config);
  EXPECT_THROW((void)launch::load_plan(write("broken.json", "{}")), runtime::DataError);
}

TEST_F(SweepTest, RoundsGoOnFromEachOther) {
  const Plan p = plan("rounds: 3\nseeds: [7]\nset: {pipeline.stages: 2}\n");
  const Trial& trial = p.trials[0];
  const auto text_of = [](const launch::CommandLine& command) {
    std::string text;
    for (const auto& word : command) {
      text += word + " ";
    }
    return text;
  };
  const std::string first = text_of(launch::train_command(p, trial, 1));
  expect_holds(first, "mpirun -n 2 ");
  expect_holds(first, "run.folder=" + (p.trial_folder(trial) / "round-1").string());
  expect_lacks(first, "start_from");
  const std::string third = text_of(launch::train_command(p, trial, 3));
  expect_holds(third, "run.seed=2007 ");
  expect_holds(third, "train.start_from=" + (p.trial_folder(trial) / "round-2").string());
  // One rank needs no launcher; the evaluation may have ranks of its own.
  const Plan single = plan("ranks: 3\nlauncher: srun --mpi=pmix '--ntasks={ranks}'\n");
  EXPECT_EQ(launch::train_command(single, single.trials[0], 1).size(), 2u);
  const auto evaluation = launch::evaluation_command(single, single.trials[0], 1);
  EXPECT_EQ(evaluation[2], "--ntasks=3");
}

TEST_F(SweepTest, TrialsThatMayShareAJobDo) {
  const std::string text =
      "grid:\n  adapter.queries: [4, 8, 16]\n  pipeline.stages: [1, 2]\nseeds: [1, 2]\n";
  const auto jobs_of = [](const Plan& plan) {
    std::vector<std::size_t> jobs;
    for (const Trial& trial : plan.trials) {
      jobs.push_back(trial.job);
    }
    return jobs;
  };
  const Plan alone = plan(text);
  for (const Trial& trial : alone.trials) {
    EXPECT_EQ(trial.job, trial.index);
  }
  // Queries 4 with one stage are trials 0 and 1, with two stages 2 and 3, and so on.
  const Plan together = plan(text + "together: 4\n");
  EXPECT_EQ(jobs_of(together), (std::vector<std::size_t>{0, 0, 2, 2, 0, 0, 2, 2, 8, 8, 10, 10}));
  EXPECT_EQ(ids_of(together), ids_of(alone));
  ASSERT_EQ(together.job(2).size(), 4u);
  EXPECT_EQ(together.job(2)[3]->index, 7u);
  EXPECT_EQ(launch::train_command(together, together.job(8)).size(),
            launch::train_command(together, *together.job(8)[0], 1).size() + 1)
      << "one more configuration";
  EXPECT_EQ(jobs_of(launch::load_plan(launch::save_plan(together))), jobs_of(together));
  const Plan apart = plan("set: {train.what: lora}\nseeds: [1, 2]\ntogether: 2\n");
  EXPECT_EQ(jobs_of(apart), (std::vector<std::size_t>{0, 1})) << "they change the models";
  expect_holds(mistake("together: 0\n"), "sweep.yaml:4: 'together' must be 1 or more");
  expect_holds(mistake("rounds: 2\ntogether: 2\n"), "sweep.yaml:5: trials of several 'rounds'");
}

}  // namespace
}  // namespace desta::tests
