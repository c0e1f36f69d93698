#include "runtime/collectives/nccl_communicator.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::chrono::microseconds kPollInterval{50};

void check_cuda(cudaError_t code, const std::string& what) {
  if (code != cudaSuccess) {
    throw TransportError("{}: CUDA: {}", what, cudaGetErrorString(code));
  }
}

void check_nccl(ncclResult_t code, const std::string& what) {
  if (code != ncclSuccess) {
    throw TransportError("{}: NCCL: {}", what, ncclGetErrorString(code));
  }
}

// Which of the GPUs that this process sees serves local rank `device`.
int visible_device(int device) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess || count == 0) {
    throw ConfigError(
        "the 'nccl' communicator needs a GPU and this machine offers none ({}); "
        "choose 'mpi'",
        cudaGetErrorString(code));
  }
  // A launcher may show each rank a GPU of its own and no other.
  if (count > 1 && device >= count) {
    throw ConfigError(
        "the 'nccl' communicator needs one GPU a rank: local rank {} finds only {}; "
        "start fewer ranks on this host or choose 'mpi'",
        device, count);
  }
  return count == 1 ? 0 : device;
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kFloat16:
      return ncclFloat16;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kInt32:
      return ncclInt32;
    case DType::kInt64:
      return ncclInt64;
    case DType::kUInt8:
      return ncclUint8;
  }
  throw InternalError("no NCCL type for dtype {}", static_cast<int>(dtype));
}

ncclRedOp_t nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return ncclSum;
    case ReduceOp::kAverage:
      return ncclAvg;
    case ReduceOp::kMax:
      return ncclMax;
    case ReduceOp::kMin:
      return ncclMin;
  }
  throw InternalError("no NCCL operation for {}", static_cast<int>(op));
}

// One NCCL communicator with the stream that its operations run on.
class Channel {
 public:
  Channel(Communicator& bootstrap, int device, milliseconds timeout) : timeout_(timeout) {
    ncclUniqueId id{};
    if (bootstrap.rank() == 0) {
      check_nccl(ncclGetUniqueId(&id), "making an identifier");
    }
    bootstrap.broadcast(&id, sizeof(id), DType::kUInt8, 0);
    check_cuda(cudaSetDevice(device), "choosing a GPU");
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    check_cuda(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "making an event");
    const ncclResult_t code =
        ncclCommInitRank(&communicator_, bootstrap.size(), id, bootstrap.rank());
    if (code != ncclSuccess) {
      cudaEventDestroy(ready_);
      cudaStreamDestroy(stream_);
      check_nccl(code, "joining the communicator");
    }
  }

  ~Channel() {
    if (communicator_ != nullptr) {
      ncclCommDestroy(communicator_);
    }
    cudaEventDestroy(ready_);
    cudaStreamDestroy(stream_);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] cudaStream_t stream() const { return stream_; }

  // What the channel does next waits for the kernels that the default stream has been given so far:
  // they make the buffers.
  void follow_default_stream() {
    check_cuda(cudaEventRecord(ready_, cudaStreamLegacy), "marking the default stream");
    check_cuda(cudaStreamWaitEvent(stream_, ready_, 0), "waiting for the default stream");
  }

  // Throws when an earlier failure has ended the channel.
  [[nodiscard]] ncclComm_t communicator() const {
    if (communicator_ == nullptr) {
      throw TransportError("this NCCL communicator was aborted after an earlier error");
    }
    return communicator_;
  }

  // True when `event` has passed. Aborts the communicator when NCCL reports an error.
  [[nodiscard]] bool passed(cudaEvent_t event, const std::string& operation) {
    const cudaError_t state = cudaEventQuery(event);
    if (state == cudaSuccess) {
      return true;
    }
    ncclResult_t failure = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(communicator(), &failure);
    if (state != cudaErrorNotReady || asked != ncclSuccess || failure != ncclSuccess) {
      abort();
      check_cuda(state == cudaErrorNotReady ? cudaSuccess : state, operation);
      check_nccl(asked, operation);
      check_nccl(failure, operation);
    }
    return false;
  }

  void wait(cudaEvent_t event, const std::string& operation) {
    const Clock::time_point deadline = Clock::now() + timeout_;
    while (!passed(event, operation)) {
      if (Clock::now() > deadline) {
        abort();
        throw TransportError("{}: not finished within {} s; are all its ranks still alive?",
                             operation, std::chrono::duration<double>(timeout_).count());
      }
      std::this_thread::sleep_for(kPollInterval);
    }
  }

 private:
  void abort() {
    if (communicator_ != nullptr) {
      ncclCommAbort(communicator_);
      communicator_ = nullptr;
    }
  }

  const milliseconds timeout_;
  ncclComm_t communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;
};

