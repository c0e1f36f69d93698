#include "runtime/core/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

std::string pattern(int rank) { return fmt::format("%H:%M:%S.%e [{}] %l: %v", rank); }

}  // namespace

spdlog::logger& log() {
  static spdlog::logger logger = [] {
    spdlog::logger made("desta", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern(pattern(0));
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

void init_logging(int rank, std::string_view level) {
  std::string source = "log level";
  std::string word(level);
  if (const char* environment = std::getenv("DESTA_LOG"); environment != nullptr) {
    source = "DESTA_LOG";
    word = environment;
  }
  const spdlog::level::level_enum parsed = spdlog::level::from_str(word);
  if (parsed == spdlog::level::off && word != "off") {
    throw ConfigError("{}: '{}' is not one of trace, debug, info, warn, error, off", source, word);
  }
  log().set_level(parsed);
  log().set_pattern(pattern(rank));
}

}  // namespace desta::runtime
