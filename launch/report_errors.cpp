#include "launch/report_errors.h"

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::launch {

int report_errors(const std::function<int()>& work) {
  try {
    return work();
  } catch (const runtime::Error& error) {
    runtime::log().error("{}", error.what());
    return runtime::exit_code(error.kind());
  } catch (const std::exception& error) {
    runtime::log().error("{}", error.what());
    return runtime::kExitFailure;
  }
}

}  // namespace desta::launch
