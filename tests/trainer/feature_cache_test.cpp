#include "trainer/feature_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "runtime/collectives/local_communicator.h"
#include "runtime/core/error.h"
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
  [[nodiscard]] FeatureFolder folder(std::uint64_t most_bytes = 0) const {
    return FeatureFolder::on_disk(folder_ / "cache", most_bytes);
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
  const FeatureCache cache(folder(), "whisper layers 4");
  const auto first = get(cache, "one.wav");
  const FeatureCache other(folder(), "whisper layers 4");
  const auto second = get(other, "one.wav");
  EXPECT_EQ(computed_, 1);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_TRUE(at::equal(first[0], second[0]));
  EXPECT_TRUE(at::equal(first[1], second[1]));
  EXPECT_EQ(other.found(), 1u);
  EXPECT_EQ(cache.computed(), 1u);
}

TEST_F(FeatureCacheTest, TheSoundAndTheSetupDecideNotTheName) {
  const FeatureCache cache(folder(), "whisper layers 4");
  (void)get(cache, "one.wav");
  (void)get(cache, "two.wav");
  EXPECT_EQ(computed_, 2);
  fs::copy(folder_ / "one.wav", folder_ / "copy.wav");
  (void)get(cache, "copy.wav");
  EXPECT_EQ(computed_, 2) << "the same sound";
  (void)get(FeatureCache(folder(), "whisper layers 3"), "one.wav");
  EXPECT_EQ(computed_, 3) << "other layers";
}

TEST_F(FeatureCacheTest, ADamagedFileIsMadeAgain) {
  const auto good = get(FeatureCache(folder(), "w"), "one.wav");
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
    const auto again = get(FeatureCache(folder(), "w"), "one.wav");
    EXPECT_EQ(computed_, 1);
    EXPECT_TRUE(at::equal(again[0], good[0]));
  }
}

TEST_F(FeatureCacheTest, WhereNothingCanBeWrittenFeaturesAreStillComputed) {
  std::ofstream(folder_ / "cache") << "a file in the way";
  const FeatureCache cache(folder(), "w");
  EXPECT_EQ(get(cache, "one.wav").size(), 2u);
  EXPECT_EQ(get(cache, "two.wav").size(), 2u);
  EXPECT_EQ(computed_, 2);
}

TEST_F(FeatureCacheTest, AFolderAtItsLimitKeepsWhatItHas) {
  constexpr std::uint64_t kOne = 1024 + 2 * 12;  // two tensors of six bfloat16
  const FeatureCache cache(folder(kOne), "w");
  (void)get(cache, "one.wav");
  (void)get(cache, "two.wav");
  EXPECT_EQ(computed_, 2);
  const FeatureCache other(folder(kOne), "w");
  (void)get(other, "one.wav");
  EXPECT_EQ(computed_, 2) << "what came first is kept";
  (void)get(other, "two.wav");
  EXPECT_EQ(computed_, 3) << "the limit is that of all processes together";
}

TEST_F(FeatureCacheTest, FeaturesInMemoryGoWithTheLastThatUsesThem) {
  const fs::path memory = folder_ / "memory";
  fs::create_directory(memory);
  const auto folders = [&] {
    return std::count_if(fs::directory_iterator(memory), fs::directory_iterator(),
                         [](const auto& entry) { return entry.is_directory(); });
  };
  {
    const FeatureCache first(FeatureFolder::in_memory("w", 0, memory), "w");
    (void)get(first, "one.wav");
    {
      const FeatureCache second(FeatureFolder::in_memory("w", 0, memory), "w");
      (void)get(second, "one.wav");
      EXPECT_EQ(computed_, 1) << "shared by all of the host";
    }
    EXPECT_EQ(folders(), 1);
    (void)get(first, "one.wav");
    EXPECT_EQ(computed_, 1);
  }
  EXPECT_EQ(folders(), 0);
}

// One that was killed removes nothing; the next one does, whatever it keeps.
TEST_F(FeatureCacheTest, FeaturesThatADeadProcessLeftInMemoryAreRemoved) {
  const fs::path memory = folder_ / "memory";
  fs::create_directory(memory);
  const pid_t child = ::fork();
  if (child == 0) {
    const FeatureFolder left = FeatureFolder::in_memory("left", 0, memory);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  const auto folders = [&] {
    return std::count_if(fs::directory_iterator(memory), fs::directory_iterator(),
                         [](const auto& entry) { return entry.is_directory(); });
  };
  ASSERT_EQ(folders(), 1) << "the child had one, and left it";
  const FeatureFolder next = FeatureFolder::in_memory("next", 0, memory);
  EXPECT_EQ(folders(), 1);
  EXPECT_TRUE(fs::exists(next.path()));
}

TEST_F(FeatureCacheTest, AMemoryThatIsNotThereIsNamed) {
  EXPECT_THROW((void)FeatureFolder::in_memory("w", 0, "/nowhere/shm"), runtime::ConfigError);
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
    (void)engine.accumulate_gradient({0});
    gradients.push_back(engine.trial()->parameters().gradients().clone());
    EXPECT_EQ(files().size(), 8u) << "one for each row of the step";
  }
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
  options.features.clear();
  Links links = alone();
  ReplicaEngine engine(options, {0, 0}, links);
  (void)engine.accumulate_gradient({0});
  const auto plain = engine.trial()->parameters().gradients();
  EXPECT_LT(((gradients[0] - plain).norm() / plain.norm()).item<double>(), 1e-5);
}

}  // namespace
}  // namespace desta::trainer
