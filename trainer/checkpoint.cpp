#include "trainer/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace fs = std::filesystem;

namespace {

constexpr const char* kIdentity = "identity.json";

void require_same(const fs::path& checkpoint, const RunIdentity& identity) {
  if (!fs::exists(checkpoint / kIdentity)) {
    return;
  }
  RunIdentity saved;
  try {
    saved = nlohmann::json::parse(runtime::read_file(checkpoint / kIdentity)).get<RunIdentity>();
  } catch (const nlohmann::json::exception& error) {
    throw runtime::ModelError("{}: identity.json is damaged: {}", checkpoint.string(), error.what());
  }
  for (const auto& [setting, value] : identity) {
    const auto known = saved.find(setting);
    if (known != saved.end() && known->second != value) {
      throw runtime::ConfigError(
          "{}: was trained with {} {}, this run has {}; set it back, or give this run a run.folder "
          "of its own",
          checkpoint.string(), setting, known->second, value);
    }
  }
}

}  // namespace

fs::path save_checkpoint(const fs::path& run, Trial& trial, std::int64_t keep,
                         const RunIdentity& identity) {
  const fs::path path = run / "checkpoints" / fmt::format("step-{:08}", trial.step());
  runtime::publish_atomically(path, [&](const fs::path& temporary) {
    fs::create_directories(temporary);
    trial.save(temporary);
    runtime::write_file_atomically(temporary / kIdentity, nlohmann::json(identity).dump(2) + "\n");
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
                                std::vector<std::string>& problems,
                                const RunIdentity& identity) {
  auto all = list_checkpoints(run);
  for (auto path = all.rbegin(); path != all.rend(); ++path) {
    try {
      require_same(*path, identity);
      trial.load(*path);
      return *path;
    } catch (const runtime::ConfigError&) {
      throw;
    } catch (const runtime::Error& error) {
      problems.emplace_back(error.what());
    }
  }
  return {};
}

}  // namespace desta::trainer
