// Questions to the system's own actors. Private to this folder.
#pragma once

#include <string>

#include "runtime/actor/errors.h"
#include "runtime/actor/future.h"

namespace desta::runtime {

// The result of a question to the system's own actors. Its error is said as that of `what`.
template <typename R>
R ask(const Future<R>& future, const std::string& what) {
  try {
    return future.get();
  } catch (const InsufficientResources&) {
    throw InsufficientResources(fmt::format("{}: {}", what, future.error()->message));
  } catch (const Error& error) {
    throw_error(error.kind(), fmt::format("{}: {}", what, future.error()->message));
  }
}

}  // namespace desta::runtime
