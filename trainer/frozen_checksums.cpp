#include "trainer/frozen_checksums.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace desta::trainer {

void FrozenChecksums::take(const std::string& owner, const models::TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) {
    entries_[owner + "/" + name] = {tensor, models::checksum(tensor)};
  }
}

std::vector<std::string> FrozenChecksums::changed() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    if (models::checksum(entry.tensor) != entry.checksum || entry.tensor.requires_grad() ||
        entry.tensor.grad().defined()) {
      names.push_back(name);
    }
  }
  return names;
}

std::uint64_t FrozenChecksums::bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, entry] : entries_) {
    total += models::byte_size(entry.tensor);
  }
  return total;
}

std::uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace desta::trainer
