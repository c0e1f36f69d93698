#include "runtime/collectives/mpi_links.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <map>
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

// Calls `piece(offset, bytes)` for the pieces of a message: full ones of kMostAtOnce and, always, a
// shorter last one. A receiver that expects another number of bytes therefore meets a piece of the
// wrong size, whatever the numbers are.
template <typename Piece>
void for_each_piece(std::size_t bytes, const Piece& piece) {
  std::size_t offset = 0;
  for (bool last = false; !last; offset += kMostAtOnce) {
    const std::size_t length = std::min(kMostAtOnce, bytes - offset);
    last = length < kMostAtOnce;
    piece(offset, length);
  }
}

void check_link(int code) {
  if (code != MPI_SUCCESS) {
    throw LinkBroken("{}", mpi_error_text(code));
  }
}

class MpiSend : public PeerLinks::Transfer {
 public:
  MpiSend(MPI_Comm communicator, int peer, int tag, const void* data, std::size_t bytes) {
    for_each_piece(bytes, [&](std::size_t offset, std::size_t length) {
      check_link(MPI_Isend(static_cast<const std::byte*>(data) + offset, static_cast<int>(length),
                           MPI_BYTE, peer, tag, communicator, &requests_.emplace_back()));
    });
  }
  ~MpiSend() override {
    if (!mpi_is_live()) {
      return;
    }
    for (MPI_Request& request : requests_) {
      if (request != MPI_REQUEST_NULL) {
        MPI_Request_free(&request);  // left to finish on its own
      }
    }
  }
  MpiSend(const MpiSend&) = delete;
  MpiSend& operator=(const MpiSend&) = delete;

  [[nodiscard]] bool done() override {
    for (; !requests_.empty(); requests_.pop_front()) {
      int finished = 0;
      check_link(MPI_Test(&requests_.front(), &finished, MPI_STATUS_IGNORE));
      if (finished == 0) {
        return false;
      }
    }
    return true;
  }

 private:
  std::deque<MPI_Request> requests_;
};

// Receives that wait for their messages, in the order in which they were asked for. One is begun
// when its message is there and has the right size. Posted before that, a receive that is shorter
// than its message is overrun: where Open MPI 4.1 reads from the memory of another process of the
// host, it goes by the sender's length (mca_pml_ob1_recv_request_progress_rget).
class Inbox {
 public:
  explicit Inbox(MPI_Comm communicator) : communicator_(communicator) {}

  struct Piece {
    std::byte* data = nullptr;
    std::size_t length = 0;
    bool begun = false;     // the rest is known
    std::size_t bytes = 0;  // of its message
    std::vector<std::byte> unwanted;  // a message of another size: its sender must go on
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void add(int peer, int tag, Piece& piece) {
    const std::lock_guard lock(mutex_);
    waiting_[{peer, tag}].push_back(&piece);
  }
  // Begins what can be of a tag's pieces; true when this one has begun. From then on it is its
  // owner's alone.
  [[nodiscard]] bool begin(int peer, int tag, const Piece& wanted) {
    const std::lock_guard lock(mutex_);
    while (!wanted.begun) {
      int found = 0;
      MPI_Message message = MPI_MESSAGE_NULL;
      MPI_Status status;
      check_link(MPI_Improbe(peer, tag, communicator_, &found, &message, &status));
      if (found == 0) {
        return false;
      }
      const auto queue = waiting_.find({peer, tag});
      Piece& piece = *queue->second.front();
      remove(queue, piece);
      int bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      piece.begun = true;
      piece.bytes = static_cast<std::size_t>(bytes);
      if (piece.bytes != piece.length) {
        piece.unwanted.resize(piece.bytes);
        piece.data = piece.unwanted.data();
      }
      check_link(MPI_Imrecv(piece.data, bytes, MPI_BYTE, &message, &piece.request));
    }
    return true;
  }
  // The owner of the piece goes.
  void give_up(int peer, int tag, Piece& piece) {
    const std::lock_guard lock(mutex_);
    if (const auto queue = waiting_.find({peer, tag}); !piece.begun && queue != waiting_.end()) {
      remove(queue, piece);
    }
    if (piece.request != MPI_REQUEST_NULL && mpi_is_live()) {
      MPI_Request_free(&piece.request);  // it has begun, and may never end when its sender is gone
      kept_.push_back(std::move(piece.unwanted));
    }
  }

 private:
  using Queues = std::map<std::pair<int, int>, std::deque<Piece*>>;
  void remove(Queues::iterator queue, Piece& piece) {
    std::erase(queue->second, &piece);
    if (queue->second.empty()) {
      waiting_.erase(queue);
    }
  }

  const MPI_Comm communicator_;
  std::mutex mutex_;
  Queues waiting_;  // by peer and tag
  std::vector<std::vector<std::byte>> kept_;  // MPI may still write there
};

class MpiReceive : public PeerLinks::Transfer {
 public:
  MpiReceive(Inbox& inbox, int peer, int tag, void* data, std::size_t bytes)
      : inbox_(inbox), peer_(peer), tag_(tag) {
    for_each_piece(bytes, [&](std::size_t offset, std::size_t length) {
      Inbox::Piece& piece = pieces_.emplace_back();
      piece.data = static_cast<std::byte*>(data) + offset;
      piece.length = length;
      inbox_.add(peer, tag, piece);
    });
  }
  ~MpiReceive() override {
    for (Inbox::Piece& piece : pieces_) {
      inbox_.give_up(peer_, tag_, piece);
    }
  }
  MpiReceive(const MpiReceive&) = delete;
  MpiReceive& operator=(const MpiReceive&) = delete;

  [[nodiscard]] bool done() override {
    for (; !pieces_.empty(); pieces_.pop_front(), begun_ = false) {
      Inbox::Piece& piece = pieces_.front();
      begun_ = begun_ || inbox_.begin(peer_, tag_, piece);
      if (!begun_) {
        return false;
      }
      int finished = 0;
      check_link(MPI_Test(&piece.request, &finished, MPI_STATUS_IGNORE));
      if (finished == 0) {
        return false;
      }
      if (piece.bytes != piece.length) {
        throw TransportError("the message of rank {} has {} bytes, not the {} expected", peer_,
                             piece.bytes, piece.length);
      }
    }
    return true;
  }

 private:
  Inbox& inbox_;
  const int peer_;
  const int tag_;
  std::deque<Inbox::Piece> pieces_;  // a deque leaves them where they are
  bool begun_ = false;               // the first of them
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
  explicit MpiLinks(MPI_Comm parent)
      : messages_(parent), notices_(parent), inbox_(messages_.get()) {
    MPI_Comm_rank(messages_.get(), &rank_);
    MPI_Comm_size(messages_.get(), &size_);
  }

  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }

  [[nodiscard]] std::unique_ptr<Transfer> send(int peer, int tag, const void* data,
                                               std::size_t bytes) override {
    return std::make_unique<MpiSend>(messages_.get(), peer, tag, data, bytes);
  }

  [[nodiscard]] std::unique_ptr<Transfer> receive(int peer, int tag, void* data,
                                                  std::size_t bytes) override {
    return std::make_unique<MpiReceive>(inbox_, peer, tag, data, bytes);
  }

  [[nodiscard]] std::optional<std::size_t> waiting_message(int peer, int tag) override {
    int found = 0;
    MPI_Status status;
    check_link(MPI_Iprobe(peer, tag, messages_.get(), &found, &status));
    if (found == 0) {
      return std::nullopt;
    }
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    return static_cast<std::size_t>(bytes);
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
  Inbox inbox_;
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
