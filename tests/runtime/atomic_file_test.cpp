#include "runtime/core/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

namespace fs = std::filesystem;

class AtomicFile : public ::testing::Test {
 protected:
  AtomicFile() { fs::create_directories(folder_); }
  ~AtomicFile() override { fs::remove_all(folder_); }

  [[nodiscard]] std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  const fs::path folder_ =
      fs::temp_directory_path() / ("desta-atomic-file-" + std::to_string(::getpid()));
  const fs::path path_ = folder_ / "state.json";
};

TEST_F(AtomicFile, ReplacesTheOldContent) {
  write_file_atomically(path_, "old");
  write_file_atomically(path_, "new");
  EXPECT_EQ(read_file(path_), "new");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicFile, FullDiskLeavesTheOldContentAndNoRemains) {
  write_file_atomically(path_, "old");
  // A file may grow to 4 KiB and no further: the write fails as on a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit tight = before;
  tight.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &tight);
  std::string message;
  try {
    write_file_atomically(path_, std::string(1 << 20, 'x'));
  } catch (const InternalError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find("state.json"), std::string::npos) << message;
  EXPECT_NE(message.find("File too large"), std::string::npos) << message;
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicFile, WriterThatThrowsLeavesTheOldContentAndNoRemains) {
  write_file_atomically(path_, "old");
  const auto half_write = [](const fs::path& temporary) {
    std::ofstream(temporary) << "half";
    throw DataError("no more input");
  };
  EXPECT_THROW(publish_atomically(path_, half_write), DataError);
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicFile, FolderIsPublishedWholeAndReplacesTheOldOne) {
  const fs::path checkpoint = folder_ / "step-1";
  for (const std::string content : {"first", "second"}) {
    publish_atomically(checkpoint, [&](const fs::path& temporary) {
      fs::create_directories(temporary);
      std::ofstream(temporary / content) << content;
      EXPECT_FALSE(fs::exists(checkpoint / content)) << "visible before it is whole";
    });
  }
  EXPECT_TRUE(fs::exists(checkpoint / "second"));
  EXPECT_FALSE(fs::exists(checkpoint / "first"));
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicFile, ReadingWhatIsNotThereNamesIt) {
  EXPECT_THROW((void)read_file(folder_ / "absent"), DataError);
  EXPECT_THROW((void)read_file(folder_), DataError);
}

}  // namespace
}  // namespace desta::runtime
