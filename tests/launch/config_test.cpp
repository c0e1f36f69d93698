#include "launch/config.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <set>

#include "runtime/core/error.h"
#include "yaml_fixture.h"

namespace desta::launch {
namespace {
namespace fs = std::filesystem;

class ConfigTest : public YamlTest {
 protected:
  ConfigTest() : YamlTest("config") {}

  JobConfig load(const std::string& text, const std::vector<std::string>& overrides = {}) {
    write(text);
    return load_config(file_, overrides);
  }
  std::string error(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return error_of([&] { (void)load(text, overrides); });
  }
};

// Every leaf as "section.key", with its value as YAML.
void leaves(const YAML::Node& node, const std::string& path,
            std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& entry : node) {
    const auto key = (path.empty() ? "" : path + ".") + entry.first.as<std::string>();
    if (entry.second.IsMap()) {
      leaves(entry.second, key, out);
    } else {
      YAML::Emitter text;
      text << YAML::Flow << entry.second;
      out.emplace_back(key, text.c_str());
    }
  }
}

std::string default_yaml() {
  const JobConfig defaults;
  return to_yaml(defaults);
}

std::vector<std::pair<std::string, std::string>> all_keys() {
  std::vector<std::pair<std::string, std::string>> keys;
  leaves(YAML::Load(default_yaml()), "", keys);
  return keys;
}

TEST_F(ConfigTest, AnEmptyFileIsTheDefaults) {
  EXPECT_EQ(to_yaml(load("")), default_yaml());
  EXPECT_EQ(to_yaml(load("run:\n")), default_yaml()) << "a section without keys";
}

TEST_F(ConfigTest, ReadsWhatItIsTold) {
  const auto config = load(
      "run: {folder: runs/x, seed: 7}\n"
      "adapter: {taps: [1, 3], dropout: 0.25}\n"
      "data:\n  folder: here\n  synthetic: {enabled: true, train: 5}\n"
      "prompts: ['One?', 'Two?']\n"
      "metadata: {thresholds: {pitch_low_hz: 99.5}}\n");
  EXPECT_EQ(config.training.folder, "runs/x");
  EXPECT_EQ(config.training.seed, 7u);
  EXPECT_EQ(config.training.adapter.taps, (std::vector<std::int64_t>{1, 3}));
  EXPECT_DOUBLE_EQ(config.training.adapter.dropout, 0.25);
  EXPECT_EQ(config.training.dataset, "here/dataset/train");
  EXPECT_EQ(config.training.validation, "here/dataset/validation");
  EXPECT_TRUE(config.data.synthetic.enabled);
  EXPECT_EQ(config.data.synthetic.train, 5);
  EXPECT_EQ(config.data.prompts, (std::vector<std::string>{"One?", "Two?"}));
  EXPECT_DOUBLE_EQ(config.data.metadata.thresholds.pitch_low_hz, 99.5);
}

TEST_F(ConfigTest, AMisspeltKeyNamesFileLineAndTheNearestKey) {
  EXPECT_EQ(error("run: {seed: 1}\noptimizer:\n  beta1: 0.5\n  learning_rat: 1\n"),
            at(4) + "unknown key 'optimizer.learning_rat'; did you mean 'optimizer.learning_rate'?");
  EXPECT_EQ(error("\noptimiser: {beta1: 0.5}\n"),
            at(2) + "unknown key 'optimiser'; did you mean 'optimizer'?");
}

// Every key that there is, with its last letter doubled.
TEST_F(ConfigTest, EveryKeyIsSuggestedForItsMisspelling) {
  const auto keys = all_keys();
  ASSERT_GT(keys.size(), 50u);
  for (const auto& [key, value] : keys) {
    const std::string wrong = key + key.back();
    std::string text = "run: {seed: 1}\n";
    int line = 2;
    std::string indent;
    std::string rest = wrong;
    for (auto dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
      if (rest.substr(0, dot) == "run") {
        text.clear();
        line = 1;
      }
      text += indent + rest.substr(0, dot) + ":\n";
      indent += "  ";
      rest = rest.substr(dot + 1);
      ++line;
    }
    text += indent + rest + ": " + value + "\n";
    const auto expected =
        fmt::format("unknown key '{}'; did you mean '{}'?", wrong, key);
    EXPECT_EQ(error(text), at(line) + expected);
    EXPECT_EQ(error("", {wrong + "=" + value}), file_.string() + " (--set): " + expected);
  }
}

TEST_F(ConfigTest, AWrongTypeNamesFileLineAndKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"optimizer:\n  learning_rate: fast", "'optimizer.learning_rate' is not a number"},
      {"training:\n  epochs: 2.5", "'training.epochs' is not a whole number"},
      {"training:\n  epochs: many", "'training.epochs' is not a whole number"},
      {"training:\n  epochs: 99999999999999999999", "'training.epochs' is not a whole number"},
      {"run:\n  seed: -1", "'run.seed' is not a whole number of 0 or more"},
      {"run:\n  trace: perhaps", "'run.trace' is not true or false"},
      {"run:\n  folder: [a, b]", "'run.folder' is not a text"},
      {"adapter:\n  taps: 3", "'adapter.taps' is not a list"},
      {"adapter:\n  taps: [one]", "'adapter.taps' is not a list"},
      {"adapter:\n  taps: {a: 1}", "'adapter.taps' is not a list"},
      {"data:\n  synthetic: yes", "'data.synthetic' must be a section of keys"},
      {"data:\n  synthetic: [1]", "'data.synthetic' must be a section of keys"},
      {"optimizer:\n  learning_rate: .nan", "'optimizer.learning_rate' must be a finite number"},
      {"optimizer:\n  learning_rate: .inf", "'optimizer.learning_rate' must be a finite number"}};
  for (const auto& [text, message] : cases) {
    EXPECT_EQ(error(text), at(2) + message);
  }
}

