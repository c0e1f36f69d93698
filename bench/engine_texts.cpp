// What the generation engine writes to the seeds of a dataset, as tokens: one side of llama_texts.sh.
//
//   bench_engine_texts LLM_FOLDER DATASET COUNT NEW_TOKENS
//
// Takes the first COUNT different seed transcripts of the dataset, each with its row's prompt in the LLM's chat
// layout as desta-datagen asks them, and answers them greedily in float32: 32 side by side, prompts in pieces of at
// most 64 positions a step, beginnings shared, and pages for about half of what 32 such answers need, so that
// requests give theirs back and are read again. One JSON line a seed on standard output:
//   {"prompt":[1787,1789,...],"answer":[1059,...],"end":1791}
// An answer of fewer than NEW_TOKENS tokens was ended by the token `end`. Counts of the engine go to standard error.
#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/instruction_corpus.h"
#include "datagen/text_generator.h"
#include "launch/program.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace {

using namespace desta;
using Tokens = std::vector<models::TokenId>;

std::vector<Tokens> prompts_of(const std::string& folder, std::size_t count, const models::ChatFormat& format) {
  const auto dataset = datagen::Dataset::open(folder);
  std::set<std::string> seen;
  std::vector<Tokens> prompts;
  for (std::size_t i = 0; i < dataset.size() && prompts.size() < count; ++i) {
    const datagen::Row row = dataset.row(i);
    if (seen.insert(row.seed_transcript).second) {
      prompts.push_back(models::text_prompt(format, datagen::generator_prompt(row.seed_transcript, row.prompt)));
    }
  }
  if (prompts.size() < count) {
    throw runtime::DataError("{}: {} different seed transcripts, {} are asked for", folder, prompts.size(), count);
  }
  return prompts;
}

void write_texts(const std::string& llm, const std::string& dataset, std::size_t count, std::int64_t new_tokens) {
  const auto config = models::LlamaConfig::load(llm);
  models::ModelFolder source(llm, at::kFloat);
  const models::Llama llama(config, models::LlamaPart::whole(config), source);
  const models::Tokenizer tokenizer(llm);
  const models::ChatFormat format(tokenizer);
  const auto prompts = prompts_of(dataset, count, format);

  std::int64_t positions = 0;
  for (const auto& prompt : prompts) {
    positions += static_cast<std::int64_t>(prompt.size()) + new_tokens;
  }
  constexpr std::int64_t kRunning = 32;
  const auto pages = std::max(models::pages_for(config.max_position_embeddings),
                              kRunning * models::pages_for(positions / std::ssize(prompts)) / 2);
  datagen::GenerationEngine engine(
      llama, tokenizer, format.end_of_turn(),
      {.most_running = kRunning, .cache_bytes = pages * llama.page_bytes(), .prompt_rows = 64});
  for (const auto& prompt : prompts) {
    engine.add({.tokens = prompt}, {.max_new_tokens = new_tokens});
  }
  std::map<datagen::RequestId, datagen::Answer> answers;
  for (bool more = true; more;) {
    more = engine.step();
    for (auto& answer : engine.take_finished()) {
      answers[answer.id] = std::move(answer);
    }
  }
  for (const auto& [id, answer] : answers) {
    const nlohmann::ordered_json line = {{"prompt", prompts[static_cast<std::size_t>(id)]},
                                         {"answer", answer.tokens},
                                         {"end", format.end_of_turn()}};
    fmt::print("{}\n", line.dump());
  }
  const auto& counts = engine.counts();
  fmt::print(stderr, "{} requests, {} steps, {} of {} prompt positions shared, {} times put back\n", answers.size(),
             counts.steps, counts.shared_positions, counts.prompt_positions, counts.put_back);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: bench_engine_texts LLM_FOLDER DATASET COUNT NEW_TOKENS\n");
    return runtime::kExitBadInput;
  }
  models::keep_freed_memory();
  runtime::init_logging(0);
  return launch::report_errors([&] {
    write_texts(argv[1], argv[2], std::stoul(argv[3]), std::stol(argv[4]));
    return runtime::kExitOk;
  });
}
