// Where a person wants a text: a file, /dev/stdout, a pipe.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace desta::datagen {

// Calls `write` with a stream to `path`. An ordinary file appears whole or not at all
// (runtime/core/atomic_file.h); what is there and is none (a device, a pipe, a link) is written as it
// goes. Throws InternalError naming `path` when it cannot be written or the disk is full.
void write_output(const std::filesystem::path& path,
                  const std::function<void(std::ostream&)>& write);

}  // namespace desta::datagen
