#include "datagen/generation_engine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <map>

#include "datagen/generation.h"
#include "models/llama.h"
#include "models/safetensors.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using models::Llama;
using models::TokenId;
using Tokens = std::vector<TokenId>;

std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(DESTA_SOURCE_DIR) / "tests/models/fixtures" / name;
}

struct Model {
  explicit Model(const std::string& name, at::ScalarType precision = at::kFloat)
      : source(fixture(name), precision),
        config(models::LlamaConfig::load(fixture(name))),
        llama(config, models::LlamaPart::whole(config), source) {}

  models::ModelFolder source;
  models::LlamaConfig config;
  Llama llama;
};

const models::Tokenizer& tokenizer() {
  static const models::Tokenizer shared(fixture("tokenizer-stand-in"));
  return shared;
}

constexpr TokenId kNever = -1;  // no token ends a turn

Tokens prompt(std::uint64_t seed, std::size_t length) {
  runtime::Random random(1000 + seed);
  Tokens tokens;
  for (std::size_t i = 0; i < length; ++i) {
    tokens.push_back(static_cast<TokenId>(random.below(320)));
  }
  return tokens;
}

GenerationRequest ask(Tokens tokens, std::uint64_t seed = 0) {
  return {.seed = seed, .tokens = std::move(tokens)};
}

// Requests of mixed length, some of which begin alike.
std::vector<GenerationRequest> mixed_requests() {
  std::vector<GenerationRequest> requests;
  for (std::size_t i = 0; i < 14; ++i) {
    Tokens tokens = prompt(i % 5, 3 + 17 * (i % 4) + i);
    if (i % 3 == 0) {
      const Tokens shared = prompt(77, 37);
      tokens.insert(tokens.begin(), shared.begin(), shared.end());
    }
    requests.push_back(ask(std::move(tokens), i));
  }
  return requests;
}

AnswerOptions greedy(std::int64_t tokens) { return {.max_new_tokens = tokens}; }
AnswerOptions sampled(std::int64_t tokens) {
  return {.sampling = {.temperature = 0.9, .top_p = 0.9, .top_k = 50, .repetition_penalty = 1.1},
          .max_new_tokens = tokens};
}

EngineOptions with_pages(const Llama& llama, std::int64_t pages, EngineOptions options = {}) {
  options.cache_bytes = pages * llama.page_bytes() + llama.page_bytes() - 1;
  return options;
}

std::map<RequestId, Answer> run(GenerationEngine& engine) {
  std::map<RequestId, Answer> answers;
  for (bool more = true; more;) {
    more = engine.step();
    for (auto& answer : engine.take_finished()) {
      const auto id = answer.id;
      EXPECT_TRUE(answers.emplace(id, std::move(answer)).second) << "finished twice";
    }
  }
  return answers;
}

std::vector<Tokens> answers_to(const std::vector<GenerationRequest>& requests, const Llama& llama,
                               const AnswerOptions& how, const EngineOptions& options,
                               EngineCounts* counts = nullptr) {
  GenerationEngine engine(llama, tokenizer(), kNever, options);
  for (const auto& request : requests) {
    engine.add(request, how);
  }
  std::vector<Tokens> tokens;
  for (auto& [id, answer] : run(engine)) {
    EXPECT_EQ(answer.error, "");
    tokens.push_back(answer.tokens);
  }
  EXPECT_LE(engine.counts().most_pages, engine.pages());
  EXPECT_LE(engine.pages() * llama.page_bytes(), options.cache_bytes);
  if (counts != nullptr) {
    *counts = engine.counts();
  }
  return tokens;
}

// Tokens of an answer that a plain loop would not have taken behind those before them: one sequence at a time, with the
// products of training. These round otherwise than the engine's, on each processor in a way of their own, so where the
// two largest logits differ by no more than that, either is the likeliest.
std::int64_t strange_tokens(const Llama& llama, const GenerationRequest& request, const Tokens& answer,
                            const AnswerOptions& how) {
  constexpr double kRounding = 5e-5;  // of the largest logit; llama_rows_test allows half of it
  const at::NoGradGuard no_grad;
  runtime::Random random(request.seed);
  Tokens all = request.tokens;
  all.insert(all.end(), answer.begin(), answer.end());
  const at::Tensor hidden = llama.run_layers(llama.embed(at::tensor(all, at::kLong).unsqueeze(0)));
  const at::Tensor logits = llama.logits(hidden)[0];
  std::int64_t strange = 0;
  for (std::size_t i = 0; i < answer.size(); ++i) {
    const auto place = request.tokens.size() + i;
    const at::Tensor row = logits[static_cast<std::int64_t>(place) - 1].clone();
    const double short_of_best = (row.max() - row[answer[i]]).item<double>();
    const bool as_good = how.sampling.temperature == 0 && short_of_best <= kRounding * row.abs().max().item<double>();
    const std::span<float> numbers(row.data_ptr<float>(), static_cast<std::size_t>(row.numel()));
    const Tokens before(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(place));
    const auto taken = models::sample(numbers, how.sampling, random, before);
    strange += taken == answer[i] || as_good ? 0 : 1;
  }
  return strange;
}