TEST_F(ConfigTest, AWrongOverrideIsNotBlamedOnALineOfTheFile) {
  const std::string file = "run: {seed: 1}\noptimizer: {beta1: 0.5}\n";
  EXPECT_EQ(error(file, {"optimizer.learning_rate=fast"}),
            file_.string() + " (--set): 'optimizer.learning_rate' is not a number");
  EXPECT_EQ(error(file, {"optimizer.beta1=.nan"}),
            file_.string() + " (--set): 'optimizer.beta1' must be a finite number");
}

// Numbers that would divide by zero, wait for ever or learn nothing.
TEST_F(ConfigTest, AnImpossibleNumberNamesItsKeyAndRange) {
  for (const std::string wrong :
       {"batch.micro_size=0", "batch.global_size=-8", "batch.max_text_tokens=0",
        "pipeline.stages=0", "pipeline.chunks=0", "data.features_gib=-1", "data_parallel.replicas=0", "generation.batch_size=0",
        "generation.max_new_tokens=0", "generation.temperature=-1", "generation.top_p=0",
        "generation.top_p=1.5", "generation.top_k=-1",
        "generation.repetition_penalty=0", "generation.cache_mib=0", "adapter.queries=0", "adapter.layers=0", "adapter.ffn=0",
        "adapter.dropout=1", "adapter.dropout=-0.1", "training.epochs=0", "training.steps=-1",
        "training.validate_every=-1", "optimizer.learning_rate=-1", "optimizer.learning_rate=1e38", "optimizer.beta1=1",
        "optimizer.beta2=1", "optimizer.eps=0", "optimizer.warmup_steps=-1",
        "optimizer.clip_norm=-1", "optimizer.weight_decay=-1", "checkpoint.every=-1",
        "checkpoint.keep=-1", "data.rows_per_shard=0", "data.synthetic.train=-1",
        "evaluation.max_new_tokens=0", "evaluation.retention_rows=-1", "runtime.threads=0",
        "runtime.timeout_seconds=0", "filters.min_words=-1", "filters.max_words=-1", "filters.repetition=0.5",
        "filters.language=english", "filters.mentions=-1", "batch.cut=words"}) {
    const std::string key = wrong.substr(0, wrong.find('='));
    const std::string message = error("", {wrong});
    EXPECT_NE(message.find("(--set): '" + key + "' must be "), std::string::npos)
        << wrong << ": " << message;
  }
  EXPECT_EQ(error("\nbatch:\n  micro_size: 0\n").find(at(3) + "'batch.micro_size' must be"), 0u);
}

