#include "runtime/core/folder_lock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {
namespace fs = std::filesystem;

class FileLockTest : public ::testing::Test {
 protected:
  FileLockTest()
      : path_(fs::temp_directory_path() / ("desta-lock-" + std::to_string(::getpid())) / "lock") {}
  ~FileLockTest() override { fs::remove_all(path_.parent_path()); }
  fs::path path_;
};

TEST_F(FileLockTest, IsHeldByOneAndLookingDoesNotTakeIt) {
  EXPECT_FALSE(FileLock::is_held(path_));
  auto first = FileLock::try_take(path_);
  ASSERT_TRUE(first);
  EXPECT_TRUE(FileLock::is_held(path_));
  EXPECT_FALSE(FileLock::try_take(path_));
  first.reset();
  EXPECT_FALSE(FileLock::is_held(path_));
  EXPECT_TRUE(FileLock::try_take(path_));
}

TEST_F(FileLockTest, WaitsForOneWhoIsLeaving) {
  auto first = FileLock::try_take(path_);
  std::thread leaves([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    first.reset();
  });
  EXPECT_TRUE(FileLock::try_take(path_, FileLock::Inherit::kNo, std::chrono::minutes(1)));
  leaves.join();
}

TEST_F(FileLockTest, AFileThatCannotBeMadeIsNamed) {
  EXPECT_THROW((void)FileLock::try_take("/proc/no/lock"), InternalError);
  EXPECT_FALSE(FileLock::is_held("/proc/no/lock"));
}

TEST_F(FileLockTest, AFolderIsOneWritersAndItsNamesAreInTheError) {
  const LockedFolder names{.what = "run folder", .key = "run.folder"};
  auto first = lock_folder(path_.parent_path(), names);
  ASSERT_TRUE(first);
  EXPECT_TRUE(FileLock::is_held(path_));
  try {
    (void)lock_folder(path_.parent_path(), names, std::chrono::milliseconds(0));
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.what(), path_.string() + ": another job is writing into this run folder; wait for it, or "
                                             "choose another run.folder");
  }
  first.reset();
  EXPECT_TRUE(lock_folder(path_.parent_path(), names, std::chrono::milliseconds(0)));
}

TEST_F(FileLockTest, AFolderThatCannotBeLockedIsUsedWithoutALock) {
  EXPECT_FALSE(lock_folder("/proc/no", {.what = "dataset", .key = "data.folder"}));
}

}  // namespace
}  // namespace desta::runtime
