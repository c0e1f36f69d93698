#include "models/whisper.h"

#include <gtest/gtest.h>

#include "model_fixtures.h"
#include "models/log_mel.h"

namespace desta::models {
namespace {

const std::vector<std::int64_t> kPrompt = {7, 301, 12, 90};  // as bench/peers gave whisper.cpp
constexpr std::int64_t kNever = -1;                          // an end token that does not come

// Small Whispers of three encoder and two decoder layers, with 80 and 128 mel bins (bench/peers).
class Whisper : public testing::TestWithParam<int> {
 protected:
  Whisper()
      : folder_(fixture("whisper-" + std::to_string(GetParam()))),
        config_(WhisperConfig::load(folder_)),
        source_(folder_),
        encoder_(config_, EncoderPart::whole(config_), source_, /*final_norm=*/true),
        decoder_(config_, source_),
        expected_(load_safetensors(folder_ / "expected.safetensors")) {
    const Tensor& samples = expected_.at("samples");
    mel_ = LogMel(config_.mel_bins, config_.mel_frames())(
               {samples.data_ptr<float>(), static_cast<std::size_t>(samples.numel())})
               .unsqueeze(0);
  }

  std::filesystem::path folder_;
  WhisperConfig config_;
  ModelFolder source_;
  WhisperEncoder encoder_;
  WhisperDecoder decoder_;
  TensorMap expected_;
  Tensor mel_;
  at::NoGradGuard no_grad_;
};

TEST_P(Whisper, EveryEncoderLayerIsThatOfTheReferenceInNumpy) {
  std::vector<Tensor> tapped;
  const Tensor last = encoder_.run_layers(encoder_.convolve(mel_), {0, 1, 2}, tapped);
  ASSERT_EQ(tapped.size(), 3U);
  for (std::int64_t i = 0; i < 3; ++i) {
    const Tensor expected = expected_.at("layers")[i];
    EXPECT_LT(largest_difference(tapped[static_cast<std::size_t>(i)][0], expected),
              1e-5 * largest(expected))
        << "layer " << i;
  }
  EXPECT_LT(largest_difference(encoder_.finish(last)[0], expected_.at("encoded")),
            1e-5 * largest(expected_.at("encoded")));
}

TEST_P(Whisper, DecoderLogitsAreThoseOfTheReferenceInNumpy) {
  const auto cross = decoder_.cross_keys(encoder_.encode(mel_));
  const Tensor logits = decoder_.logits(expected_.at("tokens").unsqueeze(0), cross)[0];
  EXPECT_LT(largest_difference(logits, expected_.at("logits")),
            2e-5 * largest(expected_.at("logits")));
}

TEST_P(Whisper, DecoderLogitsAreThoseOfWhisperCppFromTheSameSamples) {
  const auto cross = decoder_.cross_keys(encoder_.encode(mel_));
  const Tensor logits = decoder_.logits(expected_.at("tokens").unsqueeze(0), cross)[0];
  const auto first = static_cast<std::int64_t>(kPrompt.size()) - 1;
  const Tensor behind_prompt = logits.slice(0, first, logits.size(0));
  // whisper.cpp keeps keys and values in float16, and GELU in a float16 table: eleven bits.
  EXPECT_LT(largest_difference(behind_prompt, expected_.at("peer_logits")),
            2e-3 * largest(expected_.at("peer_logits")));
}

TEST_P(Whisper, TranscribesTheTokensOfWhisperCpp) {
  const Tensor tokens = expected_.at("tokens").slice(0, static_cast<std::int64_t>(kPrompt.size()));
  const auto rows = transcribe(encoder_, decoder_, mel_, kPrompt, kNever, tokens.size(0));
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_TRUE(at::equal(at::tensor(rows[0], at::kLong), tokens));
}

TEST_P(Whisper, StepwiseDecodingEqualsTheFullForward) {
  const auto cross = decoder_.cross_keys(encoder_.encode(mel_));
  const Tensor tokens = expected_.at("tokens").unsqueeze(0);
  const Tensor full = decoder_.logits(tokens, cross)[0];
  KvCache cache = decoder_.make_cache(1);
  std::int64_t done = 0;
  for (const std::int64_t count : {5, 1, 1, 3, 1}) {
    const Tensor logits = decoder_.step(tokens.narrow(1, done, count), cross, cache);
    done += count;
    EXPECT_LT(largest_difference(logits[0], full[done - 1]), 2e-5 * largest(full));
  }
}

TEST_P(Whisper, EndsEachRowAtItsOwnEndToken) {
  const auto alone = transcribe(encoder_, decoder_, mel_, kPrompt, kNever, 20)[0];
  // The token that comes fourth, or wherever it came first, ends the row.
  const auto end = alone[3];
  const auto cut = std::find(alone.begin(), alone.end(), end);
  const Tensor silence = LogMel(config_.mel_bins, config_.mel_frames())({}).unsqueeze(0);
  const auto quiet = transcribe(encoder_, decoder_, silence, kPrompt, end, 20)[0];
  const auto both = transcribe(encoder_, decoder_, at::cat({mel_, silence}), kPrompt, end, 20);
  EXPECT_EQ(both[0], std::vector<std::int64_t>(alone.begin(), cut));
  EXPECT_EQ(both[1], quiet);
}

TEST_P(Whisper, NeverEmitsSuppressedTokens) {
  const auto free = transcribe(encoder_, decoder_, mel_, kPrompt, kNever, 12)[0];
  WhisperConfig config = config_;
  config.suppress_tokens = {free[1]};
  config.begin_suppress_tokens = {free[0]};
  const WhisperEncoder encoder(config, EncoderPart::whole(config), source_, true);
  const auto held = transcribe(encoder, decoder_, mel_, kPrompt, kNever, 12)[0];
  EXPECT_NE(held[0], free[0]);
  EXPECT_EQ(std::count(held.begin(), held.end(), free[1]), 0);
}

TEST_P(Whisper, StopsAtTheLastPosition) {
  const auto rows = transcribe(encoder_, decoder_, mel_, kPrompt, kNever, 1000);
  EXPECT_EQ(rows[0].size(),
            static_cast<std::size_t>(config_.max_target_positions) - kPrompt.size());
}

TEST_P(Whisper, EncoderCutInPartsGivesTheBitsOfTheWhole) {
  std::vector<Tensor> whole;
  (void)encoder_.run_layers(encoder_.convolve(mel_), {0, 2}, whole);
  const WhisperEncoder front(config_, {.first_layer = 0, .end_layer = 1, .front = true}, source_);
  const WhisperEncoder back(config_, {.first_layer = 1, .end_layer = 3}, source_);
  std::vector<Tensor> cut;
  (void)back.run_layers(front.run_layers(front.convolve(mel_), {0, 2}, cut), {0, 2}, cut);
  ASSERT_EQ(cut.size(), 2U);
  EXPECT_TRUE(same_bits(cut[0], whole[0]));
  EXPECT_TRUE(same_bits(cut[1], whole[1]));
}

TEST_P(Whisper, Bfloat16StaysWithinItsRounding) {
  ModelFolder source(folder_, at::kBFloat16);
  const WhisperEncoder encoder(config_, EncoderPart::whole(config_), source, true);
  const Tensor encoded = encoder.encode(mel_)[0];
  EXPECT_EQ(encoded.scalar_type(), at::kBFloat16);
  const Tensor error = encoded.to(at::kFloat) - expected_.at("encoded");
  EXPECT_LT(error.norm().item<double>(), 0.05 * expected_.at("encoded").norm().item<double>());
}

INSTANTIATE_TEST_SUITE_P(MelBins, Whisper, testing::Values(80, 128),
                         testing::PrintToStringParamName());

TEST(WhisperSinusoids, AreThoseOfTheReferenceInNumpy) {
  ModelFolder source(fixture("whisper-80"));
  const Tensor stored = source.get("model.encoder.embed_positions.weight", {100, 32});
  // The file holds them in bfloat16.
  EXPECT_LT(largest_difference(whisper_sinusoids(100, 32), stored), 1.0 / 128);
}

TEST(WhisperConfig, KnowsTheTapsOfThePaper) {
  const auto taps = [](std::int64_t layers) {
    WhisperConfig config;
    config.encoder_layers = layers;
    return config.default_taps();
  };
  using Taps = std::vector<std::int64_t>;
  EXPECT_EQ(taps(4), (Taps{0, 1, 2, 3}));
  EXPECT_EQ(taps(12), (Taps{2, 5, 8, 11}));
  EXPECT_EQ(taps(24), (Taps{5, 11, 17, 23}));
  EXPECT_EQ(taps(32), (Taps{3, 7, 11, 15, 19, 23, 27, 31}));
}

}  // namespace
}  // namespace desta::models
