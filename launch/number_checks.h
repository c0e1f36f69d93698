// Checks of numbers on a command line, for CLI11's check(): its own ones print the largest double in full.
#pragma once

#include <cstdlib>
#include <string>

namespace desta::launch {

[[nodiscard]] inline std::string more_than_zero(const std::string& text) {
  return std::strtod(text.c_str(), nullptr) > 0 ? "" : "'" + text + "' should be a number of more than 0";
}

[[nodiscard]] inline std::string zero_or_more(const std::string& text) {
  char* end = nullptr;
  const bool good = std::strtod(text.c_str(), &end) >= 0 && end != text.c_str();
  return good ? "" : "'" + text + "' should be a number of 0 or more";
}

}  // namespace desta::launch