TEST_F(ConfigTest, OverridesReachEveryDepthAndTheLastOneWins) {
  const auto config = load("optimizer: {learning_rate: 1}\n",
                           {"optimizer.learning_rate=2", "metadata.thresholds.speed_slow=1.5",
                            "adapter.taps=[0, 2]", "prompts=['A?', 'B = C?']", "run.folder=x=y",
                            "optimizer.learning_rate=3", "data.synthetic={enabled: true, train: 9}"});
  EXPECT_DOUBLE_EQ(config.training.optimizer.learning_rate, 3);
  EXPECT_DOUBLE_EQ(config.data.metadata.thresholds.speed_slow, 1.5);
  EXPECT_EQ(config.training.adapter.taps, (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(config.data.prompts, (std::vector<std::string>{"A?", "B = C?"}));
  EXPECT_EQ(config.training.folder, "x=y");
  EXPECT_EQ(config.data.synthetic.train, 9);
}

TEST_F(ConfigTest, NothingBehindAKeyIsAnEmptyTextButNoNumber) {
  const std::string file = "data:\n  train_manifest: m.jsonl\n";
  EXPECT_EQ(load(file, {"data.train_manifest="}).data.train_manifest, "");
  EXPECT_EQ(load("data:\n  train_manifest:\n").data.train_manifest, "");
  EXPECT_EQ(load("data:\n  train_manifest: ~\n").data.train_manifest, "");
  EXPECT_EQ(error("training:\n  epochs:\n"), at(2) + "'training.epochs' is not a whole number");
  EXPECT_EQ(error("optimizer:\n  beta1:\n"), at(2) + "'optimizer.beta1' is not a number");
}

TEST_F(ConfigTest, ABadOverrideIsNamed) {
  for (const std::string wrong : {"optimizer.learning_rate", "=3", "", "run.seed.deeper=1",
                                  "run.folder=[unclosed"}) {
    const std::string message = error("run: {seed: 1}\n", {wrong});
    EXPECT_NE(message.find("--set '" + wrong + "'"), std::string::npos) << wrong << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << "one line";
  }
  for (const std::string wrong : {"run..seed=1", ".=1", "run.=1"}) {
    EXPECT_NE(error("", {wrong}), "") << wrong;
  }
}

TEST_F(ConfigTest, AFileThatIsNotAMapOfSectionsIsAnError) {
  EXPECT_EQ(error("- a\n- b\n"), at(1) + "the file must be a map of sections");
  EXPECT_EQ(error("just words"), at(1) + "the file must be a map of sections");
  EXPECT_EQ(error("run: {seed: 1}\nadapter: {taps: [1\n").find(file_.string() + ":"), 0u);
  EXPECT_NE(error("run: {seed: 1}\nadapter: {taps: [1\n").find("not valid YAML"), std::string::npos);
}

TEST_F(ConfigTest, AKeyThatStandsTwiceIsAnError) {
  EXPECT_EQ(error("run: {seed: 1}\nbatch: {micro_size: 1}\nrun: {seed: 2}\n"),
            at(3) + "'run' stands twice");
  EXPECT_EQ(error("run:\n  seed: 1\n  seed: 2\n"), at(3) + "'run.seed' stands twice");
}

TEST_F(ConfigTest, AKeyThatIsNotANameIsAnError) {
  EXPECT_EQ(error("\n? [a, b]\n: 1\n").find(at(2)), 0u) << error("\n? [a, b]\n: 1\n");
}

TEST_F(ConfigTest, AMissingFileIsNamed) {
  for (const fs::path& path : {folder_ / "absent.yaml", folder_}) {
    try {
      (void)load_config(path, {});
      FAIL() << path;
    } catch (const runtime::ConfigError& wrong) {
      EXPECT_NE(std::string(wrong.what()).find(path.string()), std::string::npos) << wrong.what();
    }
  }
}

TEST_F(ConfigTest, TheResolvedConfigurationReadsBackToTheSame) {
  JobConfig config;
  config.training.folder = "a folder: with \"quotes\" # and\tmore";
  config.training.seed = 18446744073709551615ULL;
  config.training.adapter.taps = {0, 3, 5};
  config.training.optimizer.learning_rate = 0.1 + 0.2;  // needs 17 digits
  config.training.optimizer.eps = 1e-300;
  config.training.trace = true;
  config.data.prompts = {"Yes", "no", "12", "a, b", "- x", "", "{}", "What's \"it\"?", "Grüße\n"};
  config.data.attributes = {};
  config.data.folder = "true";
  config.evaluation.manifests = {"m 1.jsonl", "null"};
  std::ofstream(file_) << to_yaml(config);
  const auto again = load_config(file_, {});
  EXPECT_EQ(to_yaml(again), to_yaml(config));
  EXPECT_EQ(again.training.folder, config.training.folder);
  EXPECT_EQ(again.training.seed, config.training.seed);
  EXPECT_EQ(again.training.optimizer.learning_rate, config.training.optimizer.learning_rate);
  EXPECT_EQ(again.training.optimizer.eps, config.training.optimizer.eps);
  EXPECT_EQ(again.data.prompts, config.data.prompts);
  EXPECT_EQ(again.data.attributes, config.data.attributes);
  EXPECT_EQ(again.data.folder, config.data.folder);
  EXPECT_EQ(again.evaluation.manifests, config.evaluation.manifests);
}

class ShippedConfig : public ::testing::TestWithParam<std::string> {};

TEST_P(ShippedConfig, LoadsAndReadsBackToTheSame) {
  const fs::path path = fs::path(DESTA_SOURCE_DIR) / "configs" / (GetParam() + ".yaml");
  if (!fs::exists(path)) {
    GTEST_SKIP() << path << " is not there";
  }
  const auto config = load_config(path, {});
  const auto folder = tests::fresh_folder("shipped");
  std::ofstream(folder / "resolved.yaml") << to_yaml(config);
  EXPECT_EQ(to_yaml(load_config(folder / "resolved.yaml", {})), to_yaml(config));
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, ::testing::Values("quickstart", "llama3-8b"),
                         [](const auto& info) { return info.index == 0 ? "Quickstart" : "Llama3"; });

}  // namespace
}  // namespace desta::launch
