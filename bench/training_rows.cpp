// The rows that desta-train learns from with a configuration, in training order: what
// bench/peers/torch_training.py is given, so that it reads the same recordings and the same tokens.
//
//   bench_training_rows CONFIG [--set key=value ...] --steps N > rows.jsonl
//
// One JSON object a line, on standard output:
//   {"step":0,"microbatch":0,"row":17,"audio_filepath":"...","prompt":[1787,1789,...],
//    "speech_at":7,"response":[1059,...,1791]}
// The speech vectors go in behind the first `speech_at` tokens of the prompt; the response has its
// end token.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/measured_manifest.h"
#include "launch/program.h"
#include "models/tokenizer.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "trainer/batch_loader.h"
#include "trainer/training_layout.h"

namespace {

using namespace desta;

struct Request {
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t steps = 0;
};

void print_rows(const Request& request) {
  const launch::JobConfig config = launch::load_config(request.config, request.overrides);
  trainer::TrainingOptions options = config.training;
  trainer::check_layout(options, static_cast<int>(options.pipeline.stages * options.replicas));
  options.selection = launch::row_selection(config);
  const models::Tokenizer tokenizer(options.models.llm);
  const trainer::BatchLoader loader(options.dataset, tokenizer, options.batch,
                                    options.adapter.queries, options.seed, options.selection);
  for (std::int64_t step = 0; step < request.steps; ++step) {
    for (std::int64_t microbatch = 0; microbatch < loader.microbatches(); ++microbatch) {
      for (const auto row : loader.training_rows(step, microbatch)) {
        const trainer::Sample& sample = loader.sample(row);
        const nlohmann::ordered_json line = {{"step", step},
                                             {"microbatch", microbatch},
                                             {"row", row},
                                             {"audio_filepath", sample.audio_filepath},
                                             {"prompt", sample.prompt.tokens},
                                             {"speech_at", sample.prompt.speech_at},
                                             {"response", sample.response}};
        fmt::print("{}\n", line.dump());
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"bench_training_rows: prints the rows of the first training steps."};
  Request request;
  app.add_option("config", request.config, "configuration file (YAML)")->required();
  app.add_option("--set", request.overrides, "key.path=value: overrides one setting; repeatable")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--steps", request.steps, "how many steps")
      ->required()
      ->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? runtime::kExitOk : runtime::kExitBadInput;
  }
  runtime::init_logging(0);
  return launch::report_errors([&] {
    print_rows(request);
    return runtime::kExitOk;
  });
}