class TextOfModel : public testing::TestWithParam<std::string> {};

TEST_P(TextOfModel, IsThatOfAPlainLoopInFloat32) {
  const Model model(GetParam());
  const auto requests = mixed_requests();
  for (const auto& how : {greedy(24), sampled(24)}) {
    const auto answers = answers_to(requests, model.llama, how, {.most_running = 5, .prompt_rows = 40});
    ASSERT_EQ(answers.size(), requests.size());
    std::int64_t strange = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(answers[i].size(), 24u) << "request " << i;
      strange += strange_tokens(model.llama, requests[i], answers[i], how);
    }
    // Of 336 draws one may hit the edge between two tokens.
    EXPECT_LE(strange, how.sampling.temperature > 0 ? 1 : 0);
  }
}

// In a crowd, in short pieces, with beginnings in common and few pages.
TEST(GenerationEngine, IsAPlainLoopForAThousandSeeds) {
  const Model model("llama-untied");
  std::vector<GenerationRequest> requests;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Tokens tokens = prompt(seed, 3 + seed % 29);
    if (seed % 4 != 0) {  // four questions about one recording begin alike
      const Tokens shared = prompt(10000 + seed / 4, 21);
      tokens.insert(tokens.begin(), shared.begin(), shared.end());
    }
    requests.push_back(ask(std::move(tokens), seed));
  }
  EngineCounts counts;
  const auto answers =
      answers_to(requests, model.llama, greedy(10),
                 with_pages(model.llama, 30, {.most_running = 12, .prompt_rows = 24}), &counts);
  EXPECT_GT(counts.shared_positions, 0);
  ASSERT_EQ(answers.size(), requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    ASSERT_EQ(answers[i].size(), 10u) << "seed " << i;
    ASSERT_EQ(strange_tokens(model.llama, requests[i], answers[i], greedy(10)), 0) << "seed " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TextOfModel, testing::Values("llama-tied", "llama-untied", "llama-scaled"),
                         [](const auto& info) { return info.param.substr(6); });

class Engine : public testing::TestWithParam<at::ScalarType> {
 protected:
  Engine() : model_("llama-untied", GetParam()), llama_(model_.llama) {}
  Model model_;
  const Llama& llama_;
};

TEST_P(Engine, ATextIsTheSameAloneAndInACrowd) {
  const auto requests = mixed_requests();
  for (const auto& how : {greedy(20), sampled(20)}) {
    const auto crowd = answers_to(requests, llama_, how, {});
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(answers_to({requests[i]}, llama_, how, {}).front(), crowd[i]) << "request " << i;
    }
  }
}

TEST_P(Engine, RequestsJoinAndLeaveBetweenSteps) {
  const auto requests = mixed_requests();
  const auto together = answers_to(requests, llama_, sampled(12), {});
  GenerationEngine engine(llama_, tokenizer(), kNever, {.most_running = 4, .prompt_rows = 16});
  std::map<RequestId, Tokens> answers;
  for (std::size_t i = 0; i < requests.size() || engine.step();) {
    if (i < requests.size()) {
      EXPECT_EQ(engine.add(requests[i], sampled(12)), static_cast<RequestId>(i));
      ++i;
      for (int step = 0; step < 3; ++step) {
        engine.step();
      }
    }
    for (auto& answer : engine.take_finished()) {
      answers[answer.id] = answer.tokens;
    }
  }
  ASSERT_EQ(answers.size(), requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(answers[static_cast<RequestId>(i)], together[i]) << "request " << i;
  }
}

