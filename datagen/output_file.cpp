#include "datagen/output_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace fs = std::filesystem;

void write_output(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  std::error_code ignored;
  if (path.empty() || fs::is_directory(path, ignored)) {
    throw runtime::InternalError("\"{}\": a folder cannot be written to; give a file",
                                 path.string());
  }
  const auto write_to = [&](const fs::path& place) {
    errno = 0;
    std::ofstream out(place, std::ios::binary);
    if (out) {
      write(out);
      out.close();
    }
    if (!out) {
      throw runtime::InternalError(
          "{}: cannot write: {}; free some space or choose another file", path.string(),
          errno == 0 ? "the stream ended" : std::strerror(errno));
    }
  };
  const fs::file_status status = fs::symlink_status(path, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    write_to(path);
  } else {
    runtime::publish_atomically(path, write_to);
  }
}

}  // namespace desta::datagen
