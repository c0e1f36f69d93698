#include "runtime/transport/frame.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace desta::runtime {
namespace {

constexpr std::string_view kMagic = "dsta";
constexpr std::size_t kCheckedHeaderBytes = 48;
constexpr std::size_t kStagingBytes = std::size_t{64} << 10;
constexpr std::uint64_t kFirstBlock = std::uint64_t{1} << 20;
constexpr std::uint64_t kGrowth = 8;

template <typename T>
void append(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff));
  }
}

template <typename T>
T read_at(const std::string& in, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(in[offset + i])} << (8 * i);
  }
  return static_cast<T>(value);
}

struct StateDeleter {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

std::uint64_t header_checksum(const std::string& header) {
  return XXH3_64bits(header.data(), kCheckedHeaderBytes);
}

}  // namespace

struct FrameReader::Checksum {
  std::unique_ptr<XXH3_state_t, StateDeleter> state{XXH3_createState()};

  Checksum() {
    if (state == nullptr) {
      throw std::bad_alloc();
    }
    XXH3_64bits_reset(state.get());
  }
  void add(std::span<const std::byte> bytes) {
    XXH3_64bits_update(state.get(), bytes.data(), bytes.size());
  }
  std::uint64_t finish() {
    const std::uint64_t digest = XXH3_64bits_digest(state.get());
    XXH3_64bits_reset(state.get());
    return digest;
  }
};

EncodedFrame::EncodedFrame(FrameType type, Message message)
    : body_(std::move(message.body)), buffers_(std::move(message.buffers)) {
  std::string table;
  for (const Buffer& buffer : buffers_) {
    append<std::uint64_t>(table, buffer.size());
    size_ += buffer.size();
  }
  size_ += table.size() + body_.size();

  std::uint64_t checksum = 0;
  if (buffers_.empty()) {
    checksum = XXH3_64bits(body_.data(), body_.size());
  } else {
    const std::unique_ptr<XXH3_state_t, StateDeleter> state(XXH3_createState());
    if (state == nullptr) {
      throw std::bad_alloc();
    }
    XXH3_64bits_reset(state.get());
    XXH3_64bits_update(state.get(), table.data(), table.size());
    XXH3_64bits_update(state.get(), body_.data(), body_.size());
    for (const Buffer& buffer : buffers_) {
      XXH3_64bits_update(state.get(), buffer.data(), buffer.size());
    }
    checksum = XXH3_64bits_digest(state.get());
  }

  head_.reserve(kFrameHeaderBytes + table.size());
  head_.append(kMagic);
  append(head_, kFrameVersion);
  append(head_, static_cast<std::uint8_t>(type));
  append<std::uint8_t>(head_, 0);
  append(head_, static_cast<std::uint32_t>(message.from));
  append(head_, static_cast<std::uint32_t>(message.to));
  append(head_, static_cast<std::uint32_t>(buffers_.size()));
  append<std::uint32_t>(head_, 0);
  append<std::uint64_t>(head_, body_.size());
  append<std::uint64_t>(head_, size_);
  append(head_, checksum);
  append(head_, header_checksum(head_));
  head_.append(table);
  size_ += kFrameHeaderBytes;
}

std::span<const std::byte> EncodedFrame::part(std::size_t index) const {
  if (index == 0) {
    return std::as_bytes(std::span(head_));
  }
  return index == 1 ? std::as_bytes(std::span(body_)) : buffers_[index - 2].bytes();
}

FrameReader::FrameReader(FrameLimits limits)
    : limits_(limits),
      staging_(std::make_unique_for_overwrite<std::byte[]>(kStagingBytes)),
      checksum_(std::make_unique<Checksum>()) {}

FrameReader::~FrameReader() = default;

std::array<std::span<std::byte>, 2> FrameReader::space() {
  std::span<std::byte> direct;
  if (part_ == Part::kBuffer && missing_ > 0) {
    make_room();
    direct = room_;
  }
  return {direct, {staging_.get(), kStagingBytes}};
}

void FrameReader::filled(std::size_t count) {
  const std::size_t direct = std::min(count, room_.size());
  if (direct > 0) {
    checksum_->add(room_.first(direct));
    room_ = room_.subspan(direct);
    built_ += direct;
    missing_ -= direct;
    arrived_ += direct;
  }
  staged_ = {staging_.get(), count - direct};
}

std::optional<Frame> FrameReader::next() {
  if (error_) {
    throw FrameError(*error_);
  }
  try {
    while (true) {
      if (missing_ == 0) {
        if (finish_part()) {
          return finish_frame();
        }
      } else if (staged_.empty()) {
        return std::nullopt;
      } else {
        absorb();
      }
    }
  } catch (const FrameError& error) {
    error_ = error;
    builder_.reset();
    room_ = {};
    frame_ = {};
    throw;
  }
}

// Moves staged bytes to the part that lacks them.
void FrameReader::absorb() {
  if (part_ == Part::kBuffer) {
    make_room();
  }
  auto count = static_cast<std::size_t>(std::min<std::uint64_t>(missing_, staged_.size()));
  if (part_ == Part::kBuffer) {
    count = std::min(count, room_.size());
  }
  const auto bytes = staged_.first(count);
  staged_ = staged_.subspan(count);
  missing_ -= count;
  if (part_ != Part::kHeader) {
    checksum_->add(bytes);
    arrived_ += count;
  }
  if (part_ == Part::kBuffer) {
    std::memcpy(room_.data(), bytes.data(), count);
    room_ = room_.subspan(count);
    built_ += count;
  } else {
    std::string& text = part_ == Part::kBody ? frame_.message.body : head_;
    text.append(reinterpret_cast<const char*>(bytes.data()), count);
  }
}

