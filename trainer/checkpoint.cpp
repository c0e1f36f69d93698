#include "trainer/checkpoint.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "models/safetensors.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "trainer/learned.h"

namespace desta::trainer {
namespace fs = std::filesystem;
using nlohmann::json;
using runtime::ModelError;

namespace {

constexpr const char* kChecksums = "checksums.xxh64";
constexpr const char* kIdentity = "identity.json";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kReduction = "reduction.safetensors";
constexpr const char* kState = "state.json";

std::string file_checksum(const fs::path& path) {
  constexpr std::size_t kPiece = 1 << 20;
  const std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state(XXH64_createState(),
                                                                         &XXH64_freeState);
  XXH64_reset(state.get(), 0);
  std::ifstream in(path, std::ios::binary);
  std::string piece(kPiece, '\0');
  while (in.read(piece.data(), kPiece), in.gcount() > 0) {
    XXH64_update(state.get(), piece.data(), static_cast<std::size_t>(in.gcount()));
  }
  if (!in.eof()) {
    throw ModelError("{}: cannot be read", path.string());
  }
  return fmt::format("{:016x}", XXH64_digest(state.get()));
}

// Lines of checksums.xxh64, by file. Every file of the folder but itself.
std::map<std::string, std::string> checksums_of(const fs::path& folder) {
  std::map<std::string, std::string> sums;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != kChecksums) {
      sums[name] = file_checksum(entry.path());
    }
  }
  return sums;
}

std::string to_text(const std::map<std::string, std::string>& sums) {
  std::string text;
  for (const auto& [name, sum] : sums) {
    text += fmt::format("{}  {}\n", sum, name);
  }
  return text;
}

// The folder is to the byte what was written.
void verify(const fs::path& folder) {
  const fs::path list = folder / kChecksums;
  if (!fs::exists(list)) {
    throw ModelError("{}: is missing, so the checkpoint cannot be trusted; it is passed over",
                     list.string());
  }
  const std::string wanted = runtime::read_file(list);
  const auto found = checksums_of(folder);
  if (to_text(found) == wanted) {
    return;
  }
  for (const auto& [name, sum] : found) {
    if (wanted.find(fmt::format("{}  {}\n", sum, name)) == std::string::npos) {
      throw ModelError("{}: differs from {}: the checkpoint is damaged; it is passed over",
                       (folder / name).string(), kChecksums);
    }
  }
  throw ModelError("{}: lists what is not there, or is damaged; the checkpoint is passed over",
                   list.string());
}

void require_same(const Checkpoint& checkpoint, const RunIdentity& identity) {
  for (const auto& [setting, value] : identity) {
    const auto known = checkpoint.identity.find(setting);
    if (known != checkpoint.identity.end() && known->second != value) {
      if (setting == kRowsOfIdentity) {
        throw runtime::ConfigError(
            "{}: was trained on other rows (hash {}, now {}): the dataset has changed since, or data, filters, or "
            "what rows are made with; set it back, or give this run a run.folder of its own",
            checkpoint.path.string(), known->second, value);
      }
      throw runtime::ConfigError(
          "{}: was trained with {} {}, this run has {}; set it back, or give this run a run.folder "
          "of its own",
          checkpoint.path.string(), setting, known->second, value);
    }
  }
}

// Out of sight first: a removal that is cut short leaves no half checkpoint behind.
void remove_checkpoint(const fs::path& path) {
  const fs::path hidden = path.parent_path() / fmt::format(".{}.removed", path.filename().string());
  fs::remove_all(hidden);
  fs::rename(path, hidden);
  fs::remove_all(hidden);
}

std::int64_t step_of(const fs::path& checkpoint) {
  return std::stoll(checkpoint.filename().string().substr(5));
}

void remove_old(const fs::path& run, const fs::path& newest, const CheckpointOptions& options) {
  // Later steps than this one are left over from before a damaged checkpoint was passed over.
  // They are put aside: who could not read them today may tomorrow.
  auto all = list_checkpoints(run);
  while (all.back() != newest) {
    const fs::path aside =
        all.back().parent_path() / fmt::format("passed-over-{}", all.back().filename().string());
    fs::remove_all(aside);
    fs::rename(all.back(), aside);
    all.pop_back();
  }
  std::erase_if(all, [&](const fs::path& path) {
    return options.keep_every > 0 && step_of(path) % options.keep_every == 0;
  });
  for (std::size_t i = 0; options.keep > 0 && all.size() > static_cast<std::size_t>(options.keep) + i;
       ++i) {
    remove_checkpoint(all[i]);
  }
}

std::map<std::string, TensorMap> by_file(std::span<const TrialState> parts) {
  std::map<std::string, TensorMap> files;
  for (const auto& part : parts) {
    for (const auto& [name, tensor] : part.named(part.values)) {
      files[parameter_file(name)][name] = tensor;
    }
    for (const auto& [name, tensor] : part.named(part.first)) {
      files[kOptimizer]["first." + name] = tensor;
    }
    for (const auto& [name, tensor] : part.named(part.second)) {
      files[kOptimizer]["second." + name] = tensor;
    }
    for (const auto& [name, tensor] : part.reduction) {
      files[kReduction][name] = tensor;
    }
  }
  return files;
}

