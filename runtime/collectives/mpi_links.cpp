#include "runtime/collectives/mpi_links.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;
constexpr int kNoticeTag = 0;

// Closes a duplicated MPI communicator, unless an error unwinds and peers may be gone.
class OwnedComm {
 public:
  explicit OwnedComm(MPI_Comm parent) {
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

class MpiTransfer : public PeerLinks::Transfer {
 public:
  enum class Direction : std::uint8_t { kSend, kReceive };

  MpiTransfer(Direction direction, int peer, std::size_t bytes)
      : direction_(direction), peer_(peer), bytes_(bytes) {}
  ~MpiTransfer() override {
    if (!mpi_is_live()) {
      return;
    }
    for (MPI_Request& request : requests_) {
      if (direction_ == Direction::kSend || !is_taken_back(request)) {
        MPI_Request_free(&request);  // left to finish on its own
      }
    }
  }
  MpiTransfer(const MpiTransfer&) = delete;
  MpiTransfer& operator=(const MpiTransfer&) = delete;

  // Calls `start(offset, bytes, request)` for the pieces of the message: full ones of kMostAtOnce
  // and, always, a shorter last one. A receiver that expects another number of bytes therefore
  // meets a piece of the wrong size, whatever the numbers are.
  template <typename Start>
  void start_pieces(Start start) {
    std::size_t offset = 0;
    for (bool last = false; !last; offset += kMostAtOnce) {
      const std::size_t length = std::min(kMostAtOnce, bytes_ - offset);
      last = length < kMostAtOnce;
      MPI_Request request = MPI_REQUEST_NULL;
      if (const int code = start(offset, static_cast<int>(length), &request); code != MPI_SUCCESS) {
        throw LinkBroken("{}", mpi_error_text(code));
      }
      requests_.push_back(request);
      lengths_.push_back(length);
    }
  }

  [[nodiscard]] bool done() override {
    for (; !requests_.empty(); requests_.pop_front(), lengths_.pop_front()) {
      int finished = 0;
      MPI_Status status;
      const int code = MPI_Test(&requests_.front(), &finished, &status);
      if (code != MPI_SUCCESS) {
        const std::size_t length = lengths_.front();
        requests_.pop_front();
        fail(code, length);
      }
      if (finished == 0) {
        return false;
      }
      check_length(status, lengths_.front());
    }
    return true;
  }

 private:
  // MPI takes back a receive only if its message has not begun to come. One that has begun may
  // never end, when its sender is gone.
  static bool is_taken_back(MPI_Request& request) {
    MPI_Cancel(&request);
    int finished = 0;
    for (int look = 0; look < 100 && finished == 0; ++look) {
      if (MPI_Test(&request, &finished, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
        return true;
      }
    }
    return finished != 0;
  }

  [[noreturn]] void fail(int code, std::size_t length) const {
    int error_class = MPI_SUCCESS;
    MPI_Error_class(code, &error_class);
    if (error_class == MPI_ERR_TRUNCATE) {
      throw TransportError("the message of rank {} has more than the {} bytes expected", peer_,
                           length);
    }
    throw LinkBroken("{}", mpi_error_text(code));
  }

  void check_length(const MPI_Status& status, std::size_t length) const {
    if (direction_ == Direction::kSend) {
      return;
    }
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (static_cast<std::size_t>(bytes) != length) {
      throw TransportError("the message of rank {} has {} bytes, not the {} expected", peer_, bytes,
                           length);
    }
  }

  const Direction direction_;
  const int peer_;
  const std::size_t bytes_;
  std::deque<MPI_Request> requests_;
  std::deque<std::size_t> lengths_;
};

// MPI's own all-reduce under way. It cannot be taken back: like a send that nobody receives, it is
// left alone when it is given up.
class MpiAllReduce : public PeerLinks::Transfer {
 public:
  [[nodiscard]] MPI_Request* request() { return &request_; }
  [[nodiscard]] bool done() override {
    int finished = 0;
    check_mpi(MPI_Test(&request_, &finished, MPI_STATUS_IGNORE), "MPI_Iallreduce");
    return finished != 0;
  }

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return MPI_FLOAT;
    case DType::kFloat64:
      return MPI_DOUBLE;
    case DType::kInt32:
      return MPI_INT32_T;
    case DType::kInt64:
      return MPI_INT64_T;
    case DType::kUInt8:
      return MPI_UINT8_T;
    case DType::kFloat16:
    case DType::kBFloat16:
      break;
  }
  return MPI_DATATYPE_NULL;
}

MPI_Op mpi_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kMax:
      return MPI_MAX;
    case ReduceOp::kMin:
      return MPI_MIN;
    case ReduceOp::kSum:
    case ReduceOp::kAverage:
      break;
  }
  return MPI_SUM;
}

