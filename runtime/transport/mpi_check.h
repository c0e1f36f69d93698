// Return codes of MPI as errors. Private to the folders that call MPI.
#pragma once

#include <mpi.h>

#include <string>
#include <string_view>

#include "runtime/core/error.h"

namespace desta::runtime {

[[nodiscard]] inline std::string mpi_error_text(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<std::size_t>(length));
}

// Throws TransportError "what: reason" unless `code` is MPI_SUCCESS.
inline void check_mpi(int code, std::string_view what) {
  if (code != MPI_SUCCESS) {
    throw TransportError("{}: {}", what, mpi_error_text(code));
  }
}

// True between MPI_Init and MPI_Finalize.
[[nodiscard]] inline bool mpi_is_live() {
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized != 0 && finalized == 0;
}

}  // namespace desta::runtime
