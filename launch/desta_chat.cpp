// desta-chat: asks one question about one recording.
#include <ATen/Parallel.h>
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "datagen/audio_file.h"
#include "desta_version.h"
#include "launch/config.h"
#include "launch/program.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "trainer/checkpoint.h"
#include "trainer/speech_language_model.h"

namespace {

using namespace desta;

struct Request {
  std::string audio;
  std::string question = "What can you hear from the audio?";
  std::string config = "configs/quickstart.yaml";
  std::string adapter;
  std::string system;
  std::vector<std::string> overrides;
  datagen::DecodingOptions decoding{.max_new_tokens = 200};
  bool dry_run = false;
};

void chat(Request request) {
  const launch::JobConfig config = launch::load_config(request.config, request.overrides);
  at::set_num_threads(static_cast<int>(config.runtime.threads));
  if (request.adapter.empty()) {
    request.adapter = trainer::newest_adapter(config.training.folder).string();
  }
  if (request.dry_run) {
    fmt::print("would ask '{}' about {} with adapter {}\n", request.question, request.audio,
               request.adapter);
    return;
  }
  const auto wave = datagen::read_audio(request.audio, /*max_seconds=*/30);
  const trainer::SpeechLanguageModel model(config.training, request.adapter);
  const auto heard = model.hear({wave}).front();
  const auto prompt = model.prompt(heard, request.question, request.system);
  fmt::print("{}\n", model.text().answer_prompts({prompt}, request.decoding).front());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"desta-chat: answers a question about a recording (WAV, FLAC, MP3, Ogg)."};
  app.set_version_flag("--version", DESTA_VERSION);
  Request request;
  app.add_option("question", request.question, "what to ask")->capture_default_str();
  app.add_option("--audio", request.audio, "the recording")->required();
  app.add_option("--config", request.config, "the job's configuration")->capture_default_str();
  app.add_option("--adapter", request.adapter,
                 "an adapter.safetensors (default: the run's newest checkpoint)");
  app.add_option("--system", request.system, "a system turn to put in front");
  app.add_option("--set", request.overrides, "key.path=value: overrides one setting; repeatable")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--temperature", request.decoding.temperature, "0: greedy")->capture_default_str();
  app.add_option("--top-p", request.decoding.top_p)->capture_default_str();
  app.add_option("--max-new-tokens", request.decoding.max_new_tokens)->capture_default_str();
  app.add_flag("--dry-run", request.dry_run, "print the plan and touch nothing");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? runtime::kExitOk : runtime::kExitBadInput;
  }
  models::keep_freed_memory();
  runtime::init_logging(0);
  return launch::report_errors([&] {
    chat(request);
    return runtime::kExitOk;
  });
}
