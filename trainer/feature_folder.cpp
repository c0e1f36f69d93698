#include "trainer/feature_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::trainer {
namespace fs = std::filesystem;
using runtime::FileLock;

namespace {

constexpr std::string_view kMember = ".member";
constexpr std::string_view kUsed = "bytes";
constexpr std::string_view kLimit = "limit";
// Others hold these locks for a moment only.
constexpr std::chrono::seconds kPatience{10};

std::string prefix() { return fmt::format("desta-features-{}-", ::getuid()); }

bool is_in_use(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == kMember && FileLock::is_held(entry.path())) {
      return true;
    }
  }
  return false;
}

// With the gate held.
void remove_left_ones(const fs::path& memory) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(memory, ignored)) {
    if (entry.is_directory(ignored) && entry.path().filename().string().starts_with(prefix()) &&
        !is_in_use(entry.path())) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

// What is kept in a folder whose count is not there yet.
std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  // Others write and rename meanwhile: what has gone counts nothing.
  for (auto entry = fs::recursive_directory_iterator(folder, error);
       !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code gone;
    const auto size = entry->is_regular_file(gone) ? entry->file_size(gone) : 0;
    bytes += gone ? 0 : size;
  }
  return bytes;
}

}  // namespace

FeatureFolder FeatureFolder::on_disk(fs::path folder, std::uint64_t most_bytes) {
  // Others may have written without a limit, people may have deleted: whoever asks next counts anew.
  std::error_code ignored;
  fs::remove(folder / kUsed, ignored);
  return {std::move(folder), most_bytes};
}

FeatureFolder FeatureFolder::in_memory(std::string_view key, std::uint64_t most_bytes,
                                       const fs::path& memory) {
  std::error_code error;
  const fs::space_info space = fs::space(memory, error);
  if (error) {
    throw runtime::ConfigError("data.features is memory, but {} is not there ({}); name a folder instead",
                               memory.string(), error.message());
  }
  FeatureFolder folder(memory / (prefix() + runtime::to_hex(runtime::hash64(key))), most_bytes);
  folder.gate_ = memory / (prefix() + "gate");
  const auto gate = FileLock::try_take(folder.gate_, FileLock::Inherit::kNo, kPatience);
  if (!gate.has_value()) {
    throw runtime::ConfigError("{}: another process has held it for {} s; remove it if none is there",
                               folder.gate_.string(), kPatience.count());
  }
  remove_left_ones(memory);
  // A name of its own: one process may hold several, and containers may have the same process numbers.
  for (int number = 0; !folder.member_.has_value(); ++number) {
    folder.member_ =
        FileLock::try_take(folder.path_ / fmt::format("{}-{}{}", ::getpid(), number, kMember));
  }
  if (most_bytes == 0) {
    // The first one's half is that of all.
    const fs::path limit = folder.path_ / kLimit;
    if (!(std::ifstream(limit) >> folder.most_bytes_)) {
      folder.most_bytes_ = space.available / 2;
      std::ofstream(limit) << folder.most_bytes_ << '\n';
    }
  }
  return folder;
}

FeatureFolder::~FeatureFolder() {
  if (!member_.has_value()) {
    return;
  }
  try {
    const auto gate = FileLock::try_take(gate_, FileLock::Inherit::kNo, kPatience);
    member_.reset();
    if (gate.has_value() && !is_in_use(path_)) {
      std::error_code ignored;
      fs::remove_all(path_, ignored);
    }
  } catch (const std::exception&) {
    // The next one that begins removes it.
  }
}

bool FeatureFolder::reserve(std::uint64_t bytes) const {
  if (most_bytes_ == 0) {
    return true;
  }
  const fs::path count = path_ / kUsed;
  const auto lock = FileLock::try_take(path_ / "bytes.lock", FileLock::Inherit::kNo, kPatience);
  if (!lock.has_value()) {
    return false;
  }
  std::uint64_t used = 0;
  if (!(std::ifstream(count) >> used)) {
    used = bytes_in(path_);
  }
  const bool fits = used + bytes <= most_bytes_;
  std::ofstream(count) << (fits ? used + bytes : used) << '\n';
  return fits;
}

}  // namespace desta::trainer
