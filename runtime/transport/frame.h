// Frames: messages as bytes of a stream, for the connections of workers that join a running job.
//
// A frame is a header of 56 bytes, a table with the length of each buffer (8 bytes each), the body
// and the buffers. Integers are little-endian.
//
//   offset  bytes
//        0      4  "dsta"
//        4      2  version (1)
//        6      1  type
//        7      1  zero
//        8      4  from (signed)
//       12      4  to (signed)
//       16      4  number of buffers
//       20      4  zero
//       24      8  length of the body
//       32      8  length of all that follows the header
//       40      8  XXH3-64 of all that follows the header
//       48      8  XXH3-64 of the bytes 0 to 47
//
// The checksums find damage and lost places in the stream. They keep nobody out: see join_token.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/core/buffer.h"
#include "runtime/core/error.h"
#include "runtime/transport/message.h"

namespace desta::runtime {

enum class FrameType : std::uint8_t {
  kMessage = 1,  // all others have a body and no buffers
  kHello,
  kChallenge,
  kProof,
  kWelcome,
  kRefusal,  // the body says why; the connection ends
  kPing,
  kGoodbye,
};

inline constexpr std::uint16_t kFrameVersion = 1;
inline constexpr std::size_t kFrameHeaderBytes = 56;
inline constexpr std::size_t kMaxFrameBuffers = 65536;
inline constexpr std::size_t kMaxControlBody = std::size_t{72} << 10;

// What a reader accepts.
struct FrameLimits {
  bool messages = false;        // false: control frames alone
  std::size_t max_body = 0;     // of a message
  std::size_t max_message = 0;  // table, body and buffers
};

enum class FrameFault : std::uint8_t {
  kMagic,    // no frame of ours begins here
  kVersion,  // another version of this format
  kHeader,   // the header is damaged
  kType,     // an unknown type, or a message where none is allowed
  kLimit,    // longer than the limits allow
  kLengths,  // lengths that contradict each other
  kPayload,  // what follows the header is damaged
};

class FrameError : public TransportError {
 public:
  template <typename... Args>
  explicit FrameError(FrameFault fault, fmt::format_string<Args...> format, Args&&... args)
      : TransportError("{}", fmt::format(format, std::forward<Args>(args)...)), fault_(fault) {}

  [[nodiscard]] FrameFault fault() const { return fault_; }

 private:
  FrameFault fault_;
};

struct Frame {
  FrameType type = FrameType::kMessage;
  Message message;  // control frames use the body alone
};

// A frame on its way out: the parts that follow one another on the wire. The body and the buffers
// are held, not copied.
class EncodedFrame {
 public:
  EncodedFrame(FrameType type, Message message);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t part_count() const { return 2 + buffers_.size(); }
  [[nodiscard]] std::span<const std::byte> part(std::size_t index) const;

 private:
  std::string head_;  // header and table
  std::string body_;
  std::vector<Buffer> buffers_;
  std::size_t size_ = 0;
};

// Finds the frames in a stream. It knows no socket: the owner asks for space, puts bytes there and
// takes frames out until there are none.
//
//   const auto space = reader.space();
//   reader.filled(read_into(space));
//   while (auto frame = reader.next()) { ... }
//
// A buffer's bytes go straight to where they stay. Memory grows with what has arrived, not with
// what a header claims: a buffer over 1 MiB begins with 1 MiB and is moved to a place of up to
// eight times what has arrived of its frame whenever it is full.
class FrameReader {
 public:
  explicit FrameReader(FrameLimits limits);
  ~FrameReader();
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  // For the frames whose header has not been read.
  void set_limits(FrameLimits limits) { limits_ = limits; }

  // Where the next bytes go: first the rest of a buffer that is being read (may be empty), then at
  // least 64 KiB. Only after next() has returned nothing. Throws std::bad_alloc.
  [[nodiscard]] std::array<std::span<std::byte>, 2> space();
  // `count` bytes were put there.
  void filled(std::size_t count);
  // The next whole frame, if there is one. Throws FrameError, and from then on always.
  [[nodiscard]] std::optional<Frame> next();

 private:
  enum class Part : std::uint8_t { kHeader, kTable, kBody, kBuffer };
  struct Checksum;

  void absorb();
  [[nodiscard]] bool finish_part();
  void read_header();
  void read_table();
  [[nodiscard]] bool begin_buffer();
  void make_room();
  [[nodiscard]] Frame finish_frame();

  FrameLimits limits_;
  std::unique_ptr<std::byte[]> staging_;
  std::span<const std::byte> staged_;  // of it: arrived and not looked at

  Part part_ = Part::kHeader;
  std::uint64_t missing_ = kFrameHeaderBytes;  // bytes of this part
  std::string head_;                           // the header, then the table
  Frame frame_;
  std::uint64_t body_length_ = 0;
  std::uint64_t payload_length_ = 0;
  std::uint64_t expected_checksum_ = 0;
  std::uint64_t arrived_ = 0;  // of the payload
  std::vector<std::uint64_t> lengths_;
  std::size_t next_buffer_ = 0;
  std::optional<BufferBuilder> builder_;
  std::size_t built_ = 0;      // bytes of it that are filled
  std::span<std::byte> room_;  // of it: not filled yet
  std::unique_ptr<Checksum> checksum_;
  std::optional<FrameError> error_;
};

}  // namespace desta::runtime
