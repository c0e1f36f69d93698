#include "launch/sweep_plan.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "launch/recipe_file.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "trainer/trial_set.h"

namespace desta::launch {
namespace fs = std::filesystem;
using runtime::ConfigError;

namespace {

constexpr std::size_t kLongestSlug = 60;

// Letters, digits and single hyphens: for folders and job names.
std::string slug(const std::string& name) {
  std::string text;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!text.empty() && text.back() != '-') {
      text += '-';
    }
  }
  text.resize(std::min(text.size(), kLongestSlug));
  while (!text.empty() && text.back() == '-') {
    text.pop_back();
  }
  return text.empty() ? "condition" : text;
}

std::string key_of(const std::string& override_text) {
  return override_text.substr(0, override_text.find('='));
}

// Whether one of the keys is the other or a section around it.
bool overlap(const std::string& a, const std::string& b) {
  return a == b || a.starts_with(b + ".") || b.starts_with(a + ".");
}

// The settings of one trial as they grow, and what the base says by itself.
class Overrides {
 public:
  Overrides(const SweepFile& file, YAML::Node base) : file_(file), base_(std::move(base)) {}

  void add(const std::string& key, const std::string& value) {
    texts_.push_back(key + "=" + value);
  }

  [[nodiscard]] bool says(const std::string& key) const {
    const bool given = std::any_of(texts_.begin(), texts_.end(), [&](const std::string& text) {
      return overlap(key_of(text), key);
    });
    return given || base_says(key);
  }

  // Throws ConfigError that names the line of the sweep file where the culprit stands.
  [[nodiscard]] JobConfig load(const std::string& trial,
                               const std::vector<Setting>& settings) const {
    try {
      return load_config(file_.base, texts_);
    } catch (const ConfigError& error) {
      const std::string message = error.what();
      for (const auto& setting : settings) {
        if (setting.line > 0 && message.find("'" + setting.key) != std::string::npos) {
          throw ConfigError("{}:{}: trial '{}': {}", file_.path.string(), setting.line, trial,
                            message);
        }
      }
      throw ConfigError("{}: trial '{}': {}", file_.path.string(), trial, message);
    }
  }

 private:
  [[nodiscard]] bool base_says(const std::string& key) const {
    YAML::Node node = base_;
    std::istringstream path(key);
    for (std::string part; std::getline(path, part, '.');) {
      if (!node.IsMap()) {
        return false;
      }
      const YAML::Node next = static_cast<const YAML::Node&>(node)[part];
      if (!next) {
        return false;
      }
      node.reset(next);
    }
    return true;
  }

  const SweepFile& file_;
  YAML::Node base_;
  std::vector<std::string> texts_;
};

const JobConfig& defaults() {
  static const JobConfig config;
  return config;
}

void flatten(const YAML::Node& node, const std::string& path,
             std::map<std::string, std::string>& into) {
  if (!node.IsMap()) {
    into[path] = flow_yaml(node);
    return;
  }
  for (const auto& entry : node) {
    flatten(entry.second, path.empty() ? entry.first.Scalar() : path + "." + entry.first.Scalar(),
            into);
  }
}

// The settings that are not the defaults, a line each: the same as long as no setting changes, also
// for a later program that knows further keys.
std::string identity(const JobConfig& config) {
  std::map<std::string, std::string> settings;
  std::map<std::string, std::string> usual;
  flatten(YAML::Load(to_yaml(config)), "", settings);
  flatten(YAML::Load(to_yaml(defaults())), "", usual);
  std::string text;
  for (const auto& [key, value] : settings) {
    if (const auto found = usual.find(key); found == usual.end() || found->second != value) {
      text += key + ": " + value + "\n";
    }
  }
  if (!config.data.recipe.empty()) {
    text += "recipe: " + datagen::recipe_fingerprint(recipe_of(config)) + "\n";  // it may change in its file
  }
  return text;
}

// What data generation depends on, and nothing else.
std::string data_key(const JobConfig& config) {
  if (config.data.train_manifest.empty() && !config.data.synthetic.enabled) {
    return "";  // the dataset was made by other means
  }
  JobConfig data;
  data.data = config.data;
  data.data.seed = config.data_seed();
  data.data.select = defaults().data.select;
  data.training.models = config.training.models;
  return runtime::to_hex(runtime::hash64("data\n" + identity(data)));
}

// Synthetic speech lies in data.folder under one manifest: another seed would replace it under the
// trials that were trained on the first.
void check_shared_speech(const SweepFile& file, const std::map<std::string, std::string>& speech,
                         const std::string& folder, const std::string& key) {
  if (const auto found = speech.find(folder); found != speech.end() && found->second != key) {
    throw ConfigError(
        "{}: the trials share data.folder {} but not the speech in it (data.seed, "
        "data.synthetic): set data.seed for all of them, or give each kind of speech "
        "a data.folder of its own ('paired')",
        file.path.string(), folder);
  }
}