class NcclWork : public Work {
 public:
  NcclWork(Channel& channel, std::string operation)
      : channel_(channel), operation_(std::move(operation)) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
    const cudaError_t code = cudaEventRecord(event_, channel_.stream());
    if (code != cudaSuccess) {
      cudaEventDestroy(event_);
      check_cuda(code, operation_);
    }
  }
  ~NcclWork() override {
    try {
      if (!finished_) {
        wait();
      }
    } catch (const Error& error) {
      log().error("{}", error.what());
    }
    cudaEventDestroy(event_);
  }

  [[nodiscard]] bool done() override {
    finished_ = finished_ || channel_.passed(event_, operation_);
    return finished_;
  }
  void wait() override {
    if (!finished_) {
      finished_ = true;  // failed is finished, too
      channel_.wait(event_, operation_);
    }
  }

 private:
  Channel& channel_;
  const std::string operation_;
  cudaEvent_t event_ = nullptr;
  bool finished_ = false;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> bootstrap, NcclCommunicatorOptions options)
      : options_(options),
        bootstrap_(std::move(bootstrap)),
        collectives_(*bootstrap_, options.device, options.timeout),
        upward_(*bootstrap_, options.device, options.timeout),
        downward_(*bootstrap_, options.device, options.timeout) {}

  [[nodiscard]] int rank() const override { return bootstrap_->rank(); }
  [[nodiscard]] int size() const override { return bootstrap_->size(); }
  [[nodiscard]] std::string_view backend() const override { return "nccl"; }
  [[nodiscard]] Traffic traffic() const override { return {sent_, received_}; }

  void all_reduce(void* data, std::size_t count, DType dtype, ReduceOp op) override {
    const std::string operation = fmt::format("all-reduce of {} {}", count, name_of(dtype));
    use_device();
    collectives_.follow_default_stream();
    check_nccl(ncclAllReduce(data, data, count, nccl_type(dtype), nccl_op(op),
                             collectives_.communicator(), collectives_.stream()),
               operation);
    NcclWork(collectives_, operation).wait();
    const auto ranks = static_cast<std::uint64_t>(size());
    const std::uint64_t moved = 2 * (ranks - 1) * count * size_of(dtype) / ranks;
    sent_ += moved;
    received_ += moved;
  }

  void broadcast(void* data, std::size_t count, DType dtype, int root) override {
    check_rank(root);
    const std::string operation = fmt::format("broadcast of {} elements from rank {}", count, root);
    use_device();
    collectives_.follow_default_stream();
    check_nccl(ncclBroadcast(data, data, count, nccl_type(dtype), root, collectives_.communicator(),
                             collectives_.stream()),
               operation);
    NcclWork(collectives_, operation).wait();
    const std::uint64_t bytes = count * size_of(dtype);
    sent_ += (rank() + 1) % size() == root ? 0 : bytes;
    received_ += rank() == root ? 0 : bytes;
  }

  void barrier() override { bootstrap_->barrier(); }

  void receive(void* data, std::size_t bytes, int source, int tag) override {
    check_rank(source);
    const std::string operation =
        fmt::format("receive of {} bytes from rank {} (tag {})", bytes, source, tag);
    Channel& channel = channel_between(source, rank());
    use_device();
    channel.follow_default_stream();
    check_nccl(ncclRecv(data, bytes, ncclUint8, source, channel.communicator(), channel.stream()),
               operation);
    NcclWork(channel, operation).wait();
    received_ += bytes;
  }

  [[nodiscard]] std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                 int destination, int tag) override {
    check_rank(destination);
    const std::string operation =
        fmt::format("send of {} bytes to rank {} (tag {})", bytes, destination, tag);
    Channel& channel = channel_between(rank(), destination);
    use_device();
    channel.follow_default_stream();
    check_nccl(
        ncclSend(data, bytes, ncclUint8, destination, channel.communicator(), channel.stream()),
        operation);
    sent_ += bytes;
    return std::make_unique<NcclWork>(channel, operation);
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(int color) override {
    return std::make_unique<NcclCommunicator>(bootstrap_->split(color), options_);
  }

 private:
  // NCCL runs the operations of one communicator one after the other, and a send ends when it is
  // received. Were both directions to share one, two ranks that first send to each other and then
  // receive would wait for ever.
  Channel& channel_between(int sender, int receiver) {
    if (sender == receiver) {
      throw TransportError("rank {} cannot send to itself over NCCL", sender);
    }
    return sender < receiver ? upward_ : downward_;
  }

  void check_rank(int peer) const {
    if (peer < 0 || peer >= size()) {
      throw TransportError("there is no rank {}: this communicator has {}", peer, size());
    }
  }

  // The current device belongs to the thread, and any thread may call.
  void use_device() const { check_cuda(cudaSetDevice(options_.device), "choosing the GPU"); }

  const NcclCommunicatorOptions options_;
  std::unique_ptr<Communicator> bootstrap_;
  Channel collectives_;
  Channel upward_;
  Channel downward_;
  std::atomic<std::uint64_t> sent_ = 0;
  std::atomic<std::uint64_t> received_ = 0;
};

}  // namespace

bool nccl_is_built() { return true; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap,
                                                     NcclCommunicatorOptions options) {
  options.device = visible_device(options.device);
  return std::make_unique<NcclCommunicator>(std::move(bootstrap), options);
}

}  // namespace desta::runtime
