#include "nccl_double.h"

#include <fmt/core.h>

namespace desta::runtime::testing {
namespace {

thread_local NcclDouble* current = nullptr;

ncclResult_t get_unique_id(ncclUniqueId* id) {
  *id = {};
  return ncclSuccess;
}

ncclResult_t init(ncclComm_t* comm, int /*ranks*/, ncclUniqueId /*id*/, int /*rank*/,
                  ncclConfig_t* config) {
  current->demand(config != nullptr && config->blocking == 0, "a communicator that blocks");
  current->demand(current->device_is_set, "joining before a device is chosen");
  *comm = current->make_handle<ncclComm_t>();
  current->comms[*comm] = {};
  ++current->joined;
  return ncclInProgress;
}

ncclResult_t get_async_error(ncclComm_t comm, ncclResult_t* error) {
  const auto found = current->comms.find(comm);
  current->demand(found != current->comms.end(), "asking a communicator that is gone");
  if (found->second.state == NcclDouble::State::kJoining &&
      ++found->second.polls < current->polls_until_joined) {
    *error = ncclInProgress;
    return ncclSuccess;
  }
  if (found->second.state == NcclDouble::State::kJoining) {
    found->second.state = NcclDouble::State::kReady;
  }
  *error = found->second.stream != nullptr ? current->asynchronous_error : ncclSuccess;
  return ncclSuccess;
}

ncclResult_t abort(ncclComm_t comm) {
  current->demand(current->comms.erase(comm) == 1, "aborting a communicator that is gone");
  ++current->aborted;
  return ncclSuccess;
}

ncclResult_t finalize(ncclComm_t comm) {
  current->demand(current->comms.contains(comm), "finalising a communicator that is gone");
  current->comms[comm].state = NcclDouble::State::kFinalized;
  return ncclSuccess;
}

ncclResult_t destroy(ncclComm_t comm) {
  current->demand(
      current->comms.contains(comm) && current->comms[comm].state == NcclDouble::State::kFinalized,
      "destroying a communicator that is not finalised");
  current->demand(current->comms[comm].registered.empty(), "destroying with memory registered");
  current->comms.erase(comm);
  return ncclSuccess;
}

ncclResult_t comm_register(const ncclComm_t comm, void* data, size_t /*bytes*/, void** handle) {
  current->demand(current->comms.contains(comm), "registering at a communicator that is gone");
  current->demand(current->memory.contains(data), "registering memory that is not NCCL's");
  current->comms[comm].registered.insert(data);
  *handle = data;
  return ncclSuccess;
}

ncclResult_t comm_deregister(const ncclComm_t comm, void* handle) {
  current->demand(
      current->comms.contains(comm) && current->comms[comm].registered.erase(handle) == 1,
      "deregistering what is not registered");
  return ncclSuccess;
}

ncclResult_t mem_alloc(void** data, size_t bytes) {
  std::vector<char> block(bytes);
  *data = block.data();
  current->memory[*data] = std::move(block);
  return ncclSuccess;
}

ncclResult_t mem_free(void* data) {
  for (const auto& [comm, state] : current->comms) {
    current->demand(!state.registered.contains(data), "freeing memory that is registered");
  }
  current->demand(current->memory.erase(data) == 1, "freeing memory that is not NCCL's");
  return ncclSuccess;
}

ncclResult_t all_reduce(const void*, void*, size_t count, ncclDataType_t, ncclRedOp_t,
                        ncclComm_t comm, cudaStream_t stream) {
  return current->enqueue(fmt::format("all_reduce {}", count), comm, stream);
}
ncclResult_t reduce_scatter(const void*, void*, size_t count, ncclDataType_t, ncclRedOp_t,
                            ncclComm_t comm, cudaStream_t stream) {
  return current->enqueue(fmt::format("reduce_scatter {}", count), comm, stream);
}
ncclResult_t all_gather(const void*, void*, size_t count, ncclDataType_t, ncclComm_t comm,
                        cudaStream_t stream) {
  return current->enqueue(fmt::format("all_gather {}", count), comm, stream);
}
ncclResult_t broadcast(const void*, void*, size_t count, ncclDataType_t, int, ncclComm_t comm,
                       cudaStream_t stream) {
  return current->enqueue(fmt::format("broadcast {}", count), comm, stream);
}
ncclResult_t send(const void*, size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                  cudaStream_t stream) {
  return current->enqueue(fmt::format("send {} to {}", count, peer), comm, stream);
}
ncclResult_t receive(void*, size_t count, ncclDataType_t, int peer, ncclComm_t comm,
                     cudaStream_t stream) {
  return current->enqueue(fmt::format("receive {} from {}", count, peer), comm, stream);
}

cudaError_t get_device_count(int* count) {
  *count = 8;
  return cudaSuccess;
}
cudaError_t set_device(int device) {
  current->demand(device >= 0 && device < 8, "a device that is not there");
  current->device_is_set = true;
  return cudaSuccess;
}
cudaError_t stream_create(cudaStream_t* stream, unsigned int flags) {
  current->demand(flags == cudaStreamNonBlocking, "a stream that blocks the default stream");
  *stream = current->make_handle<cudaStream_t>();
  current->streams[*stream] = {};
  return cudaSuccess;
}
cudaError_t stream_destroy(cudaStream_t stream) {
  for (const auto& [comm, state] : current->comms) {
    current->demand(state.stream != stream, "destroying a stream whose communicator lives");
  }
  current->demand(current->streams.erase(stream) == 1, "destroying a stream that is gone");
  return cudaSuccess;
}
cudaError_t stream_wait_event(cudaStream_t stream, cudaEvent_t event, unsigned int /*flags*/) {
  current->demand(current->streams.contains(stream), "waiting on a stream that is gone");
  current->demand(current->events.contains(event), "waiting for an event that is gone");
  current->streams[stream].waits_for_default = current->events[event] == cudaStreamLegacy;
  return cudaSuccess;
}
cudaError_t event_create(cudaEvent_t* event, unsigned int /*flags*/) {
  *event = current->make_handle<cudaEvent_t>();
  current->events[*event] = nullptr;
  return cudaSuccess;
}
cudaError_t event_destroy(cudaEvent_t event) {
  current->demand(current->events.erase(event) == 1, "destroying an event that is gone");
  return cudaSuccess;
}
cudaError_t event_record(cudaEvent_t event, cudaStream_t stream) {
  current->demand(current->events.contains(event), "recording an event that is gone");
  current->demand(stream == cudaStreamLegacy || current->streams.contains(stream),
                  "recording on a stream that is gone");
  current->events[event] = stream;
  return cudaSuccess;
}
cudaError_t event_query(cudaEvent_t event) {
  current->demand(current->events.contains(event) && current->events[event] != nullptr,
                  "asking for an event that is not recorded");
  return current->hangs || current->asynchronous_error != ncclSuccess ? cudaErrorNotReady
                                                                      : cudaSuccess;
}
cudaError_t memory_set(void* data, int value, size_t bytes) {
  current->demand(
      current->memory.contains(data) && value == 0 && bytes <= current->memory[data].size(),
      "clearing memory that is not there");
  return cudaSuccess;
}

}  // namespace

NcclDouble::NcclDouble() { current = this; }
NcclDouble::~NcclDouble() { current = nullptr; }

const NcclApi& NcclDouble::api() {
  static const NcclApi api{.get_unique_id = get_unique_id,
                           .comm_init_rank_config = init,
                           .comm_get_async_error = get_async_error,
                           .comm_abort = abort,
                           .comm_finalize = finalize,
                           .comm_destroy = destroy,
                           .comm_register = comm_register,
                           .comm_deregister = comm_deregister,
                           .mem_alloc = mem_alloc,
                           .mem_free = mem_free,
                           .all_reduce = all_reduce,
                           .reduce_scatter = reduce_scatter,
                           .all_gather = all_gather,
                           .broadcast = broadcast,
                           .send = send,
                           .receive = receive,
                           .get_device_count = get_device_count,
                           .set_device = set_device,
                           .stream_create = stream_create,
                           .stream_destroy = stream_destroy,
                           .stream_wait_event = stream_wait_event,
                           .event_create = event_create,
                           .event_destroy = event_destroy,
                           .event_record = event_record,
                           .event_query = event_query,
                           .memory_set = memory_set};
  return api;
}

void NcclDouble::demand(bool holds, const std::string& otherwise) {
  if (!holds) {
    violations.push_back(otherwise);
  }
}

// An operation outside of a group: one at a time, each behind the kernels that made its buffers,
// all of a communicator on one stream.
ncclResult_t NcclDouble::enqueue(const std::string& what, ncclComm_t comm, cudaStream_t stream) {
  demand(comms.contains(comm), what + " on a communicator that is gone");
  demand(comms[comm].state == State::kReady, what + " before the communicator is ready");
  demand(streams.contains(stream), what + " on a stream that is gone");
  demand(streams[stream].waits_for_default, what + " not behind the kernels of the default stream");
  demand(comms[comm].stream == nullptr || comms[comm].stream == stream,
         what + " on another stream");
  for (const auto& [other, state] : comms) {
    demand(other == comm || state.stream != stream, what + " on another communicator's stream");
  }
  comms[comm].stream = stream;
  streams[stream].waits_for_default = false;
  operations.push_back(what);
  return ncclInProgress;
}

std::vector<std::string> NcclDouble::left_open() const {
  std::vector<std::string> open;
  const auto note = [&](std::size_t count, const char* what) {
    if (count > 0) {
      open.push_back(fmt::format("{} {}", count, what));
    }
  };
  note(comms.size(), "communicators");
  note(streams.size(), "streams");
  note(events.size(), "events");
  note(memory.size(), "pieces of memory");
  return open;
}

}  // namespace desta::runtime::testing