// Goes on to the next part; true when there is none.
bool FrameReader::finish_part() {
  switch (part_) {
    case Part::kHeader:
      read_header();
      part_ = Part::kTable;
      return false;
    case Part::kTable:
      read_table();
      part_ = Part::kBody;
      missing_ = body_length_;
      return false;
    case Part::kBody:
      break;
    case Part::kBuffer:
      frame_.message.buffers.push_back(builder_ ? std::move(*builder_).finish() : Buffer());
      builder_.reset();
      break;
  }
  return !begin_buffer();
}

void FrameReader::read_header() {
  if (!head_.starts_with(kMagic)) {
    throw FrameError(FrameFault::kMagic, "the bytes are no frame of desta");
  }
  if (const auto version = read_at<std::uint16_t>(head_, 4); version != kFrameVersion) {
    throw FrameError(FrameFault::kVersion,
                     "frames of version {}, and this program speaks version {}; start the same "
                     "build on both sides",
                     version, kFrameVersion);
  }
  if (header_checksum(head_) != read_at<std::uint64_t>(head_, kCheckedHeaderBytes)) {
    throw FrameError(FrameFault::kHeader, "a frame's header is damaged");
  }
  const auto type = read_at<std::uint8_t>(head_, 6);
  if (type < static_cast<std::uint8_t>(FrameType::kMessage) ||
      type > static_cast<std::uint8_t>(FrameType::kGoodbye)) {
    throw FrameError(FrameFault::kType, "a frame of the unknown type {}", type);
  }
  frame_.type = static_cast<FrameType>(type);
  const bool is_message = frame_.type == FrameType::kMessage;
  if (is_message && !limits_.messages) {
    throw FrameError(FrameFault::kType, "a message before the connection is proven");
  }
  frame_.message.from = static_cast<std::int32_t>(read_at<std::uint32_t>(head_, 8));
  frame_.message.to = static_cast<std::int32_t>(read_at<std::uint32_t>(head_, 12));
  const std::uint64_t buffers = read_at<std::uint32_t>(head_, 16);
  body_length_ = read_at<std::uint64_t>(head_, 24);
  payload_length_ = read_at<std::uint64_t>(head_, 32);
  expected_checksum_ = read_at<std::uint64_t>(head_, 40);

  const std::uint64_t max_body = is_message ? limits_.max_body : kMaxControlBody;
  const std::uint64_t max_payload = is_message ? limits_.max_message : kMaxControlBody;
  if (body_length_ > max_body || payload_length_ > max_payload || buffers > kMaxFrameBuffers) {
    throw FrameError(FrameFault::kLimit,
                     "a frame of {} bytes with a body of {} and {} buffers; the limits are {}, {} "
                     "and {}",
                     payload_length_, body_length_, buffers, max_payload, max_body,
                     kMaxFrameBuffers);
  }
  const std::uint64_t fixed = buffers * sizeof(std::uint64_t) + body_length_;
  const bool reserved_are_zero =
      read_at<std::uint8_t>(head_, 7) == 0 && read_at<std::uint32_t>(head_, 20) == 0;
  if (!reserved_are_zero || fixed > payload_length_ || (!is_message && buffers != 0) ||
      (buffers == 0 && fixed != payload_length_)) {
    throw FrameError(FrameFault::kLengths, "a frame's lengths contradict each other");
  }
  head_.clear();
  missing_ = buffers * sizeof(std::uint64_t);
}

void FrameReader::read_table() {
  lengths_.clear();
  std::uint64_t rest = payload_length_ - head_.size() - body_length_;
  for (std::size_t at = 0; at < head_.size(); at += sizeof(std::uint64_t)) {
    const auto length = read_at<std::uint64_t>(head_, at);
    if (length > rest) {
      throw FrameError(FrameFault::kLengths, "a frame's buffers are longer than the frame");
    }
    rest -= length;
    lengths_.push_back(length);
  }
  if (rest != 0) {
    throw FrameError(FrameFault::kLengths, "a frame is {} bytes longer than its parts", rest);
  }
  next_buffer_ = 0;
}

bool FrameReader::begin_buffer() {
  if (next_buffer_ == lengths_.size()) {
    return false;
  }
  part_ = Part::kBuffer;
  missing_ = lengths_[next_buffer_++];
  built_ = 0;
  return true;
}

// Leaves at least one free byte in the builder. At most kGrowth times what has arrived.
void FrameReader::make_room() {
  if (!room_.empty()) {
    return;
  }
  const std::uint64_t whole = built_ + missing_;
  BufferBuilder larger(
      static_cast<std::size_t>(std::min(whole, std::max(kFirstBlock, arrived_ * kGrowth))));
  if (builder_) {
    std::memcpy(larger.bytes().data(), builder_->bytes().data(), built_);
  }
  builder_.emplace(std::move(larger));
  room_ = builder_->bytes().subspan(built_);
}

Frame FrameReader::finish_frame() {
  if (checksum_->finish() != expected_checksum_) {
    throw FrameError(FrameFault::kPayload, "a frame of {} bytes is damaged", payload_length_);
  }
  part_ = Part::kHeader;
  missing_ = kFrameHeaderBytes;
  head_.clear();
  lengths_.clear();
  arrived_ = 0;
  return std::exchange(frame_, {});
}

}  // namespace desta::runtime
