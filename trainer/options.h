// What a training job is told. Defaults are DeSTA2's published recipe where it has one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "datagen/generation.h"
#include "datagen/row_selection.h"
#include "trainer/gradient_wire.h"
#include "trainer/layer_costs.h"
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
  std::int64_t stages = 1;        // ranks of one pipeline
  std::int64_t chunks = 1;        // runs of layers a rank
  std::string schedule = "1f1b";  // "gpipe", "interleaved", or the path of a .csv file
  std::string costs = "measured";  // what layers cost, for the cut: at the start of the first run; "counted":
                                   // operations; or the path of a .json file (layer_costs.h)
  std::vector<std::string> cut = {};  // units with which the stages behind the first begin (partition.h's
                                      // CutRules); empty: by costs
  bool fill = true;               // waiting is filled with coming microbatches' encoder (executor.h)
  bool recompute = false;         // passes from the adapter on keep their inputs alone, and are made again for
                                  // the backward pass
  double memory_gib = 0;          // that the models may take of a rank's memory; 0: no limit
  std::optional<LayerCosts> measured = std::nullopt;  // what `costs` came to; not a setting

  // Contiguous runs of layers into which the models are cut.
  [[nodiscard]] std::int64_t parts() const { return stages * chunks; }
};

struct BatchOptions {
  std::int64_t global_size = 16;     // samples a step, whatever the number of ranks
  std::int64_t micro_size = 4;       // samples a microbatch
  std::string cut = "tokens";        // which rows of a step a microbatch has: those that make all of them about as
                                     // long; "rows": one after the other
  std::int64_t max_text_tokens = 200;  // prompt and response together; longer responses are cut
  bool share_prefix = true;          // the prompts' beginning goes through the frozen LLM once, not in each row
};

struct CheckpointOptions {
  std::int64_t every = 500;     // steps; 0: only at the end
  std::int64_t keep = 3;        // the newest ones; 0: all
  std::int64_t keep_every = 0;  // those of steps that this divides stay for good; 0: none
};

// Low-rank updates beside the LLM's attention projections (Hu et al. 2021): W x + alpha/rank B A x.
struct LoraOptions {
  std::int64_t rank = 8;    // Hu et al.'s setting for GPT-3
  double alpha = 16;        // twice the rank, as peft's examples have it
  std::vector<std::string> targets = {"q", "k", "v"};  // projections
};

// What learns.
struct TrainOptions {
  std::string what = "adapter";       // alone; "lora": and low-rank updates of the LLM; "encoder": and
                                      // Whisper's topmost layers that are read
  LoraOptions lora;
  std::int64_t encoder_layers = 1;    // how many of them
  std::string start_from = "";        // a checkpoint folder whose parameters to start from; a run's
                                      // folder: its newest checkpoint
};

// Texts for the training, written by the LLM in the gaps of its steps.
struct ColocatedOptions {
  datagen::DecodingOptions decoding;
  std::int64_t groups = 4;  // of decoding.batch_size requests, under way at once
};

struct TrainingOptions {
  std::string folder = "runs/default";
  std::uint64_t seed = 1;
  ModelOptions models;
  AdapterOptions adapter;
  TrainOptions train;
  std::string dataset = "data/dataset";        // HDF5 shards to learn from
  std::string validation = "";                 // HDF5 shards for the loss on held-out rows
  std::optional<datagen::RowSelection> selection = std::nullopt;  // which of their rows; none: all
  PipelineOptions pipeline;
  std::optional<ColocatedOptions> colocated = std::nullopt;  // none: the ranks write no texts
  std::int64_t writing_ranks = 0;  // of the job, behind those that train
  std::int64_t replicas = 1;
  ReductionOptions reduction;
  BatchOptions batch;
  std::int64_t epochs = 10;
  std::int64_t steps = 0;  // 0: as many as the epochs have
  OptimizerOptions optimizer;
  CheckpointOptions checkpoint;
  std::int64_t validate_every = 500;  // steps; 0: never
  bool trace = false;
  std::string features = "";                   // what keeps what Whisper's frozen layers made: a folder, or
                                               // "memory", the host's; "": nothing does
  double features_gib = 0;                     // of it at most; 0: no limit, and half of the free memory

  // Ranks that train.
  [[nodiscard]] std::int64_t training_ranks() const { return pipeline.stages * replicas; }
  // Microbatches of a step on one replica.
  [[nodiscard]] std::int64_t own_microbatches() const {
    return batch.global_size / batch.micro_size / replicas;
  }
};

}  // namespace desta::trainer
