// The one YAML file of a job: its settings, read strictly. Unknown keys are errors that suggest the
// nearest known one; every message names file, line and key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datagen/generation.h"
#include "datagen/metadata.h"
#include "datagen/row_filter.h"
#include "trainer/options.h"

namespace desta::launch {

struct SyntheticOptions {
  bool enabled = false;            // make speech with espeak-ng and flite instead of reading manifests
  std::int64_t train = 1600;       // clips of training voices
  std::int64_t validation = 120;   // clips of training voices, for the loss during training
  std::int64_t held_out = 200;     // clips of voices never trained on
  std::int64_t flite = 60;         // clips of flite's voices: another synthesiser altogether
  std::int64_t robustness = 0;     // clips of each set that differs from training in one way
  std::vector<std::string> train_accents;  // of the training clips; empty: all
};

struct DataOptions {
  std::string folder = "data/default";
  std::uint64_t seed = 0;           // of the speech and the responses; 0: run.seed
  std::string select = "all";       // which rows of the dataset to learn from; "matching": those that
                                    // this configuration would make
  std::string train_manifest;       // empty: synthetic
  std::string validation_manifest;  // empty: synthetic, or none
  SyntheticOptions synthetic;
  std::vector<std::string> attributes = {"gender",         "age",         "accent", "pitch", "volume",
                                         "speaking_speed", "noise_level", "duration"};
  bool show_source = false;
  datagen::MetadataOptions metadata;
  std::vector<std::string> prompts = {"What can you hear from the audio?"};
  std::string recipe;               // a recipe's file, in the place of prompts (launch/recipe_file.h)
  datagen::FilterOptions filters;   // which responses become no rows
  datagen::DecodingOptions decoding{.temperature = 0.7, .top_p = 0.9};
  std::int64_t rows_per_shard = 1000;
};

// Where the training rows' responses are written.
struct PlacementOptions {
  std::string where = "before";   // before: by desta-datagen; colocated: by the training ranks, in the gaps of
                                  // their steps; dedicated: by ranks of their own; workers: by those that join
  std::int64_t ranks = 0;         // dedicated ones, behind the training's
  std::int64_t groups = 4;        // colocated: batches of generation.batch_size under way at once
  std::int64_t start_rows = 64;   // that must be there before the first step
  std::int64_t ahead_rows = 1024; // that may wait for their step or be on their way; then writing waits

  // Whether desta-train writes them itself.
  [[nodiscard]] bool streams() const { return where != "before"; }
};

struct EvaluationOptions {
  std::vector<std::string> manifests;  // empty: the synthetic held-out sets
  std::vector<std::string> extra_manifests;  // besides those
  std::vector<std::string> tasks = {"gender",      "pitch",    "speaking_speed", "volume",
                                    "noise_level", "duration", "words"};
  std::int64_t max_new_tokens = 64;
  std::int64_t retention_rows = 20;  // dataset rows answered again, to see that they are the same
  std::int64_t text_questions = 0;   // questions on held-out seed transcripts, for the LLM without sound
};

// What happens when the scheduler wants the machine back.
struct PreemptionOptions {
  std::string signal = "USR1";       // asks to stop, as SIGTERM always does
  bool requeue = true;               // call scontrol, where there is one
  std::int64_t margin_seconds = 120; // stop that long before a time limit that the scheduler has told
};

struct RuntimeOptions {
  std::string backend = "auto";           // auto, local, mpi, nccl
  std::string all_reduce = "auto";        // in host memory: see runtime::CommunicatorOptions::algorithm
  std::int64_t timeout_seconds = 600;     // how long one exchange may wait for a peer
  std::int64_t threads = 1;               // LibTorch threads a rank
  std::string bind = "auto";              // ranks to cores, where the launcher has not; or none
  std::string status;                     // address of the status page; empty: none
  std::string join;                       // address at which workers may join; empty: none may
  std::string join_token;                 // the secret's file; empty: <run.folder>/join.token
  std::string trace;                      // folder for the trace of actors' calls; empty: none
  std::int64_t hang_after_seconds = 1800;  // a call that waits longer is looked into
};

struct JobConfig {
  trainer::TrainingOptions training;
  DataOptions data;
  PlacementOptions placement;
  EvaluationOptions evaluation;
  PreemptionOptions preemption;
  RuntimeOptions runtime;

  [[nodiscard]] std::uint64_t data_seed() const {
    return data.seed == 0 ? training.seed : data.seed;
  }
  // Where data generation puts things and training finds them.
  [[nodiscard]] std::filesystem::path speech_folder(const std::string& name) const;
  [[nodiscard]] std::filesystem::path dataset_folder(const std::string& name) const;
  // What was measured on the recordings of a set, for the next time.
  [[nodiscard]] std::filesystem::path measured_file(const std::string& name) const;
};

// Reads `path` and applies `overrides` ("key.path=value", the value in YAML), in order.
// Throws ConfigError naming file, line and key.
[[nodiscard]] JobConfig load_config(const std::filesystem::path& path,
                                    const std::vector<std::string>& overrides);

// The whole configuration as YAML that load_config reads back to the same.
[[nodiscard]] std::string to_yaml(const JobConfig& config);

}  // namespace desta::launch
