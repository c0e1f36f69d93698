// What a training job is told. Defaults are DeSTA2's published recipe where it has one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/optimizer.h"

namespace desta::trainer {

struct ModelOptions {
  std::string speech = "models/stand-ins/speech";  // a Whisper's Hugging Face folder
  std::string llm = "models/stand-ins/llm";        // a Llama's Hugging Face folder
  std::string precision = "bfloat16";              // of the frozen models and of activations
  std::string device = "auto";                     // auto, cpu or cuda: see models::choose_device
  int local_rank = 0;                              // of this process on its host; not a setting
};

struct AdapterOptions {
  std::int64_t queries = 64;
  std::int64_t layers = 2;
  std::int64_t ffn = 3072;
  double dropout = 0.1;
  std::vector<std::int64_t> taps = {};  // empty: DeSTA2's for this encoder
};

struct PipelineOptions {
  std::int64_t stages = 1;
  std::string schedule = "1f1b";  // or "gpipe"
};

struct BatchOptions {
  std::int64_t global_size = 16;     // samples a step, whatever the number of ranks
  std::int64_t micro_size = 4;       // samples a microbatch
  std::int64_t max_text_tokens = 200;  // prompt and response together; longer responses are cut
};

struct CheckpointOptions {
  std::int64_t every = 500;  // steps; 0: only at the end
  std::int64_t keep = 3;     // the newest ones; 0: all
};

struct TrainingOptions {
  std::string folder = "runs/default";
  std::uint64_t seed = 1;
  ModelOptions models;
  AdapterOptions adapter;
  std::string dataset = "data/dataset";        // HDF5 shards to learn from
  std::string validation = "";                 // HDF5 shards for the loss on held-out rows
  PipelineOptions pipeline;
  std::int64_t replicas = 1;
  BatchOptions batch;
  std::int64_t epochs = 10;
  std::int64_t steps = 0;  // 0: as many as the epochs have
  OptimizerOptions optimizer;
  CheckpointOptions checkpoint;
  std::int64_t validate_every = 500;  // steps; 0: never
  bool trace = false;
};

}  // namespace desta::trainer
