#include "runtime/core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace fs = std::filesystem;
namespace {

void sync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    throw InternalError("{}: cannot open it to sync: {}", path.string(), std::strerror(errno));
  }
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0 && error != EINVAL) {
    throw InternalError("{}: cannot sync: {}; is the disk full?", path.string(),
                        std::strerror(error));
  }
}

void sync_tree(const fs::path& path) {
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      sync_path(entry.path());
    }
  }
  sync_path(path);
}

fs::path temporary_name(const fs::path& path) {
  return path.parent_path() /
         fmt::format(".{}.{}.tmp", path.filename().string(), static_cast<long>(::getpid()));
}

// A folder that is there already is swapped for the new one in one step, or, on file systems that
// cannot (NFS), put aside first: it is never removed before the new one stands.
void put_in_place(const fs::path& made, const fs::path& path) {
  if (!fs::is_directory(path)) {
    fs::rename(made, path);
    return;
  }
  if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(made);
    return;
  }
  const fs::path aside = temporary_name(path.string() + ".old");
  fs::rename(path, aside);
  fs::rename(made, path);
  fs::remove_all(aside);
}

}  // namespace

void publish_atomically(const fs::path& path,
                        const std::function<void(const fs::path&)>& write) {
  const fs::path temporary = temporary_name(path);
  std::error_code ignored;
  try {
    if (!path.parent_path().empty()) {
      fs::create_directories(path.parent_path());
    }
    fs::remove_all(temporary);
    write(temporary);
    sync_tree(temporary);
    put_in_place(temporary, path);
    sync_path(path.has_parent_path() ? path.parent_path() : fs::path("."));
  } catch (const fs::filesystem_error& error) {
    fs::remove_all(temporary, ignored);
    throw InternalError("{}: cannot write: {}", path.string(), error.code().message());
  } catch (...) {
    fs::remove_all(temporary, ignored);
    throw;
  }
}

void write_file_atomically(const fs::path& path, std::string_view contents) {
  publish_atomically(path, [&](const fs::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    out.write(contents.data(), static_cast<std::streamsize>(contents.size()));
    out.close();
    if (!out) {
      throw InternalError("{}: cannot write {} bytes: {}; free some space or choose another folder",
                          path.string(), contents.size(), std::strerror(errno));
    }
  });
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || fs::is_directory(path)) {
    throw DataError("{}: cannot read it: {}", path.string(),
                    fs::is_directory(path) ? "it is a folder" : std::strerror(errno));
  }
  std::ostringstream contents;
  contents << in.rdbuf();
  return contents.str();
}

}  // namespace desta::runtime
