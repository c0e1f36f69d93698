#include "trainer/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace fs = std::filesystem;

fs::path save_checkpoint(const fs::path& run, Trial& trial, std::int64_t keep) {
  const fs::path path = run / "checkpoints" / fmt::format("step-{:08}", trial.step());
  runtime::publish_atomically(path, [&](const fs::path& temporary) {
    fs::create_directories(temporary);
    trial.save(temporary);
  });
  // Later steps than this one are left over from before a damaged checkpoint was passed over.
  auto all = list_checkpoints(run);
  while (all.back() != path) {
    fs::remove_all(all.back());
    all.pop_back();
  }
  while (keep > 0 && static_cast<std::int64_t>(all.size()) > keep) {
    fs::remove_all(all.front());
    all.erase(all.begin());
  }
  return path;
}

std::vector<fs::path> list_checkpoints(const fs::path& run) {
  std::vector<fs::path> found;
  const fs::path folder = run / "checkpoints";
  if (fs::is_directory(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().filename().string().starts_with("step-")) {
        found.push_back(entry.path());
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

fs::path load_newest_checkpoint(const fs::path& run, Trial& trial,
                                std::vector<std::string>& problems) {
  auto all = list_checkpoints(run);
  for (auto path = all.rbegin(); path != all.rend(); ++path) {
    try {
      trial.load(*path);
      return *path;
    } catch (const runtime::Error& error) {
      problems.emplace_back(error.what());
    }
  }
  return {};
}

}  // namespace desta::trainer