class MpiLinks : public PeerLinks {
 public:
  explicit MpiLinks(MPI_Comm parent) : messages_(parent), notices_(parent) {
    MPI_Comm_rank(messages_.get(), &rank_);
    MPI_Comm_size(messages_.get(), &size_);
  }

  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }

  [[nodiscard]] std::unique_ptr<Transfer> send(int peer, int tag, const void* data,
                                               std::size_t bytes) override {
    auto transfer = std::make_unique<MpiTransfer>(MpiTransfer::Direction::kSend, peer, bytes);
    transfer->start_pieces([&](std::size_t offset, int length, MPI_Request* request) {
      return MPI_Isend(static_cast<const std::byte*>(data) + offset, length, MPI_BYTE, peer, tag,
                       messages_.get(), request);
    });
    return transfer;
  }

  [[nodiscard]] std::unique_ptr<Transfer> receive(int peer, int tag, void* data,
                                                  std::size_t bytes) override {
    auto transfer = std::make_unique<MpiTransfer>(MpiTransfer::Direction::kReceive, peer, bytes);
    transfer->start_pieces([&](std::size_t offset, int length, MPI_Request* request) {
      return MPI_Irecv(static_cast<std::byte*>(data) + offset, length, MPI_BYTE, peer, tag,
                       messages_.get(), request);
    });
    return transfer;
  }

  [[nodiscard]] std::unique_ptr<Transfer> native_all_reduce(const void* source, void* destination,
                                                            std::size_t count, DType dtype,
                                                            ReduceOp op) override {
    const MPI_Datatype type = mpi_type(dtype);
    if (type == MPI_DATATYPE_NULL || count * size_of(dtype) > kMostAtOnce) {
      return nullptr;
    }
    auto transfer = std::make_unique<MpiAllReduce>();
    check_mpi(MPI_Iallreduce(source == destination ? MPI_IN_PLACE : source, destination,
                             static_cast<int>(count), type, mpi_op(op), messages_.get(),
                             transfer->request()),
              "MPI_Iallreduce");
    return transfer;
  }

  void notify(int peer, Notice notice) override {
    const std::lock_guard lock(mutex_);
    Notice& kept = sent_.emplace_back(notice);
    MPI_Request request = MPI_REQUEST_NULL;
    // A peer that is gone cannot be told.
    if (MPI_Isend(&kept, sizeof(kept), MPI_BYTE, peer, kNoticeTag, notices_.get(), &request) ==
        MPI_SUCCESS) {
      MPI_Request_free(&request);
    }
  }

  [[nodiscard]] std::optional<Received> next_notice() override {
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kNoticeTag, notices_.get(), &found, &message, &status),
              "looking for notices");
    if (found == 0) {
      return std::nullopt;
    }
    Received received{status.MPI_SOURCE, {}};
    check_mpi(MPI_Mrecv(&received.notice, sizeof(Notice), MPI_BYTE, &message, MPI_STATUS_IGNORE),
              "taking a notice");
    return received;
  }

  [[nodiscard]] std::unique_ptr<PeerLinks> split(int color) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(messages_.get(), color, rank_, &part), "splitting a communicator");
    MPI_Comm_set_errhandler(part, MPI_ERRORS_RETURN);
    auto links = std::make_unique<MpiLinks>(part);
    MPI_Comm_free(&part);
    return links;
  }

 private:
  const OwnedComm messages_;
  const OwnedComm notices_;
  int rank_ = 0;
  int size_ = 1;
  std::mutex mutex_;
  std::deque<Notice> sent_;  // MPI may still read them
};

}  // namespace

std::unique_ptr<PeerLinks> make_mpi_links(MPI_Comm parent) {
  return std::make_unique<MpiLinks>(parent);
}

}  // namespace desta::runtime