void write_files(const fs::path& folder, std::span<const TrialState> parts,
                 const RunIdentity& identity) {
  fs::create_directories(folder);
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  for (const char* key : {"train.lora.alpha", "train.lora.rank"}) {
    if (const auto known = identity.find(key); known != identity.end()) {
      metadata[key] = known->second;
    }
  }
  for (const auto& [name, tensors] : by_file(parts)) {
    models::save_safetensors(folder / name, tensors, metadata);
  }
  const TrialState& position = parts.front();
  const json state = {{"trial", position.trial},
                      {"step", position.step},
                      {"updates", position.updates},
                      {"skipped_in_a_row", position.skipped_in_a_row},
                      {"seed", position.seed},
                      {"schedule", position.schedule}};
  runtime::write_file_atomically(folder / kState, state.dump(2) + "\n");
  runtime::write_file_atomically(folder / kIdentity, json(identity).dump(2) + "\n");
  runtime::write_file_atomically(folder / kChecksums, to_text(checksums_of(folder)));
}

// The newest checkpoint that `take` accepts; others are named in `problems`.
fs::path take_newest(const fs::path& run, std::vector<std::string>& problems,
                     const std::function<void(const fs::path&)>& take) {
  const auto all = list_checkpoints(run);
  for (auto path = all.rbegin(); path != all.rend(); ++path) {
    try {
      take(*path);
      return *path;
    } catch (const runtime::ConfigError&) {
      throw;
    } catch (const std::exception& error) {  // of ours, or a file system's
      problems.emplace_back(error.what());
    }
  }
  return {};
}

}  // namespace

fs::path write_checkpoint(const fs::path& run, std::span<const TrialState> parts,
                          const CheckpointOptions& options, const RunIdentity& identity) {
  const fs::path path = run / "checkpoints" / fmt::format("step-{:08}", parts.front().step);
  runtime::publish_atomically(
      path, [&](const fs::path& temporary) { write_files(temporary, parts, identity); });
  try {
    remove_old(run, path, options);
  } catch (const fs::filesystem_error& error) {  // what was written stands
    runtime::log().warn("old checkpoints are not removed: {}", error.what());
  }
  return path;
}

void sweep_up(const fs::path& run) {
  std::error_code ignored;  // what cannot be removed is in nobody's way
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", ignored)) {
    if (entry.path().filename().string().starts_with(".step-")) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

std::vector<fs::path> list_checkpoints(const fs::path& run) {
  std::vector<fs::path> found;
  const fs::path folder = run / "checkpoints";
  if (fs::is_directory(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.size() == 13 && name.starts_with("step-") &&
          name.find_first_not_of("0123456789", 5) == std::string::npos) {
        found.push_back(entry.path());
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

Checkpoint read_checkpoint(const fs::path& folder) {
  try {
    verify(folder);
  } catch (const fs::filesystem_error& error) {  // or removed meanwhile by the job that wrote it
    throw ModelError("{}: cannot be read: {}", folder.string(), error.code().message());
  }
  Checkpoint checkpoint;
  checkpoint.path = folder;
  for (const char* name : {"adapter.safetensors", "lora.safetensors", "encoder.safetensors"}) {
    if (fs::exists(folder / name)) {
      checkpoint.values.merge(models::load_safetensors(folder / name));
    }
  }
  for (auto& [name, tensor] : models::load_safetensors(folder / kOptimizer)) {
    const auto dot = name.find('.') + 1;
    (name.starts_with("first.") ? checkpoint.first : checkpoint.second)[name.substr(dot)] = tensor;
  }
  TensorMap reduction;
  if (fs::exists(folder / kReduction)) {
    reduction = models::load_safetensors(folder / kReduction);
  }
  try {
    const json state = json::parse(runtime::read_file(folder / kState));
    checkpoint.position = {.trial = state.at("trial"),
                           .step = state.at("step"),
                           .updates = state.at("updates"),
                           .skipped_in_a_row = state.at("skipped_in_a_row"),
                           .seed = state.at("seed"),
                           .schedule = state.at("schedule")};
    checkpoint.identity =
        json::parse(runtime::read_file(folder / kIdentity)).get<RunIdentity>();
  } catch (const json::exception& error) {
    throw ModelError("{}: state.json or identity.json is not ours: {}", folder.string(),
                     error.what());
  } catch (const runtime::DataError& error) {
    throw ModelError("{}", error.what());
  }
  checkpoint.position.reduction = std::move(reduction);
  return checkpoint;
}

fs::path load_newest_checkpoint(const fs::path& run, Trial& trial,
                                std::vector<std::string>& problems,
                                const RunIdentity& identity) {
  return take_newest(run, problems, [&](const fs::path& path) {
    const Checkpoint checkpoint = read_checkpoint(path);
    require_same(checkpoint, identity);
    try {
      trial.restore(checkpoint.position, checkpoint.values, checkpoint.first, checkpoint.second);
    } catch (const ModelError& error) {
      throw ModelError("{}: does not fit this adapter: {}", path.string(), error.what());
    }
  });
}

fs::path newest_adapter(const fs::path& run) {
  std::vector<std::string> problems;
  const fs::path newest = take_newest(run, problems, verify);
  if (newest.empty()) {
    throw runtime::ConfigError(
        "{}/checkpoints holds no whole checkpoint{}: train first, or name an adapter.safetensors "
        "with --adapter",
        run.string(), problems.empty() ? "" : fmt::format(" ({})", problems.front()));
  }
  return newest / "adapter.safetensors";
}

TensorMap read_parameters(const fs::path& run_or_checkpoint) {
  if (fs::exists(run_or_checkpoint / "adapter.safetensors")) {
    return read_checkpoint(run_or_checkpoint).values;
  }
  return read_checkpoint(newest_adapter(run_or_checkpoint).parent_path()).values;
}

}  // namespace desta::trainer
