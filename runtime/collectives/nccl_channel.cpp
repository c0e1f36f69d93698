#include "runtime/collectives/nccl_channel.h"

#include <algorithm>
#include <thread>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::microseconds kPollInterval{50};

}  // namespace

void check_cuda(cudaError_t code, const std::string& what) {
  if (code != cudaSuccess) {
    throw TransportError("{}: CUDA: {}", what, cudaGetErrorString(code));
  }
}

void check_nccl(ncclResult_t code, const std::string& what) {
  if (code != ncclSuccess && code != ncclInProgress) {
    throw TransportError("{}: NCCL: {}", what, ncclGetErrorString(code));
  }
}

NcclChannel::NcclChannel(const NcclApi& api, Communicator& bootstrap, int device,
                         std::chrono::milliseconds timeout)
    : api_(api), device_(device), timeout_(timeout) {
  check_cuda(api_.set_device(device_), "choosing a GPU");
  check_cuda(api_.stream_create(&stream_, cudaStreamNonBlocking), "making a stream");
  try {
    check_cuda(api_.event_create(&ready_, cudaEventDisableTiming), "making an event");
    join(bootstrap);
  } catch (...) {
    if (ready_ != nullptr) {
      api_.event_destroy(ready_);
    }
    api_.stream_destroy(stream_);
    throw;
  }
}

NcclChannel::~NcclChannel() {
  for (const Memory& memory : memory_) {
    if (communicator_ != nullptr && memory.handle != nullptr) {
      api_.comm_deregister(communicator_, memory.handle);
    }
  }
  if (communicator_ != nullptr) {
    try {
      check_nccl(api_.comm_finalize(communicator_), "leaving the communicator");
      settle("leaving the communicator");
      api_.comm_destroy(communicator_);
    } catch (const Error&) {
      abort();
    }
  }
  api_.event_destroy(ready_);
  api_.stream_destroy(stream_);
}

void NcclChannel::join(Communicator& bootstrap) {
  const std::string operation = "joining the communicator";
  ncclUniqueId id{};
  if (bootstrap.rank() == 0) {
    check_nccl(api_.get_unique_id(&id), "making an identifier");
  }
  bootstrap.broadcast(&id, sizeof(id), DType::kUInt8, 0);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t code =
      api_.comm_init_rank_config(&communicator_, bootstrap.size(), id, bootstrap.rank(), &config);
  if (code != ncclSuccess && code != ncclInProgress) {
    abort();
    check_nccl(code, operation);
  }
  settle(operation);
  for (Memory& memory : memory_) {
    make_known(memory);
  }
}

void NcclChannel::rebuild(Communicator& bootstrap) {
  abort();
  check_cuda(api_.set_device(device_), "choosing a GPU");
  join(bootstrap);
}

void NcclChannel::abort() {
  if (communicator_ != nullptr) {
    api_.comm_abort(communicator_);
    communicator_ = nullptr;
    for (Memory& memory : memory_) {
      memory.handle = nullptr;
    }
  }
}

ncclComm_t NcclChannel::communicator() const {
  if (communicator_ == nullptr) {
    throw TransportError("this NCCL communicator was aborted after an earlier error");
  }
  return communicator_;
}

void NcclChannel::settle(const std::string& operation) {
  const Clock::time_point deadline = Clock::now() + timeout_;
  while (true) {
    ncclResult_t state = ncclSuccess;
    ncclResult_t asked = api_.comm_get_async_error(communicator(), &state);
    if (asked == ncclSuccess && state == ncclSuccess) {
      return;
    }
    const bool late = Clock::now() > deadline;
    if (asked != ncclSuccess || state != ncclInProgress || late) {
      abort();
      check_nccl(asked, operation);
      check_nccl(state, operation);
      throw TransportError("{}: not begun within {} s; are all its ranks still alive?", operation,
                           std::chrono::duration<double>(timeout_).count());
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

cudaEvent_t NcclChannel::start(const std::string& operation, const Enqueue& enqueue) {
  // The current device belongs to the thread, and any thread may call.
  check_cuda(api_.set_device(device_), "choosing the GPU");
  const std::lock_guard lock(mutex_);
  const ncclComm_t communicator = this->communicator();
  check_cuda(api_.event_record(ready_, cudaStreamLegacy), "marking the default stream");
  check_cuda(api_.stream_wait_event(stream_, ready_, 0), "waiting for the default stream");
  const ncclResult_t code = enqueue(communicator, stream_);
  if (code != ncclSuccess && code != ncclInProgress) {
    abort();
    check_nccl(code, operation);
  }
  settle(operation);
  cudaEvent_t mark = nullptr;
  check_cuda(api_.event_create(&mark, cudaEventDisableTiming), "making an event");
  if (const cudaError_t recorded = api_.event_record(mark, stream_); recorded != cudaSuccess) {
    api_.event_destroy(mark);
    check_cuda(recorded, operation);
  }
  return mark;
}

bool NcclChannel::passed(cudaEvent_t mark, const std::string& operation) {
  const cudaError_t state = api_.event_query(mark);
  if (state == cudaSuccess) {
    return true;
  }
  const std::lock_guard lock(mutex_);
  ncclResult_t failure = ncclSuccess;
  const ncclResult_t asked = api_.comm_get_async_error(communicator(), &failure);
  const bool fails = failure != ncclSuccess && failure != ncclInProgress;
  if (state != cudaErrorNotReady || asked != ncclSuccess || fails) {
    abort();
    check_cuda(state == cudaErrorNotReady ? cudaSuccess : state, operation);
    check_nccl(asked, operation);
    check_nccl(failure, operation);
  }
  return false;
}

void NcclChannel::wait(cudaEvent_t mark, const std::string& operation) {
  const Clock::time_point deadline = Clock::now() + timeout_;
  while (!passed(mark, operation)) {
    if (Clock::now() > deadline) {
      const std::lock_guard lock(mutex_);
      abort();
      throw TransportError("{}: not finished within {} s; are all its ranks still alive?",
                           operation, std::chrono::duration<double>(timeout_).count());
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

void NcclChannel::make_known(Memory& memory) const {
  check_nccl(api_.comm_register(communicator(), memory.data, memory.bytes, &memory.handle),
             "making memory known");
}

void NcclChannel::add_memory(void* data, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  Memory memory{data, bytes, nullptr};
  make_known(memory);
  settle("making memory known");
  memory_.push_back(memory);
}

void NcclChannel::remove_memory(void* data) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(memory_, data, &Memory::data);
  if (found == memory_.end()) {
    return;
  }
  if (communicator_ != nullptr && found->handle != nullptr) {
    api_.comm_deregister(communicator_, found->handle);
  }
  memory_.erase(found);
}

}  // namespace desta::runtime