TEST_P(Engine, PagesPiecesSharingAndPuttingBackChangeNothing) {
  const auto requests = mixed_requests();
  const auto expected = answers_to(requests, llama_, sampled(40), {.share_beginnings = false});
  for (const std::int64_t prompt_rows : {1, 7, 64}) {
    for (const bool share : {false, true}) {
      // 9 pages hold the longest request and little besides.
      for (const std::int64_t pages : {9, 14, 200}) {
        EngineCounts counts;
        const auto options =
            with_pages(llama_, pages, {.prompt_rows = prompt_rows, .share_beginnings = share});
        EXPECT_EQ(answers_to(requests, llama_, sampled(40), options, &counts), expected)
            << prompt_rows << " rows, " << pages << " pages, sharing " << share;
        EXPECT_EQ(counts.put_back > 0, pages < 200) << pages;
        EXPECT_EQ(counts.shared_positions > 0, share);
      }
    }
  }
}

TEST_P(Engine, OneSeedUnderFourPromptsIsComputedOnce) {
  std::vector<GenerationRequest> requests;
  const Tokens seed = prompt(50, 90);  // five pages and a part of the sixth
  for (TokenId question = 0; question < 4; ++question) {
    Tokens tokens = seed;
    tokens.push_back(question);
    const Tokens rest = prompt(60, 12);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    requests.push_back(ask(tokens));
  }
  EngineCounts counts;
  const auto shared = answers_to(requests, llama_, greedy(10), {.prompt_rows = 32}, &counts);
  EXPECT_EQ(counts.prompt_positions, 4 * 103);
  EXPECT_EQ(counts.shared_positions, 3 * 90);
  EXPECT_EQ(counts.computed_positions, 4 * 103 - 3 * 90 + 4 * 9);
  EXPECT_EQ(shared, answers_to(requests, llama_, greedy(10), {.share_beginnings = false}));
}

TEST_P(Engine, EmbeddedPromptsAreAsTheirTokens) {
  const auto requests = mixed_requests();
  std::vector<GenerationRequest> embedded;
  for (const auto& request : requests) {
    embedded.push_back({.embeddings = llama_.embed(at::tensor(request.tokens, at::kLong)), .seed = request.seed});
  }
  AnswerOptions how = sampled(10);
  how.sampling.repetition_penalty = 1.0;  // an embedded prompt has no tokens to penalise
  EngineCounts counts;
  EXPECT_EQ(answers_to(embedded, llama_, how, {}, &counts), answers_to(requests, llama_, how, {}));
  EXPECT_GT(counts.shared_positions, 0) << "embedded beginnings are shared as well";
}

// Logits that are no numbers are one request's own misfortune.
TEST_P(Engine, NamesARequestWhoseLogitsAreNotNumbersAndGoesOn) {
  auto requests = mixed_requests();
  const auto expected = answers_to(requests, llama_, greedy(10), {});
  at::Tensor broken = llama_.embed(at::tensor(prompt(1, 20), at::kLong)).clone();
  broken[11][0] = std::numeric_limits<float>::quiet_NaN();
  requests.insert(requests.begin() + 3, {.embeddings = broken});
  GenerationEngine engine(llama_, tokenizer(), kNever, with_pages(llama_, 14));
  for (const auto& request : requests) {
    engine.add(request, greedy(10));
  }
  auto answers = run(engine);
  EXPECT_EQ(answers.at(3).error,
            "request 3: the model's logits are not numbers (NaN) after a prompt of 20 positions and 0 tokens of "
            "the answer; are its embeddings and the model's weights finite?");
  answers.erase(3);
  std::vector<Tokens> others;
  for (const auto& [id, answer] : answers) {
    EXPECT_EQ(answer.error, "");
    others.push_back(answer.tokens);
  }
  EXPECT_EQ(others, expected);
}

INSTANTIATE_TEST_SUITE_P(Precisions, Engine, testing::Values(at::kFloat, at::kBFloat16), [](const auto& info) {
  return info.param == at::kFloat ? "float32" : "bfloat16";
});

std::string refusal(const std::function<void()>& function) {
  try {
    function();
  } catch (const runtime::DataError& error) {
    return error.what();
  }
  return "";
}

TEST(GenerationEngine, RefusesWhatCannotBeAnswered) {
  const Model model("llama-untied");
  GenerationEngine engine(model.llama, tokenizer(), kNever, with_pages(model.llama, 4));
  EXPECT_EQ(refusal([&] { engine.add(ask({}), greedy(5)); }), "request 0: its prompt is empty");
  EXPECT_EQ(refusal([&] { engine.add(ask(prompt(1, 256)), greedy(5)); }),
            "request 0: a prompt of 256 positions leaves no room for an answer (the model has 256); shorten the "
            "prompt");
  // Two layers of two KV heads of 8 in float32: 4096 bytes of keys and values for 16 positions.
  EXPECT_EQ(refusal([&] { engine.add(ask(prompt(1, 60)), greedy(6)); }),
            "request 0: 60 positions of prompt and 6 of answer may need 20480 bytes of keys and values, 20479 are "
            "allowed; raise generation.cache_mib, or ask for less");
  // What just fits is answered, and others meanwhile.
  engine.add(ask(prompt(1, 60)), greedy(5));
  engine.add(ask(prompt(2, 30)), greedy(30));
  const auto answers = run(engine);
  EXPECT_EQ(answers.at(0).tokens.size(), 5U);
  EXPECT_EQ(answers.at(1).tokens.size(), 30U);
  EXPECT_THROW(GenerationEngine(model.llama, tokenizer(), kNever, {.cache_bytes = 100}), runtime::ConfigError);
}

