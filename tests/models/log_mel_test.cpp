#include "models/log_mel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "model_fixtures.h"

namespace desta::models {
namespace {

constexpr std::int64_t kFrames = 100;  // a window of one second

std::span<const float> samples_of(const Tensor& audio) {
  return {audio.data_ptr<float>(), static_cast<std::size_t>(audio.numel())};
}

class LogMelBins : public testing::TestWithParam<int> {
 protected:
  [[nodiscard]] std::string key(const std::string& name) const {
    return name + "-" + std::to_string(GetParam());
  }
  TensorMap numpy_ = load_safetensors(fixture("log-mel") / "expected.safetensors");
  TensorMap transformers_js_ = load_safetensors(fixture("log-mel") / "transformers_js.safetensors");
  LogMel log_mel_{GetParam(), kFrames};
};

TEST_P(LogMelBins, EqualsNumpyAndTransformersJs) {
  // "long" is longer than the window and is cut, "short" is padded.
  for (const std::string name : {"short", "long"}) {
    const Tensor mel = log_mel_(samples_of(numpy_.at(name)));
    // Float32 spectra of energies down to 1e-8 of the loudest.
    EXPECT_LT(largest_difference(mel, numpy_.at(key(name))), 1e-4) << name;
    EXPECT_LT(largest_difference(mel, transformers_js_.at(key(name))), 1e-4) << name;
  }
}

TEST_P(LogMelBins, HearsNothingBehindTheWindow) {
  const Tensor& audio = numpy_.at("long");
  const Tensor window = audio.narrow(0, 0, kFrames * 160).clone();
  EXPECT_TRUE(same_bits(log_mel_(samples_of(audio)), log_mel_(samples_of(window))));
}

TEST_P(LogMelBins, SilenceIsTheFloorEverywhere) {
  // log10 of the floor 1e-10, then (-10 + 4) / 4.
  const Tensor mel = log_mel_({});
  EXPECT_EQ(mel.sizes(), (at::IntArrayRef{GetParam(), kFrames}));
  EXPECT_TRUE(at::equal(mel, at::full({GetParam(), kFrames}, -1.5F)));
}

TEST_P(LogMelBins, SpansEightDecadesAtMost) {
  const Tensor mel = log_mel_(samples_of(numpy_.at("short")));
  EXPECT_NEAR((mel.max() - mel.min()).item<double>(), 2.0, 1e-5);  // 8 / 4; padding is silent
}

TEST_P(LogMelBins, FiltersAreThoseOfNumpy) {
  EXPECT_LT(largest_difference(mel_filters(GetParam(), 400, 16000.0), numpy_.at(key("filters"))),
            1e-7);
}

TEST_P(LogMelBins, FiltersAreTrianglesOfUnitArea) {
  const Tensor filters = mel_filters(GetParam(), 6400, 16000.0);  // bins of 2.5 Hz
  EXPECT_GE(filters.min().item<float>(), 0.0F);
  const Tensor area = filters.sum(1) * 2.5;
  EXPECT_LT(largest_difference(area, at::ones({GetParam()})), 0.01);
  // Peaks move up, and each row rises to its peak and falls behind it.
  const Tensor peaks = filters.argmax(1);
  EXPECT_TRUE((peaks.slice(0, 1) > peaks.slice(0, 0, -1)).all().item<bool>());
  for (std::int64_t row = 0; row < GetParam(); ++row) {
    const Tensor slope = filters[row].diff();
    const auto peak = peaks[row].item<std::int64_t>();
    EXPECT_GE(slope.slice(0, 0, peak).min().item<float>(), 0.0F) << row;
    EXPECT_LE(slope.slice(0, peak).max().item<float>(), 0.0F) << row;
  }
}

TEST_P(LogMelBins, AToneIsLoudestInTheFilterAroundIt) {
  std::vector<float> tone(16000);
  for (std::size_t i = 0; i < tone.size(); ++i) {
    tone[i] = static_cast<float>(
        std::sin(2 * std::numbers::pi * 2000.0 * static_cast<double>(i) / 16000));
  }
  const Tensor filters = mel_filters(GetParam(), 400, 16000.0);
  // Bin 50 of 40 Hz; a Hann window leaves a quarter of the power in each neighbour.
  const Tensor heard =
      filters.select(1, 50) + 0.25 * (filters.select(1, 49) + filters.select(1, 51));
  const auto around = heard.argmax().item<std::int64_t>();
  EXPECT_EQ(log_mel_(tone).select(1, 40).argmax().item<std::int64_t>(), around);
}

INSTANTIATE_TEST_SUITE_P(MelBins, LogMelBins, testing::Values(80, 128),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace desta::models
