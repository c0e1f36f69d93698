#include "runtime/telemetry/metrics_writer.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

bool ends_within_a_line(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in || in.tellg() <= 0) {
    return false;
  }
  in.seekg(-1, std::ios::end);
  return in.get() != '\n';
}

}  // namespace

MetricsWriter::MetricsWriter(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code ignored;  // the open below reports it
  if (path_.has_parent_path()) {
    std::filesystem::create_directories(path_.parent_path(), ignored);
  }
  const bool torn = ends_within_a_line(path_);
  out_.open(path_, std::ios::binary | std::ios::app);
  if (torn) {
    out_ << '\n' << std::flush;
  }
  if (!out_) {
    throw InternalError("{}: cannot append to it: {}", path_.string(), std::strerror(errno));
  }
}

void MetricsWriter::write(const nlohmann::ordered_json& object) {
  const std::string line = object.dump() + "\n";
  const std::lock_guard lock(mutex_);
  out_ << line << std::flush;
  if (!out_) {
    throw InternalError("{}: cannot append to it: {}; is the disk full?", path_.string(),
                        std::strerror(errno));
  }
}

}  // namespace desta::runtime
