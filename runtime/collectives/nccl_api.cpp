#include "runtime/collectives/nccl_api.h"

namespace desta::runtime {

const NcclApi& library_nccl_api() {
  static const NcclApi api{.get_unique_id = ncclGetUniqueId,
                           .comm_init_rank_config = ncclCommInitRankConfig,
                           .comm_get_async_error = ncclCommGetAsyncError,
                           .comm_abort = ncclCommAbort,
                           .comm_finalize = ncclCommFinalize,
                           .comm_destroy = ncclCommDestroy,
                           .comm_register = ncclCommRegister,
                           .comm_deregister = ncclCommDeregister,
                           .mem_alloc = ncclMemAlloc,
                           .mem_free = ncclMemFree,
                           .all_reduce = ncclAllReduce,
                           .reduce_scatter = ncclReduceScatter,
                           .all_gather = ncclAllGather,
                           .broadcast = ncclBroadcast,
                           .send = ncclSend,
                           .receive = ncclRecv,
                           .get_device_count = cudaGetDeviceCount,
                           .set_device = cudaSetDevice,
                           .stream_create = cudaStreamCreateWithFlags,
                           .stream_destroy = cudaStreamDestroy,
                           .stream_wait_event = cudaStreamWaitEvent,
                           .event_create = cudaEventCreateWithFlags,
                           .event_destroy = cudaEventDestroy,
                           .event_record = cudaEventRecord,
                           .event_query = cudaEventQuery,
                           .memory_set = cudaMemset};
  return api;
}

}  // namespace desta::runtime
