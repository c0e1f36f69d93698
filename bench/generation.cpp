// How fast the generation engine writes.
//
//   bench_generation LLM_FOLDER [bfloat16|float32] [THREADS]      in the repository's root
//
// All answers are greedy, and no token ends one. Prompts are drawn from the vocabulary with a seed.
// prefill: one prompt of 512 tokens up to its first answer token; prompt tokens a second.
// one_request: a prompt of 64, 129 tokens; those behind the first, a second, and the bytes of the weights that
//   each token reads (all but the embedding table, where it is not the head), a second.
// 32_requests: prompts of 16, 23, ... 233 and answers of 32, 35, ... 125 tokens, all asked at once; answer tokens a
//   second, prompts and all.
// four_prompts_a_seed: 8 seeds of 160 tokens, each under 4 prompts of 16, answers of 16; shares of the prompts'
//   positions that were not computed again, and the time it took against that without sharing.
// peers/llama_generation.py has llama.cpp do the first three.
#include <ATen/Parallel.h>

#include <cstdint>
#include <string>

#include "bench/figure.h"
#include "datagen/generation_engine.h"
#include "launch/program.h"
#include "models/llama.h"
#include "models/safetensors.h"
#include "models/torch_util.h"
#include "runtime/core/log.h"

namespace {

using namespace desta;
using datagen::EngineOptions;
using datagen::GenerationEngine;
using models::TokenId;

constexpr TokenId kNever = -1;
constexpr std::int64_t kRounds = 3;  // the fastest counts

struct Request {
  std::vector<TokenId> prompt;
  std::int64_t answer = 0;
};

struct Run {
  double first_token = 0;  // seconds until the first step that ended a prompt
  double seconds = 0;
  datagen::EngineCounts counts;
};

class Bench {
 public:
  Bench(const std::string& folder, at::ScalarType precision)
      : config_(models::LlamaConfig::load(folder)),
        source_(folder, precision),
        llama_(config_, models::LlamaPart::whole(config_), source_),
        tokenizer_(folder) {}

  [[nodiscard]] std::vector<TokenId> prompt(std::uint64_t seed, std::int64_t length) const {
    runtime::Random random(seed);
    std::vector<TokenId> tokens;
    for (std::int64_t i = 0; i < length; ++i) {
      tokens.push_back(static_cast<TokenId>(random.below(static_cast<std::uint64_t>(config_.vocab_size))));
    }
    return tokens;
  }

  // Bytes that a token's pass reads.
  [[nodiscard]] double weight_bytes() const {
    const auto numbers = static_cast<double>(config_.num_layers * config_.layer_parameters() +
                                         config_.embedding_parameters());
    return numbers * static_cast<double>(at::elementSize(llama_.embed(at::zeros({1}, at::kLong)).scalar_type()));
  }

  [[nodiscard]] Run fastest(const std::vector<Request>& requests, const EngineOptions& options = {}) const {
    Run best = run(requests, options);
    for (std::int64_t i = 1; i < kRounds; ++i) {
      const Run next = run(requests, options);
      best = next.seconds < best.seconds ? next : best;
    }
    return best;
  }

 private:
  [[nodiscard]] Run run(const std::vector<Request>& requests, const EngineOptions& options) const {
    GenerationEngine engine(llama_, tokenizer_, kNever, options);
    Run run;
    const auto start = bench::Clock::now();
    for (const auto& request : requests) {
      engine.add({.tokens = request.prompt}, {.max_new_tokens = request.answer});
    }
    while (engine.step()) {
      if (run.first_token == 0 && engine.counts().computed_positions >= std::ssize(requests.front().prompt)) {
        run.first_token = bench::seconds_since(start);
      }
    }
    run.seconds = bench::seconds_since(start);
    run.counts = engine.counts();
    return run;
  }

  models::LlamaConfig config_;
  models::ModelFolder source_;
  models::Llama llama_;
  models::Tokenizer tokenizer_;
};

void measure(const std::string& folder, const std::string& precision) {
  const Bench bench(folder, models::parse_precision(precision));
  const auto print = [&](std::string_view what, double value, std::string_view unit) {
    bench::print_figure("desta " + precision, what, value, unit);
  };
  print("prefill", 512 / bench.fastest({{bench.prompt(1, 512), 1}}).seconds, "tokens/s");

  const Run one = bench.fastest({{bench.prompt(2, 64), 129}});
  const double each = (one.seconds - one.first_token) / 128;
  print("one_request", 1 / each, "tokens/s");
  print("one_request_weights", bench.weight_bytes() / each / 1e9, "GB/s");

  std::vector<Request> mixed;
  std::int64_t answers = 0;
  for (std::int64_t i = 0; i < 32; ++i) {
    mixed.push_back({bench.prompt(static_cast<std::uint64_t>(100 + i), 16 + 7 * i), 32 + 3 * (i * 11 % 32)});
    answers += mixed.back().answer;
  }
  print("32_requests", static_cast<double>(answers) / bench.fastest(mixed).seconds, "tokens/s");

  std::vector<Request> seeds;
  for (std::uint64_t i = 0; i < 32; ++i) {
    seeds.push_back({bench.prompt(200 + i / 4, 160), 16});
    const auto question = bench.prompt(300 + i, 16);
    seeds.back().prompt.insert(seeds.back().prompt.end(), question.begin(), question.end());
  }
  const Run shared = bench.fastest(seeds);
  const Run apart = bench.fastest(seeds, {.share_beginnings = false});
  print("four_prompts_a_seed_saved", 100.0 * static_cast<double>(shared.counts.shared_positions) /
                                         static_cast<double>(shared.counts.prompt_positions), "%");
  print("four_prompts_a_seed_time", shared.seconds, "s");
  print("four_prompts_a_seed_time_without_sharing", apart.seconds, "s");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    fmt::print(stderr, "usage: bench_generation LLM_FOLDER [bfloat16|float32] [THREADS]\n");
    return runtime::kExitBadInput;
  }
  models::keep_freed_memory();
  runtime::init_logging(0);
  return launch::report_errors([&] {
    at::set_num_threads(argc > 3 ? std::stoi(argv[3]) : 1);
    measure(argv[1], argc > 2 ? argv[2] : "bfloat16");
    return runtime::kExitOk;
  });
}