std::string speech_key(const JobConfig& config) {
  JobConfig speech;
  speech.data.synthetic = config.data.synthetic;
  speech.data.seed = config.data_seed();
  return identity(speech);
}

// Which trials are trained together: in the order of the file, as many as `together` allows.
class Jobs {
 public:
  explicit Jobs(std::int64_t together) : together_(together) {}
  // The job of a trial whose job_key() this is.
  std::size_t place(const std::string& key, std::size_t index) {
    Open& open = open_[key];
    if (open.trials % together_ == 0) {
      open.first = index;
    }
    ++open.trials;
    return open.first;
  }

 private:
  struct Open {
    std::size_t first = 0;
    std::int64_t trials = 0;
  };
  std::int64_t together_;
  std::map<std::string, Open> open_;
};

Trial make_trial(const SweepFile& file, const Condition& condition, const std::string& seed,
                 const YAML::Node& base, const std::vector<std::string>& overrides,
                 PreemptionOptions& preemption, std::map<std::string, std::string>& speech,
                 std::size_t index, Jobs& jobs) {
  Overrides settings(file, base);
  std::vector<Setting> places = file.set;
  for (const auto& setting : file.set) {
    settings.add(setting.key, setting.value);
  }
  for (const auto& setting : condition.settings) {
    settings.add(setting.key, setting.value);
    places.push_back(setting);
  }
  for (const auto& text : overrides) {
    const auto equals = text.find('=');
    settings.add(text.substr(0, equals),
                 equals == std::string::npos ? "" : text.substr(equals + 1));
  }
  if (!seed.empty()) {
    settings.add("run.seed", seed);
  }
  const std::string label = condition.name + (seed.empty() ? "" : fmt::format(" (seed {})", seed));
  if (!settings.says("data.select")) {
    settings.add("data.select", "matching");
  }
  JobConfig config = settings.load(label, places);
  if (!settings.says("data.features")) {
    config.training.features = (fs::path(config.data.folder) / "features").string();
  }
  preemption = config.preemption;
  config.preemption.requeue = false;  // the sweep asks, once, for all that runs in its job
  config.preemption.signal = "USR1";  // which mpirun passes on
  if (config.data.synthetic.enabled) {
    check_shared_speech(file, speech, config.data.folder, speech_key(config));
    speech[config.data.folder] = speech_key(config);
  }

  Trial trial;
  trial.condition = condition.name;
  trial.seed = config.training.seed;
  trial.settings = condition.settings;
  config.training.folder = defaults().training.folder;
  const std::string text = identity(config) + fmt::format("rounds: {}\n", file.rounds);
  trial.id = fmt::format("{}-seed{}-{}", slug(condition.name), trial.seed,
                         runtime::to_hex(runtime::hash64(text)).substr(0, 6));
  config.training.folder = (file.folder / "trials" / trial.id / "run").string();
  trial.config = to_yaml(config);
  trial.index = index;
  trial.job = jobs.place(trainer::job_key(config.training), index);
  trial.data_key = data_key(config);
  trial.data_folder = config.data.folder;
  trial.steps = config.training.steps;
  trial.train_ranks = config.training.pipeline.stages * config.training.replicas;
  trial.other_ranks = file.ranks > 0 ? file.ranks : trial.train_ranks;
  return trial;
}

void check_overrides(const SweepFile& file, const std::vector<std::string>& overrides) {
  for (const auto& text : overrides) {
    if (text.find('=') == std::string::npos) {
      throw ConfigError("--set '{}': write it as key.path=value", text);
    }
    for (const auto& condition : file.conditions) {
      for (const auto& setting : condition.settings) {
        if (overlap(setting.key, key_of(text))) {
          throw ConfigError("--set '{}': {}:{} varies '{}'", text, file.path.string(), setting.line,
                            setting.key);
        }
      }
    }
    for (const std::string key : {"run.seed", "run.folder"}) {
      if (overlap(key, key_of(text))) {
        throw ConfigError("--set '{}': the sweep file says it, under '{}'", text,
                          key == "run.seed" ? "seeds" : "folder");
      }
    }
  }
}

}  // namespace

std::vector<const Trial*> Plan::job(std::size_t first) const {
  std::vector<const Trial*> members;
  for (const auto& trial : trials) {
    if (trial.job == first) {
      members.push_back(&trial);
    }
  }
  return members;
}

std::vector<const Trial*> Plan::data_jobs() const {
  std::vector<const Trial*> jobs;
  std::set<std::string> seen;
  for (const auto& trial : trials) {
    if (!trial.data_key.empty() && seen.insert(trial.data_key).second) {
      jobs.push_back(&trial);
    }
  }
  return jobs;
}

