#include "models/paged_kv_cache.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "model_fixtures.h"
#include "models/llama.h"

namespace desta::models {
namespace {

using Tokens = std::vector<std::int64_t>;

struct Case {
  std::string model;
  at::ScalarType precision;
};

class PagedSteps : public testing::TestWithParam<Case> {
 protected:
  PagedSteps()
      : source_(fixture(GetParam().model), GetParam().precision),
        config_(LlamaConfig::load(fixture(GetParam().model))),
        llama_(config_, LlamaPart::whole(config_), source_) {}

  static Tokens tokens(std::int64_t seed, std::int64_t count) {
    Tokens made;
    for (std::int64_t i = 0; i < count; ++i) {
      made.push_back((seed * 37 + i * i * 11 + i * 5) % 320);
    }
    return made;
  }

  // Logits behind each of the pieces, which are fed in steps of their own.
  [[nodiscard]] Tensor in_pieces(const Tokens& all, const std::vector<std::int64_t>& pieces,
                                 const std::vector<PageId>& numbers) const {
    const auto pages = llama_.make_pages(16);
    SequenceRows rows{.pages = numbers, .wants_logits = true};
    Tensor logits;
    for (const auto piece : pieces) {
      rows.count = piece;
      const Tensor input = at::tensor(all, at::kLong).narrow(0, rows.first, piece);
      logits = llama_.step(llama_.embed(input), {.sequences = {rows}}, *pages);
      rows.first += piece;
    }
    return logits[0];
  }

  // Without pages.
  [[nodiscard]] Tensor reference(const Tokens& all) const {
    const at::NoGradGuard no_grad;
    const Tensor hidden = llama_.run_layers(llama_.embed(at::tensor(all, at::kLong).unsqueeze(0)));
    return llama_.logits(hidden)[0].select(0, hidden.size(1) - 1).to(at::kFloat);
  }

  ModelFolder source_;
  LlamaConfig config_;
  Llama llama_;
};

TEST_P(PagedSteps, EqualTheFullForward) {
  // Another order of summation in float32; in bfloat16 some thirty roundings of 2^-9 that add like noise.
  const double tolerance = GetParam().precision == at::kBFloat16 ? 0.05 : 2e-5;
  for (const std::int64_t length : {1, 15, 16, 17, 60}) {
    const Tokens all = tokens(length, length);
    const Tensor expected = reference(all);
    const Tensor error = in_pieces(all, {length}, {3, 0, 7, 2}) - expected;
    EXPECT_LT(error.norm().item<double>(), tolerance * expected.norm().item<double>()) << length;
  }
}

TEST_P(PagedSteps, NeitherPiecesNorPageNumbersShow) {
  const Tokens all = tokens(5, 60);
  const Tensor whole = in_pieces(all, {60}, {0, 1, 2, 3});
  EXPECT_TRUE(same_bits(in_pieces(all, {60}, {9, 2, 15, 4}), whole));
  EXPECT_TRUE(same_bits(in_pieces(all, {16, 16, 16, 12}, {0, 1, 2, 3}), whole));
  EXPECT_TRUE(same_bits(in_pieces(all, {7, 30, 1, 22}, {0, 1, 2, 3}), whole));
  EXPECT_TRUE(same_bits(in_pieces(all, std::vector<std::int64_t>(60, 1), {3, 2, 1, 0}), whole));
}

TEST_P(PagedSteps, NeighboursDoNotShow) {
  const std::vector<Tokens> all = {tokens(1, 33), tokens(2, 1), tokens(3, 48), tokens(4, 20)};
  std::vector<Tensor> alone;
  for (const auto& sequence : all) {
    alone.push_back(in_pieces(sequence, {static_cast<std::int64_t>(sequence.size())}, {0, 1, 2}));
  }
  const auto pages = llama_.make_pages(12);
  StepPlan plan;
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto first = static_cast<PageId>(3 * i);
    plan.sequences.push_back({{first, first + 1, first + 2}, 0, static_cast<std::int64_t>(all[i].size()), i != 2});
    inputs.push_back(at::tensor(all[i], at::kLong));
  }
  const Tensor logits = llama_.step(llama_.embed(at::cat(inputs)), plan, *pages);
  ASSERT_EQ(logits.size(0), 3) << "the third wants none";
  EXPECT_TRUE(same_bits(logits[0], alone[0]));
  EXPECT_TRUE(same_bits(logits[1], alone[1]));
  EXPECT_TRUE(same_bits(logits[2], alone[3]));
}

TEST_P(PagedSteps, ACopiedPageIsTheSame) {
  const Tokens all = tokens(8, 30);
  const Tensor whole = in_pieces(all, {30}, {0, 1});
  const auto pages = llama_.make_pages(4);
  const Tensor input = llama_.embed(at::tensor(all, at::kLong));
  (void)llama_.step(input.narrow(0, 0, 20), {.sequences = {{{0, 1}, 0, 20, false}}}, *pages);
  const Tensor logits =
      llama_.step(input.narrow(0, 20, 10), {.copies = {{1, 3}}, .sequences = {{{0, 3}, 20, 10, true}}}, *pages);
  EXPECT_TRUE(same_bits(logits[0], whole));
}

INSTANTIATE_TEST_SUITE_P(Models, PagedSteps,
                         testing::Values(Case{"llama-tied", at::kFloat}, Case{"llama-untied", at::kFloat},
                                         Case{"llama-scaled", at::kFloat}, Case{"llama-tied", at::kBFloat16},
                                         Case{"llama-untied", at::kBFloat16}),
                         [](const auto& info) {
                           return info.param.model.substr(6) + "_" +
                                  (info.param.precision == at::kFloat ? "float32" : "bfloat16");
                         });

// The way that GPUs go: float64 has no kernel of ours either.
TEST(PagedKvCache, WithoutAKernelComputesTheSame) {
  const auto attended = [](at::ScalarType type) {
    PagedKvCache cache(2, 2, 8, 6, at::TensorOptions(type));
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(3);
    const auto random = [&](at::IntArrayRef sizes) {
      return at::randn(sizes, generator, at::TensorOptions()).to(type);
    };
    StepPlan plan;
    plan.sequences = {{{4, 1}, 0, 20, false}, {{0}, 0, 3, false}};
    cache.write(1, random({1, 2, 23, 8}), random({1, 2, 23, 8}), plan);
    cache.copy({{4, 5}});
    plan.sequences = {{{5, 1}, 20, 2, false}, {{0}, 3, 1, false}};
    cache.write(1, random({1, 2, 3, 8}), random({1, 2, 3, 8}), plan);
    return cache.attend(1, random({1, 6, 3, 8}), plan);
  };
  EXPECT_LT(largest_difference(attended(at::kFloat), attended(at::kDouble)), 1e-5);
}

}  // namespace
}  // namespace desta::models
