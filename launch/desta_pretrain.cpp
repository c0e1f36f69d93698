// desta-pretrain: trains the stand-in models from scratch.
#include <CLI/CLI.hpp>

#include <ATen/Parallel.h>

#include "desta_version.h"
#include "launch/number_checks.h"
#include "launch/report_errors.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "trainer/pretraining.h"

int main(int argc, char** argv) {
  CLI::App app{
      "desta-pretrain: trains a stand-in model from scratch and writes it as a Hugging Face "
      "folder.\nInterrupt it at any time; the same command goes on from its last saved state."};
  app.set_version_flag("--version", DESTA_VERSION);
  std::string model;
  desta::trainer::PretrainOptions options;
  options.steps = 10000;
  app.add_option("model", model, "llm: a Llama-layout instruct model; speech: a Whisper")
      ->required()
      ->check(CLI::IsMember({"llm", "speech"}));
  app.add_option("--output", options.output, "folder of the finished model")->required();
  app.add_option("--work", options.work, "folder of the saved state")->required();
  app.add_option("--seed", options.seed, "seed of everything drawn")->capture_default_str();
  const auto add_positive = [&app](const std::string& name, auto& value, const std::string& what) {
    app.add_option(name, value, what)->capture_default_str()->check(desta::launch::more_than_zero);
  };
  add_positive("--steps", options.steps, "updates in all");
  add_positive("--batch-size", options.batch_size, "dialogues or clips a step");
  add_positive("--learning-rate", options.optimizer.learning_rate, "behind the warm-up");
  add_positive("--save-every", options.save_every, "steps");
  app.add_option("--evaluate-every", options.evaluate_every, "steps, and at the end; 0: never")
      ->capture_default_str()
      ->check(desta::launch::zero_or_more);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? desta::runtime::kExitOk : desta::runtime::kExitBadInput;
  }
  at::set_num_threads(1);
  desta::models::keep_freed_memory();
  desta::runtime::init_logging(0);
  return desta::launch::report_errors([&] {
    model == "llm" ? desta::trainer::pretrain_language_model(options)
                   : desta::trainer::pretrain_speech_model(options);
    return desta::runtime::kExitOk;
  });
}
