#include "runtime/collectives/nccl_communicator.h"

#include <atomic>
#include <string>
#include <utility>

#include "runtime/collectives/nccl_api.h"
#include "runtime/collectives/nccl_channel.h"
#include "runtime/collectives/operation.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

using Kind = Operation::Kind;

// Which of the GPUs that this process sees serves local rank `device`.
int visible_device(const NcclApi& api, int device) {
  int count = 0;
  const cudaError_t code = api.get_device_count(&count);
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

// What a failed operation leaves to be done, with its error in words; throws.
using Recover = std::function<void(const std::string& error)>;

class NcclWork : public Work {
 public:
  NcclWork(NcclChannel& channel, std::string operation, cudaEvent_t mark, Recover recover)
      : channel_(channel),
        operation_(std::move(operation)),
        mark_(mark),
        recover_(std::move(recover)) {}
  ~NcclWork() override {
    try {
      if (!finished_) {
        wait();
      }
    } catch (const Error& error) {
      log().error("{}", error.what());
    }
    channel_.forget(mark_);
  }
  NcclWork(const NcclWork&) = delete;
  NcclWork& operator=(const NcclWork&) = delete;

  [[nodiscard]] bool done() override {
    return finished_ || guarded([this] { return channel_.passed(mark_, operation_); });
  }
  void wait() override {
    if (!finished_) {
      guarded([this] {
        channel_.wait(mark_, operation_);
        return true;
      });
    }
  }

 private:
  template <typename Action>
  bool guarded(Action action) {
    try {
      finished_ = action();
    } catch (const TransportError& error) {
      finished_ = true;  // failed is finished, too
      recover_(error.what());
      throw;
    }
    return finished_;
  }

  NcclChannel& channel_;
  const std::string operation_;
  const cudaEvent_t mark_;
  const Recover recover_;
  bool finished_ = false;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> bootstrap, NcclCommunicatorOptions options)
      : options_(options),
        api_(*options.api),
        bootstrap_(std::move(bootstrap)),
        collectives_(
            std::make_shared<NcclChannel>(api_, *bootstrap_, options.device, options.timeout)),
        upward_(api_, *bootstrap_, options.device, options.timeout),
        downward_(api_, *bootstrap_, options.device, options.timeout) {}

  [[nodiscard]] int rank() const override { return bootstrap_->rank(); }
  [[nodiscard]] int size() const override { return bootstrap_->size(); }
  [[nodiscard]] std::string_view backend() const override { return "nccl"; }
  // NCCL does not tell hosts apart: `between_hosts` stays 0.
  [[nodiscard]] Traffic traffic() const override { return {sent_, received_, 0}; }
  [[nodiscard]] std::string algorithm(std::size_t /*bytes*/) const override { return "nccl"; }
  [[nodiscard]] std::string algorithms() const override { return "nccl"; }

  [[nodiscard]] SharedBuffer allocate(std::size_t bytes) override {
    check_cuda(api_.set_device(options_.device), "choosing the GPU");
    void* memory = nullptr;
    check_nccl(api_.mem_alloc(&memory, std::max<std::size_t>(bytes, 1)), "taking device memory");
    std::shared_ptr<void> owner(memory,
                                [&api = api_, channel = std::weak_ptr(collectives_)](void* data) {
                                  if (const auto alive = channel.lock()) {
                                    alive->remove_memory(data);
                                  }
                                  api.mem_free(data);
                                });
    check_cuda(api_.memory_set(memory, 0, bytes), "clearing device memory");
    if (bytes > 0) {
      collectives_->add_memory(memory, bytes);
    }
    return {std::move(owner), {static_cast<std::byte*>(memory), bytes}};
  }

  using Communicator::all_reduce;
  void all_reduce(const void* source, void* destination, std::size_t count, DType dtype,
                  ReduceOp op) override {
    all_reduce_async(source, destination, count, dtype, op)->wait();
  }
  void reduce_scatter(const void* source, void* destination, std::size_t count, DType dtype,
                      ReduceOp op) override {
    reduce_scatter_async(source, destination, count, dtype, op)->wait();
  }
  void all_gather(const void* source, void* destination, std::size_t count, DType dtype) override {
    all_gather_async(source, destination, count, dtype)->wait();
  }
  void broadcast(void* data, std::size_t count, DType dtype, int root) override {
    broadcast_async(data, count, dtype, root)->wait();
  }
  void barrier() override { bootstrap_->barrier(); }

  [[nodiscard]] std::unique_ptr<Work> all_reduce_async(const void* source, void* destination,
                                                       std::size_t count, DType dtype,
                                                       ReduceOp op) override {
    const auto ranks = static_cast<std::uint64_t>(size());
    const std::uint64_t moved = 2 * (ranks - 1) * count * size_of(dtype) / ranks;
    return start({.kind = Kind::kAllReduce, .count = count, .dtype = dtype}, moved, moved,
                 [=, this](ncclComm_t communicator, cudaStream_t stream) {
                   return api_.all_reduce(source, destination, count, nccl_type(dtype), nccl_op(op),
                                          communicator, stream);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> reduce_scatter_async(const void* source, void* destination,
                                                           std::size_t count, DType dtype,
                                                           ReduceOp op) override {
    const auto moved = static_cast<std::uint64_t>(size() - 1) * count * size_of(dtype);
    return start({.kind = Kind::kReduceScatter, .count = count, .dtype = dtype}, moved, moved,
                 [=, this](ncclComm_t communicator, cudaStream_t stream) {
                   return api_.reduce_scatter(source, destination, count, nccl_type(dtype),
                                              nccl_op(op), communicator, stream);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> all_gather_async(const void* source, void* destination,
                                                       std::size_t count, DType dtype) override {
    const auto moved = static_cast<std::uint64_t>(size() - 1) * count * size_of(dtype);
    return start({.kind = Kind::kAllGather, .count = count, .dtype = dtype}, moved, moved,
                 [=, this](ncclComm_t communicator, cudaStream_t stream) {
                   return api_.all_gather(source, destination, count, nccl_type(dtype),
                                          communicator, stream);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> broadcast_async(void* data, std::size_t count, DType dtype,
                                                      int root) override {
    check_rank(root);
    const std::uint64_t bytes = count * size_of(dtype);
    return start({.kind = Kind::kBroadcast, .count = count, .dtype = dtype, .peer = root},
                 (rank() + 1) % size() == root ? 0 : bytes, rank() == root ? 0 : bytes,
                 [=, this](ncclComm_t communicator, cudaStream_t stream) {
                   return api_.broadcast(data, data, count, nccl_type(dtype), root, communicator,
                                         stream);
                 });
  }
  [[nodiscard]] std::unique_ptr<Work> barrier_async() override {
    return bootstrap_->barrier_async();
  }

  [[nodiscard]] std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                 int destination, int tag) override {
    check_rank(destination);
    sent_ += bytes;
    return message({.kind = Kind::kSend, .count = bytes, .peer = destination, .tag = tag},
                   channel_between(rank(), destination),
                   [=, this](ncclComm_t communicator, cudaStream_t stream) {
                     return api_.send(data, bytes, ncclUint8, destination, communicator, stream);
                   });
  }
  [[nodiscard]] std::unique_ptr<Work> receive_async(void* data, std::size_t bytes, int source,
                                                    int tag) override {
    check_rank(source);
    received_ += bytes;
    return message({.kind = Kind::kReceive, .count = bytes, .peer = source, .tag = tag},
                   channel_between(source, rank()),
                   [=, this](ncclComm_t communicator, cudaStream_t stream) {
                     return api_.receive(data, bytes, ncclUint8, source, communicator, stream);
                   });
  }

  [[nodiscard]] std::optional<std::size_t> waiting_message(int /*source*/, int /*tag*/) override {
    throw InternalError("NCCL cannot tell whether a message has arrived");
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(int color) override {
    return std::make_unique<NcclCommunicator>(bootstrap_->split(color), options_);
  }

 private:
  [[nodiscard]] std::unique_ptr<Work> start(const Operation& operation, std::uint64_t sent,
                                            std::uint64_t received,
                                            const NcclChannel::Enqueue& enqueue) {
    const std::string text = operation.text();
    sent_ += sent;
    received_ += received;
    try {
      return std::make_unique<NcclWork>(*collectives_, text, collectives_->start(text, enqueue),
                                        [this](const std::string& error) { rebuild(error); });
    } catch (const TransportError& error) {
      rebuild(error.what());
      throw;
    }
  }

  // A message concerns two ranks, which cannot make a communicator of all anew.
  [[nodiscard]] std::unique_ptr<Work> message(const Operation& operation, NcclChannel& channel,
                                              const NcclChannel::Enqueue& enqueue) {
    const std::string text = operation.text();
    return std::make_unique<NcclWork>(channel, text, channel.start(text, enqueue),
                                      [](const std::string&) {});
  }

  // After a collective that failed, on every rank: a rank that is missing ends in an error that
  // names it, for the bootstrap knows its ranks; if none is, NCCL's communicators are made anew.
  void rebuild(const std::string& error) {
    collectives_->abort();
    upward_.abort();
    downward_.abort();
    try {
      bootstrap_->barrier();
      for (NcclChannel* channel : {collectives_.get(), &upward_, &downward_}) {
        channel->rebuild(*bootstrap_);
      }
    } catch (const TransportError& why) {
      throw TransportError("{}; NCCL's communicator cannot be made anew: {}", error, why.what());
    }
    throw TransportError(
        "{}; all ranks answer and NCCL's communicator was made anew: what was under way is lost, "
        "further calls may succeed",
        error);
  }

  // NCCL runs the operations of one communicator one after the other, and a send ends when it is
  // received. Were both directions to share one, two ranks that first send to each other and then
  // receive would wait for ever.
  NcclChannel& channel_between(int sender, int receiver) {
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

  const NcclCommunicatorOptions options_;
  const NcclApi& api_;
  std::unique_ptr<Communicator> bootstrap_;
  const std::shared_ptr<NcclChannel> collectives_;  // shared with the memory that it knows
  NcclChannel upward_;
  NcclChannel downward_;
  std::atomic<std::uint64_t> sent_ = 0;
  std::atomic<std::uint64_t> received_ = 0;
};

}  // namespace

bool nccl_is_built() { return true; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap,
                                                     NcclCommunicatorOptions options) {
  if (options.api == nullptr) {
    options.api = &library_nccl_api();
  }
  options.device = visible_device(*options.api, options.device);
  return std::make_unique<NcclCommunicator>(std::move(bootstrap), options);
}

}  // namespace desta::runtime
