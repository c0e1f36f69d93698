#include "trainer/feature_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "runtime/collectives/local_communicator.h"
#include "support/tiny_job.h"
#include "trainer/replica_engine.h"
#include "shared_job.h"

namespace desta::trainer {
namespace {
namespace fs = std::filesystem;

// Of a job of one rank.
Links alone() {
  return {runtime::make_local_communicator(), runtime::make_local_communicator(), {0}};
}

class FeatureCacheTest : public ::testing::Test {
 protected:
  FeatureCacheTest() : folder_(tests::fresh_folder("features")) {
    std::ofstream(folder_ / "one.wav") << "sound";
    std::ofstream(folder_ / "two.wav") << "another sound";
  }
  ~FeatureCacheTest() override { fs::remove_all(folder_); }

  // Asks for a recording's features, and counts.
  std::vector<at::Tensor> get(const FeatureCache& cache, const std::string& name) {
    return cache.get(folder_ / name, [&] {
      ++computed_;
      const auto value = static_cast<double>(name.size() + static_cast<std::size_t>(computed_));
      return std::vector<at::Tensor>{at::full({1, 3, 2}, value, at::kBFloat16),
                                     at::full({1, 3, 2}, -value, at::kBFloat16)};
    });
  }
  [[nodiscard]] std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "cache")) {
      if (entry.is_regular_file()) {
        found.push_back(entry.path());
      }
    }
    return found;
  }

  fs::path folder_;
  int computed_ = 0;
};

TEST_F(FeatureCacheTest, EachRecordingIsComputedOnceWhoeverAsks) {
  const FeatureCache cache(folder_ / "cache", "whisper layers 4");
  const auto first = get(cache, "one.wav");
  const FeatureCache other(folder_ / "cache", "whisper layers 4");
  const auto second = get(other, "one.wav");
  EXPECT_EQ(computed_, 1);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_TRUE(at::equal(first[0], second[0]));
  EXPECT_TRUE(at::equal(first[1], second[1]));
  EXPECT_EQ(other.found(), 1u);
  EXPECT_EQ(cache.computed(), 1u);
}

TEST_F(FeatureCacheTest, TheSoundAndTheSetupDecideNotTheName) {
  const FeatureCache cache(folder_ / "cache", "whisper layers 4");
  (void)get(cache, "one.wav");
  (void)get(cache, "two.wav");
  EXPECT_EQ(computed_, 2);
  fs::copy(folder_ / "one.wav", folder_ / "copy.wav");
  (void)get(cache, "copy.wav");
  EXPECT_EQ(computed_, 2) << "the same sound";
  (void)get(FeatureCache(folder_ / "cache", "whisper layers 3"), "one.wav");
  EXPECT_EQ(computed_, 3) << "other layers";
}

TEST_F(FeatureCacheTest, ADamagedFileIsMadeAgain) {
  const auto good = get(FeatureCache(folder_ / "cache", "w"), "one.wav");
  ASSERT_EQ(files().size(), 1u);
  const fs::path file = files().front();
  const auto size = fs::file_size(file);
  for (const auto& damage : std::vector<std::function<void()>>{
           [&] { fs::resize_file(file, size / 2); }, [&] { fs::resize_file(file, 0); },
           [&] {
             std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
             stream.seekp(static_cast<std::streamoff>(size) - 3);
             stream.put('\x7f');
           }}) {
    damage();
    computed_ = 0;
    const auto again = get(FeatureCache(folder_ / "cache", "w"), "one.wav");
    EXPECT_EQ(computed_, 1);
    EXPECT_TRUE(at::equal(again[0], good[0]));
  }
}

TEST_F(FeatureCacheTest, WhereNothingCanBeWrittenFeaturesAreStillComputed) {
  std::ofstream(folder_ / "cache") << "a file in the way";
  const FeatureCache cache(folder_ / "cache", "w");
  EXPECT_EQ(get(cache, "one.wav").size(), 2u);
  EXPECT_EQ(get(cache, "two.wav").size(), 2u);
  EXPECT_EQ(computed_, 2);
}

// What the adapter learns does not depend on whether the features were there.
TEST_F(FeatureCacheTest, AColdAndAWarmFolderGiveTheSameGradientToTheBit) {
  TrainingOptions options = shared_job();
  options.features = (folder_ / "cache").string();
  options.folder = (folder_ / "run").string();
  std::vector<at::Tensor> gradients;
  for (int i = 0; i < 2; ++i) {
    Links links = alone();
    ReplicaEngine engine(options, {0, 0}, links);
    (void)engine.accumulate_gradient(0);
    gradients.push_back(engine.trial()->parameters().gradients().clone());
    EXPECT_EQ(files().size(), 8u) << "one for each row of the step";
  }
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
  options.features.clear();
  Links links = alone();
  ReplicaEngine engine(options, {0, 0}, links);
  (void)engine.accumulate_gradient(0);
  const auto plain = engine.trial()->parameters().gradients();
  EXPECT_LT(((gradients[0] - plain).norm() / plain.norm()).item<double>(), 1e-5);
}

}  // namespace
}  // namespace desta::trainer
