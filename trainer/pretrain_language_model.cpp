#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "datagen/generation.h"
#include "datagen/instruction_corpus.h"
#include "datagen/seed_transcript.h"
#include "models/chat_format.h"
#include "models/llama.h"
#include "models/split_pattern.h"
#include "models/tokenizer_trainer.h"
#include "models/torch_util.h"
#include "runtime/core/random.h"
#include "trainer/pretraining.h"
#include "trainer/text_ability.h"

namespace desta::trainer {
namespace fs = std::filesystem;
using datagen::Split;
using models::TensorMap;
using models::TokenId;
using runtime::Random;

namespace {

// Batches are cut from a pool of dialogues sorted by length, so that little is padding.
constexpr std::int64_t kPoolSteps = 8;
// Share of the steps that go to simple scenes first.
constexpr double kSimpleShare = 0.25;
// Initial weights: about 1 / sqrt(hidden size).
constexpr double kWeightDeviation = 0.05;
// In the last third of training, context embeddings are jittered in half of the rows, by up to this
// share of their size, so that the model reads vectors that are near words as well as words (cf.
// NEFTune, Jain et al. 2023).
constexpr double kLargestNoise = 0.4;
// Input embeddings start far apart. With the usual 0.02, words of one class ("found", "broke") drew
// together in the first steps, and after 1,700 of them the model could not tell which it had read.
constexpr double kEmbeddingDeviation = 0.3;

models::LlamaConfig stand_in_config(std::int64_t vocab_size) {
  models::LlamaConfig config;
  config.vocab_size = vocab_size;
  config.hidden_size = 256;
  config.intermediate_size = 704;
  config.num_layers = 5;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 64;
  config.rope_theta = 10000.0;
  config.tie_word_embeddings = true;
  config.max_position_embeddings = 1024;
  return config;
}

// Copying a sentence takes a circuit of two heads (Olsson et al. 2022) that training left to itself had
// not found after 1,500 steps. So the weights start near it:
//   - one head of the first two layers looks one position back: a few embedding channels are equal for
//     all tokens, query and key read only them, and the rotary embedding turns them so that they agree
//     one position apart;
//   - values and outputs are each other's transpose, so that what a head finds it passes on, and behind
//     those two layers queries equal keys, so that like finds like (mimetic initialisation, Trockman
//     and Kolter 2023).
void seed_copying_circuit(TensorMap& tensors, const models::LlamaConfig& config) {
  constexpr std::int64_t kChannels = 8;      // constant embedding channels
  constexpr float kConstant = 0.5F;
  constexpr std::int64_t kFrequencies = 10;  // the fastest turning pairs, which tell neighbours apart
  constexpr double kGain = 0.43;             // makes the score one position off lower by about 4
  tensors.at("model.embed_tokens.weight").narrow(1, 0, kChannels).fill_(kConstant);
  const at::Tensor frequencies = models::rotary_inverse_frequencies(config);
  const auto dim = config.head_dim;
  const auto group = config.num_heads / config.num_kv_heads;
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.self_attn.", layer);
    at::Tensor query = tensors.at(prefix + "q_proj.weight");
    at::Tensor key = tensors.at(prefix + "k_proj.weight");
    const at::Tensor value = tensors.at(prefix + "v_proj.weight");
    at::Tensor output = tensors.at(prefix + "o_proj.weight");
    for (std::int64_t head = 0; head < config.num_heads; ++head) {
      const auto shared = head / group * dim;
      output.narrow(1, head * dim, dim).copy_(value.narrow(0, shared, dim).t());
      if (layer >= 2) {
        query.narrow(0, head * dim, dim).copy_(key.narrow(0, shared, dim));
      }
    }
    if (layer < 2) {
      query.narrow(0, 0, dim).zero_();
      key.narrow(0, 0, dim).zero_();
      for (std::int64_t f = 0; f < kFrequencies; ++f) {
        const auto angle = frequencies[f].item<double>();
        key[f].narrow(0, 0, kChannels).fill_(kGain);
        query[f].narrow(0, 0, kChannels).fill_(kGain * std::cos(angle));
        query[f + dim / 2].narrow(0, 0, kChannels).fill_(-kGain * std::sin(angle));
      }
    }
  }
}

void make_tokenizer(const PretrainOptions& options) {
  std::vector<std::string> texts;
  Random random(options.seed);
  for (int i = 0; i < 20000; ++i) {
    for (const auto& turn : datagen::draw_dialogue(random, Split::kTrain)) {
      texts.push_back(turn.content);
    }
  }
  texts.emplace_back("\n\n audio user assistant system");
  models::train_tokenizer(
      texts,
      {models::kLlama3Pattern,
       1792,
       {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|eot_id|>"}},
      options.output);
}

struct Example {
  std::vector<TokenId> tokens;
  std::vector<bool> learn;  // the token is part of an answer
};

class Batches {
 public:
  Batches(const PretrainOptions& options, const models::Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer), format_(tokenizer) {}

  const std::vector<Example>& at(std::int64_t step) {
    const std::int64_t pool = step / kPoolSteps;
    if (pool != pool_) {
      fill(pool);
    }
    return batches_[static_cast<std::size_t>(step % kPoolSteps)];
  }

 private:
  [[nodiscard]] Example encode(const std::vector<datagen::Turn>& turns) const {
    Example example;
    example.tokens.push_back(format_.begin());
    for (const auto& turn : turns) {
      format_.append_header(turn.role, example.tokens);
      example.learn.resize(example.tokens.size(), false);
      const auto words = tokenizer_.encode_plain(turn.content);
      example.tokens.insert(example.tokens.end(), words.begin(), words.end());
      example.tokens.push_back(format_.end_of_turn());
      example.learn.resize(example.tokens.size(), turn.role == "assistant");
    }
    return example;
  }

  void fill(std::int64_t pool) {
    Random random(runtime::mix_seed(options_.seed, static_cast<std::uint64_t>(pool) + 1));
    std::vector<Example> examples;
    for (std::int64_t i = 0; i < kPoolSteps * options_.batch_size; ++i) {
      const bool simple =
          static_cast<double>(pool * kPoolSteps) < kSimpleShare * static_cast<double>(options_.steps);
      examples.push_back(encode(datagen::draw_dialogue(
          random, Split::kTrain,
          simple ? datagen::Difficulty::kSimple : datagen::Difficulty::kFull)));
    }
    std::stable_sort(examples.begin(), examples.end(), [](const Example& a, const Example& b) {
      return a.tokens.size() < b.tokens.size();
    });
    batches_.clear();
    for (std::int64_t i = 0; i < kPoolSteps; ++i) {
      const auto first = examples.begin() + i * options_.batch_size;
      batches_.emplace_back(first, first + options_.batch_size);
    }
    random.shuffle(batches_);
    pool_ = pool;
  }

  const PretrainOptions& options_;
  const models::Tokenizer& tokenizer_;
  models::ChatFormat format_;
  std::int64_t pool_ = -1;
  std::vector<std::vector<Example>> batches_;
};

at::Tensor batch_loss(const models::Llama& llama, const std::vector<Example>& batch,
                      bool with_noise, std::uint64_t seed) {
  std::size_t longest = 0;
  for (const auto& example : batch) {
    longest = std::max(longest, example.tokens.size());
  }
  const auto rows = static_cast<std::int64_t>(batch.size());
  const auto time = static_cast<std::int64_t>(longest);
  at::Tensor tokens = at::zeros({rows, time}, at::kLong);
  std::vector<std::int64_t> where;    // flat positions whose next token is learned
  std::vector<std::int64_t> targets;
  for (std::int64_t r = 0; r < rows; ++r) {
    const Example& example = batch[static_cast<std::size_t>(r)];
    for (std::size_t t = 0; t < example.tokens.size(); ++t) {
      tokens[r][static_cast<std::int64_t>(t)] = example.tokens[t];
      if (t > 0 && example.learn[t]) {
        where.push_back(r * time + static_cast<std::int64_t>(t) - 1);
        targets.push_back(example.tokens[t]);
      }
    }
  }
  at::Tensor hidden = llama.embed(tokens);
  if (with_noise) {
    at::Generator generator = models::make_generator(seed);
    const at::Tensor strength =
        at::clamp_min(at::rand({rows, 1, 1}, generator, at::TensorOptions()) * 2.0 - 1.0, 0.0) *
        kLargestNoise;
    const at::Tensor size = hidden.detach().to(at::kFloat).square().mean().sqrt();
    const at::Tensor noise = at::randn(hidden.sizes(), generator, at::TensorOptions());
    hidden = hidden + (noise * strength * size).to(hidden.scalar_type());
  }
  hidden = llama.run_layers(hidden);
  const at::Tensor picked = hidden.view({rows * time, -1}).index_select(0, at::tensor(where, at::kLong));
  return at::cross_entropy_loss(llama.logits(picked).to(at::kFloat), at::tensor(targets, at::kLong));
}

std::string evaluate(const models::LlamaConfig& config, const models::Tokenizer& tokenizer,
                     const TensorMap& parameters) {
  constexpr int kScenes = 400;
  const at::NoGradGuard no_grad;
  const TensorMap narrow = cast(parameters, at::kBFloat16);
  models::MapSource source(narrow);
  const models::Llama llama(config, models::LlamaPart::whole(config), source);
  const models::ChatFormat format(tokenizer);
  const auto answer = [&](const std::vector<std::string>& turns) {
    std::vector<datagen::GenerationRequest> requests;
    for (const auto& turn : turns) {
      requests.push_back({.tokens = models::text_prompt(format, turn)});
    }
    return datagen::generate(llama, tokenizer, format.end_of_turn(), requests, {.max_new_tokens = 200});
  };
  std::map<std::string, std::pair<int, int>> table;  // kind -> right, asked
  for (const auto& record : ask_text_questions(kScenes, /*seed=*/77, answer)) {
    for (const auto& row : {record.kind, std::string("all")}) {
      table[row].first += record.right ? 1 : 0;
      ++table[row].second;
    }
  }
  std::string line = "right on held-out scenes:";
  for (const auto& [kind, counts] : table) {
    line += fmt::format(" {} {:.1f}% ({}/{})", kind, 100.0 * counts.first / counts.second,
                        counts.first, counts.second);
  }
  return line;
}

}  // namespace

void pretrain_language_model(const PretrainOptions& options) {
  if (!fs::exists(options.output / "tokenizer.json")) {
    make_tokenizer(options);
  }
  const models::Tokenizer tokenizer(options.output);
  const models::LlamaConfig config = stand_in_config(tokenizer.vocab_size());
  Batches batches(options, tokenizer);
  PretrainTask task;
  task.name = "stand-in language model";
  models::RandomSource random(task.initial, options.seed, kWeightDeviation);
  (void)models::Llama(config, models::LlamaPart::whole(config), random);
  task.initial.at("model.embed_tokens.weight").mul_(kEmbeddingDeviation / kWeightDeviation);
  seed_copying_circuit(task.initial, config);
  // Large tied embeddings would make large logits.
  task.initial.at("model.norm.weight").fill_(0.2);
  task.loss = [&](std::int64_t step, const TensorMap& parameters) {
    const TensorMap narrow = cast(parameters, at::kBFloat16);
    models::MapSource source(narrow);
    const models::Llama llama(config, models::LlamaPart::whole(config), source);
    return batch_loss(llama, batches.at(step), 3 * step >= 2 * options.steps,
                      runtime::mix_seed(options.seed, static_cast<std::uint64_t>(step)));
  };
  task.evaluate = [&](const TensorMap& parameters) {
    return evaluate(config, tokenizer, parameters);
  };
  const TensorMap trained = pretrain(task, options);
  config.save(options.output);
  export_weights(trained, options.output);
}

}  // namespace desta::trainer
