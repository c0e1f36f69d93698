#include "runtime/collectives/mpi_requests.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// The three stages of a wait, by its length so far.
constexpr std::chrono::microseconds kSpin{20};
constexpr std::chrono::microseconds kYield{500};
constexpr std::chrono::microseconds kSleep{50};

}  // namespace

MpiRequests::~MpiRequests() {
  if (!mpi_is_live()) {
    return;
  }
  for (Transfer& transfer : transfers_) {
    if (transfer.finished) {
      continue;
    }
    if (transfer.receiving) {
      MPI_Cancel(&transfer.request);
      MPI_Wait(&transfer.request, MPI_STATUS_IGNORE);
    } else {
      // MPI cannot take back a send. It is left to finish on its own.
      MPI_Request_free(&transfer.request);
    }
  }
}

void MpiRequests::send(const void* data, std::size_t bytes, int peer, int tag,
                       MPI_Comm communicator) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, communicator, &request),
            fmt::format("send of {} bytes to rank {} (tag {})", bytes, peer, tag));
  transfers_.push_back({request, peer, bytes, false, false});
}

void MpiRequests::receive(void* data, std::size_t bytes, int peer, int tag, MPI_Comm communicator) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, communicator, &request),
            fmt::format("receive of {} bytes from rank {} (tag {})", bytes, peer, tag));
  transfers_.push_back({request, peer, bytes, true, false});
}

bool MpiRequests::poll(Transfer& transfer, const std::string& operation) {
  if (transfer.finished) {
    return true;
  }
  int done = 0;
  MPI_Status status;
  const int code = MPI_Test(&transfer.request, &done, &status);
  if (code != MPI_SUCCESS) {
    transfer.finished = true;
    int error_class = MPI_SUCCESS;
    MPI_Error_class(code, &error_class);
    if (error_class == MPI_ERR_TRUNCATE) {
      throw TransportError("{}: the message of rank {} has more than the {} bytes expected",
                           operation, transfer.peer, transfer.bytes);
    }
    throw TransportError("{}: rank {}: {}", operation, transfer.peer, mpi_error_text(code));
  }
  if (done == 0) {
    return false;
  }
  transfer.finished = true;
  if (transfer.receiving) {
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (static_cast<std::size_t>(bytes) != transfer.bytes) {
      throw TransportError("{}: the message of rank {} has {} bytes, not the {} expected",
                           operation, transfer.peer, bytes, transfer.bytes);
    }
  }
  return true;
}

bool MpiRequests::done(const std::string& operation) {
  bool all = true;
  for (Transfer& transfer : transfers_) {
    all = poll(transfer, operation) && all;
  }
  return all;
}

void MpiRequests::wait(const std::string& operation, std::chrono::milliseconds timeout) {
  const Clock::time_point start = Clock::now();
  while (!done(operation)) {
    const auto waited = Clock::now() - start;
    if (waited < kSpin) {
      continue;
    }
    if (waited < kYield) {
      sched_yield();
      continue;
    }
    if (waited > timeout) {
      const auto late = std::ranges::find_if(
          transfers_, [](const Transfer& transfer) { return !transfer.finished; });
      throw TransportError("{}: rank {} did not {} within {} s; is it still alive?", operation,
                           late->peer, late->receiving ? "send" : "receive",
                           std::chrono::duration<double>(timeout).count());
    }
    std::this_thread::sleep_for(kSleep);
  }
}

}  // namespace desta::runtime