TEST(GenerationEngine, EndsWhereTheModelsPositionsEnd) {
  const Model model("llama-untied");
  EXPECT_EQ(answers_to({ask(prompt(1, 250))}, model.llama, greedy(20), {}).front().size(), 6U);
}

TEST(GenerationEngine, EndsAtTheEndOfTurnAndBeforeStopStrings) {
  const Model model("llama-untied");
  const auto request = ask(prompt(4, 20), 4);
  const auto whole = answers_to({request}, model.llama, sampled(30), {}).front();
  const std::string text = tokenizer().decode(whole);
  const auto once = [&](TokenId end, std::vector<std::string> stop) {
    GenerationEngine engine(model.llama, tokenizer(), end, {});
    auto how = sampled(30);
    how.stop = std::move(stop);
    engine.add(request, how);
    return run(engine).at(0);
  };
  EXPECT_EQ(once(kNever, {}).text, text);
  const auto place = std::ranges::find(whole, whole[9]) - whole.begin();
  EXPECT_EQ(once(whole[9], {}).tokens, Tokens(whole.begin(), whole.begin() + place));
  const std::string words = text.substr(text.size() / 2, 4);
  EXPECT_EQ(once(kNever, {"not in it", words}).text, text.substr(0, text.find(words)));
  EXPECT_LT(once(kNever, {words}).tokens.size(), whole.size());
  // The earliest counts, not the first in the list.
  const std::string early = text.substr(2, 3);
  EXPECT_EQ(once(kNever, {words, early}).text, text.substr(0, text.find(early)));
}

// A model may have more tokens than its tokenizer: that spoils the text of the request that meets one.
TEST(GenerationEngine, NamesARequestWhoseTokensTheTokenizerLacks) {
  const Model model(DESTA_SOURCE_DIR "/models/stand-ins/llm");       // 1792 tokens
  const models::Tokenizer other(fixture("tokenizer-llama3"));  // 963
  GenerationEngine engine(model.llama, other, kNever, {});
  engine.add(ask(prompt(1, 20)), {.sampling = {.temperature = 50}, .max_new_tokens = 60});
  const auto answer = run(engine).at(0);
  EXPECT_EQ(answer.tokens.size(), 60U);
  EXPECT_TRUE(answer.error.starts_with("request 0: ")) << answer.error;
  EXPECT_TRUE(answer.error.ends_with("is not in the vocabulary")) << answer.error;
}

TEST(Generate, AnswersInOrderAndReportsTheFirstError) {
  const Model model("llama-untied");
  auto requests = mixed_requests();
  std::size_t last = 0;
  const auto texts = generate(model.llama, tokenizer(), kNever, requests, {.max_new_tokens = 8, .batch_size = 3},
                              [&](std::size_t done) { EXPECT_EQ(done, ++last); });
  EXPECT_EQ(last, requests.size());
  const auto tokens = answers_to(requests, model.llama, greedy(8), {});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(texts[i], tokenizer().decode(tokens[i]));
  }
  requests[2] = {.embeddings = at::full({4, 64}, std::numeric_limits<float>::quiet_NaN())};
  EXPECT_THROW((void)generate(model.llama, tokenizer(), kNever, requests, {.max_new_tokens = 8}),
               runtime::ModelError);
}

TEST(DecodingOptions, TellTheirSettingsApartAndKeepTheKeysOfEarlierRows) {
  EXPECT_EQ((DecodingOptions{.max_new_tokens = 5, .temperature = 0.5, .top_p = 0.9}.describe()),
            "max_new_tokens=5 temperature=0.5 top_p=0.9");
  EXPECT_EQ((DecodingOptions{.top_k = 4, .repetition_penalty = 1.5, .stop = {"a b", "c"}}.describe()),
            "max_new_tokens=200 temperature=0 top_p=1 top_k=4 repetition_penalty=1.5 stop=[\"a b\", \"c\"]");
}

}  // namespace
}  // namespace desta::datagen