Plan make_plan(const SweepFile& file, const std::vector<std::string>& overrides) {
  check_overrides(file, overrides);
  if (!fs::is_regular_file(file.base)) {
    throw ConfigError("{}: 'base' names {}, which is not a file", file.path.string(),
                      file.base.string());
  }
  Plan plan;
  plan.name = file.name;
  plan.folder = file.folder;
  plan.sweep_text = file.text;
  plan.baseline = file.baseline;
  plan.rounds = file.rounds;
  plan.launcher = file.launcher;
  (void)load_config(file.base, {});  // its own mistakes are nobody else's
  const YAML::Node base = YAML::LoadFile(file.base.string());
  std::vector<std::string> seeds;
  for (const auto seed : file.seeds) {
    seeds.push_back(std::to_string(seed));
  }
  if (seeds.empty()) {
    seeds.emplace_back();
  }
  std::map<std::string, std::string> speech;  // by data.folder
  std::set<std::string> ids;
  Jobs jobs(file.together);
  for (const auto& condition : file.conditions) {
    plan.conditions.push_back(condition.name);
    for (const auto& seed : seeds) {
      Trial trial = make_trial(file, condition, seed, base, overrides, plan.preemption, speech,
                               plan.trials.size(), jobs);
      if (!ids.insert(trial.id).second) {
        throw ConfigError("{}: condition '{}' is the same as one before it: {}", file.path.string(),
                          condition.name, trial.id);
      }
      if (trial.ranks() > 1 && file.launcher.empty()) {
        throw ConfigError("{}: 'launcher' is empty but trial '{}' has {} ranks", file.path.string(),
                          trial.id, trial.ranks());
      }
      plan.trials.push_back(std::move(trial));
    }
  }
  return plan;
}

fs::path save_plan(const Plan& plan) {
  nlohmann::ordered_json json = {{"name", plan.name},
                                 {"folder", plan.folder.string()},
                                 {"sweep", plan.sweep_text},
                                 {"conditions", plan.conditions},
                                 {"baseline", plan.baseline},
                                 {"rounds", plan.rounds},
                                 {"launcher", plan.launcher},
                                 {"signal", plan.preemption.signal},
                                 {"requeue", plan.preemption.requeue},
                                 {"margin_seconds", plan.preemption.margin_seconds}};
  for (const auto& trial : plan.trials) {
    nlohmann::ordered_json settings = nlohmann::ordered_json::array();
    for (const auto& setting : trial.settings) {
      settings.push_back({setting.key, setting.value});
    }
    json["trials"].push_back({{"id", trial.id},
                              {"condition", trial.condition},
                              {"seed", trial.seed},
                              {"settings", settings},
                              {"data_key", trial.data_key},
                              {"data_folder", trial.data_folder},
                              {"steps", trial.steps},
                              {"job", trial.job},
                              {"train_ranks", trial.train_ranks},
                              {"other_ranks", trial.other_ranks},
                              {"config", trial.config}});
  }
  const std::string text = json.dump(1) + "\n";
  const fs::path path = plan.folder / "plans" / (runtime::to_hex(runtime::hash64(text)) + ".json");
  if (!fs::exists(path)) {
    runtime::write_file_atomically(path, text);
  }
  return path;
}

Plan load_plan(const fs::path& path) {
  const auto json = nlohmann::json::parse(runtime::read_file(path), nullptr, false);
  try {
    Plan plan;
    plan.name = json.at("name");
    plan.folder = json.at("folder").get<std::string>();
    plan.sweep_text = json.at("sweep");
    plan.conditions = json.at("conditions");
    plan.baseline = json.at("baseline");
    plan.rounds = json.at("rounds");
    plan.launcher = json.at("launcher");
    plan.preemption.signal = json.at("signal");
    plan.preemption.requeue = json.at("requeue");
    plan.preemption.margin_seconds = json.at("margin_seconds");
    for (const auto& entry : json.at("trials")) {
      Trial trial;
      trial.index = plan.trials.size();
      trial.id = entry.at("id");
      trial.condition = entry.at("condition");
      trial.seed = entry.at("seed");
      for (const auto& setting : entry.at("settings")) {
        trial.settings.push_back({setting.at(0), setting.at(1)});
      }
      trial.data_key = entry.at("data_key");
      trial.data_folder = entry.at("data_folder");
      trial.steps = entry.at("steps");
      trial.job = entry.at("job");
      trial.train_ranks = entry.at("train_ranks");
      trial.other_ranks = entry.at("other_ranks");
      trial.config = entry.at("config");
      plan.trials.push_back(std::move(trial));
    }
    return plan;
  } catch (const nlohmann::json::exception& error) {
    throw runtime::DataError("{}: not a plan of a sweep: {}; give the sweep file", path.string(),
                             error.what());
  }
}

}  // namespace desta::launch
