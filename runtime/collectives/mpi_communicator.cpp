#include "runtime/collectives/mpi_communicator.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "runtime/collectives/mpi_requests.h"
#include "runtime/collectives/reduction.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

// An all-reduce works through the buffer in pieces of this size, a broadcast in smaller ones since
// it passes them along a chain.
constexpr std::size_t kReducePiece = std::size_t{8} << 20;
constexpr std::size_t kBroadcastPiece = std::size_t{1} << 20;
constexpr int kCollectiveTag = 1;

// Closes a duplicated MPI communicator, unless an error unwinds and peers may be gone.
class OwnedComm {
 public:
  OwnedComm(MPI_Comm parent) {
    check_mpi(MPI_Comm_dup(parent, &handle_), "making a communicator");
    MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN);
  }
  ~OwnedComm() {
    if (std::uncaught_exceptions() == 0 && mpi_is_live()) {
      MPI_Comm_free(&handle_);
    }
  }
  OwnedComm(const OwnedComm&) = delete;
  OwnedComm& operator=(const OwnedComm&) = delete;
  [[nodiscard]] MPI_Comm get() const { return handle_; }

 private:
  MPI_Comm handle_ = MPI_COMM_NULL;
};

// Calls `transfer(offset, bytes)` for the pieces of a point-to-point message: full ones of
// kMaxTransfer and, always, a shorter last one. A receiver that expects another number of bytes
// therefore meets a piece of the wrong size, whatever the numbers are.
template <typename Transfer>
void for_each_piece(std::size_t bytes, Transfer transfer) {
  std::size_t offset = 0;
  for (; bytes - offset >= MpiRequests::kMaxTransfer; offset += MpiRequests::kMaxTransfer) {
    transfer(offset, MpiRequests::kMaxTransfer);
  }
  transfer(offset, bytes - offset);
}

class SendWork : public Work {
 public:
  SendWork(std::string operation, std::chrono::milliseconds timeout)
      : operation_(std::move(operation)), timeout_(timeout) {}
  ~SendWork() override {
    try {
      if (!failed_ && mpi_is_live()) {
        wait();
      }
    } catch (const Error& error) {
      log().error("{}", error.what());
    }
  }
  [[nodiscard]] MpiRequests& requests() { return requests_; }

  [[nodiscard]] bool done() override {
    return guard([this] { return requests_.done(operation_); });
  }
  void wait() override {
    guard([this] {
      requests_.wait(operation_, timeout_);
      return true;
    });
  }

 private:
  template <typename Action>
  bool guard(Action action) {
    try {
      return action();
    } catch (...) {
      failed_ = true;
      throw;
    }
  }

