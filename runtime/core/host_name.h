#pragma once

#include <string>

namespace desta::runtime {

// This machine's, as the kernel has it; "unknown" when it has none.
[[nodiscard]] std::string host_name();

}  // namespace desta::runtime
