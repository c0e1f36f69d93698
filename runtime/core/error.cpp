#include "runtime/core/error.h"

namespace desta::runtime {

void throw_error(ErrorKind kind, const std::string& message) {
  switch (kind) {
    case ErrorKind::kConfig:
      throw ConfigError("{}", message);
    case ErrorKind::kData:
      throw DataError("{}", message);
    case ErrorKind::kModel:
      throw ModelError("{}", message);
    case ErrorKind::kTransport:
      throw TransportError("{}", message);
    case ErrorKind::kInternal:
      break;
  }
  throw InternalError("{}", message);
}

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kConfig:
    case ErrorKind::kData:
    case ErrorKind::kModel:
      return kExitBadInput;
    case ErrorKind::kTransport:
    case ErrorKind::kInternal:
      break;
  }
  return kExitFailure;
}

}  // namespace desta::runtime