  const std::string operation_;
  const std::chrono::milliseconds timeout_;
  MpiRequests requests_;
  bool failed_ = false;
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm parent, MpiCommunicatorOptions options)
      : options_(options), messages_(parent), collectives_(parent) {
    MPI_Comm_rank(messages_.get(), &rank_);
    MPI_Comm_size(messages_.get(), &size_);
  }

  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }
  [[nodiscard]] std::string_view backend() const override { return "mpi"; }
  [[nodiscard]] Traffic traffic() const override { return {sent_, received_}; }

  // Rank r owns segment r of each piece: it gathers the segment from everyone, reduces in rank
  // order, and hands the result to everyone.
  void all_reduce(void* data, std::size_t count, DType dtype, ReduceOp op) override {
    if (size_ == 1) {
      return;
    }
    const std::string operation = fmt::format("all-reduce of {} {}", count, name_of(dtype));
    const std::size_t width = size_of(dtype);
    auto* bytes = static_cast<std::byte*>(data);
    const std::size_t piece = kReducePiece / width;
    for (std::size_t begin = 0; begin < count; begin += piece) {
      reduce_piece(bytes + begin * width, std::min(piece, count - begin), dtype, op, operation);
    }
  }

  // Pieces travel along the chain root, root + 1, ...: a rank passes one on while it takes the
  // next.
  void broadcast(void* data, std::size_t count, DType dtype, int root) override {
    check_rank(root);
    const std::size_t bytes = count * size_of(dtype);
    const std::string operation = fmt::format("broadcast of {} bytes from rank {}", bytes, root);
    const int previous = (rank_ + size_ - 1) % size_;
    const int next = (rank_ + 1) % size_;
    MpiRequests sends;
    for (std::size_t offset = 0; offset < bytes; offset += kBroadcastPiece) {
      const std::size_t length = std::min(kBroadcastPiece, bytes - offset);
      std::byte* piece = static_cast<std::byte*>(data) + offset;
      if (rank_ != root) {
        MpiRequests receive;
        receive.receive(piece, length, previous, kCollectiveTag, collectives_.get());
        receive.wait(operation, options_.timeout);
        received_ += length;
      }
      if (next != root) {
        sends.send(piece, length, next, kCollectiveTag, collectives_.get());
        sent_ += length;
      }
    }
    sends.wait(operation, options_.timeout);
  }

  // An empty message from everyone to everyone, so that a timeout names who is missing.
  void barrier() override {
    MpiRequests requests;
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) {
        requests.receive(nullptr, 0, peer, kCollectiveTag, collectives_.get());
        requests.send(nullptr, 0, peer, kCollectiveTag, collectives_.get());
      }
    }
    requests.wait("barrier", options_.timeout);
  }

  void receive(void* data, std::size_t bytes, int source, int tag) override {
    check_rank(source);
    MpiRequests requests;
    for_each_piece(bytes, [&](std::size_t offset, std::size_t length) {
      requests.receive(static_cast<std::byte*>(data) + offset, length, source, tag,
                       messages_.get());
    });
    requests.wait(fmt::format("receive of {} bytes from rank {} (tag {})", bytes, source, tag),
                  options_.timeout);
    received_ += source == rank_ ? 0 : bytes;
  }

  [[nodiscard]] std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                 int destination, int tag) override {
    check_rank(destination);
    auto work = std::make_unique<SendWork>(
        fmt::format("send of {} bytes to rank {} (tag {})", bytes, destination, tag),
        options_.timeout);
    for_each_piece(bytes, [&](std::size_t offset, std::size_t length) {
      work->requests().send(static_cast<const std::byte*>(data) + offset, length, destination, tag,
                            messages_.get());
    });
    sent_ += destination == rank_ ? 0 : bytes;
    return work;
  }

  [[nodiscard]] std::unique_ptr<Communicator> split(int color) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(messages_.get(), color, rank_, &part), "splitting a communicator");
    auto result = std::make_unique<MpiCommunicator>(part, options_);
    MPI_Comm_free(&part);
    return result;
  }

 private:
  void check_rank(int peer) const {
    if (peer < 0 || peer >= size_) {
      throw TransportError("there is no rank {}: this communicator has {}", peer, size_);
    }
  }

  void reduce_piece(std::byte* data, std::size_t count, DType dtype, ReduceOp op,
                    const std::string& operation) {
    const std::size_t width = size_of(dtype);
    const auto ranks = static_cast<std::size_t>(size_);
    const auto own = static_cast<std::size_t>(rank_);
    const auto begin_of = [&](std::size_t segment) { return count * segment / ranks * width; };
    const auto bytes_of = [&](std::size_t segment) {
      return begin_of(segment + 1) - begin_of(segment);
    };
    scratch_.resize(bytes_of(own) * (ranks - 1));
    std::vector<const void*> contributions(ranks);
    MpiRequests gather;
    std::byte* place = scratch_.data();
    for (std::size_t peer = 0; peer < ranks; ++peer) {
      contributions[peer] = peer == own ? data + begin_of(own) : place;
      if (peer != own) {
        gather.receive(place, bytes_of(own), static_cast<int>(peer), kCollectiveTag,
                       collectives_.get());
        place += bytes_of(own);
      }
    }
    for_each_peer([&](std::size_t peer) {
      gather.send(data + begin_of(peer), bytes_of(peer), static_cast<int>(peer), kCollectiveTag,
                  collectives_.get());
    });
    gather.wait(operation, options_.timeout);

    reduce_contributions(contributions, data + begin_of(own), bytes_of(own) / width, dtype, op);

    MpiRequests share;
    for_each_peer([&](std::size_t peer) {
      share.receive(data + begin_of(peer), bytes_of(peer), static_cast<int>(peer), kCollectiveTag,
                    collectives_.get());
      share.send(data + begin_of(own), bytes_of(own), static_cast<int>(peer), kCollectiveTag,
                 collectives_.get());
    });
    share.wait(operation, options_.timeout);
    const std::size_t others = count * width - bytes_of(own);
    sent_ += others + bytes_of(own) * (ranks - 1);
    received_ += others + bytes_of(own) * (ranks - 1);
  }

  // Every rank starts with its neighbour, so that not all begin with rank 0.
  template <typename Action>
  void for_each_peer(Action action) const {
    for (int step = 1; step < size_; ++step) {
      action(static_cast<std::size_t>((rank_ + step) % size_));
    }
  }

  const MpiCommunicatorOptions options_;
  const OwnedComm messages_;
  const OwnedComm collectives_;
  int rank_ = 0;
  int size_ = 1;
  std::vector<std::byte> scratch_;
  std::atomic<std::uint64_t> sent_ = 0;
  std::atomic<std::uint64_t> received_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm parent,
                                                    MpiCommunicatorOptions options) {
  return std::make_unique<MpiCommunicator>(parent, options);
}

}  // namespace desta::runtime
