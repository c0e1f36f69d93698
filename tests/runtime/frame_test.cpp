#include "runtime/transport/frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "tests/runtime/join_support.h"

namespace desta::runtime {
namespace {

using testing::bytes_of;
using testing::feed;

constexpr FrameLimits kLimits{.messages = true, .max_body = 1 << 20, .max_message = 64 << 20};

Buffer counted(std::size_t size, unsigned seed) {
  std::vector<unsigned char> bytes(size);
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(seed));
  return Buffer::of(std::move(bytes));
}

bool same(const Buffer& a, const Buffer& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

Message sample() {
  return {.from = -3,
          .to = 70000,
          .body = "body",
          .buffers = {counted(10, 1), Buffer(), counted(300000, 2)}};
}

void expect_sample(const Frame& frame) {
  const Message expected = sample();
  EXPECT_EQ(frame.type, FrameType::kMessage);
  EXPECT_EQ(frame.message.from, -3);
  EXPECT_EQ(frame.message.to, 70000);
  EXPECT_EQ(frame.message.body, "body");
  ASSERT_EQ(frame.message.buffers.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(same(frame.message.buffers[i], expected.buffers[i])) << i;
  }
}

std::optional<FrameFault> fault_of(const std::string& bytes, const FrameLimits& limits = kLimits) {
  FrameReader reader(limits);
  try {
    (void)feed(reader, bytes);
  } catch (const FrameError& error) {
    EXPECT_THROW((void)reader.next(), FrameError);
    return error.fault();
  }
  return std::nullopt;
}

TEST(Frame, IsWrittenAsTheHeaderSays) {
  const std::string bytes = bytes_of(EncodedFrame(
      FrameType::kMessage, {.from = 1, .to = 0x0203, .body = "hi", .buffers = {counted(3, 7)}}));
  const std::string expected_start(
      "dsta\x01\x00\x01\x00"
      "\x01\x00\x00\x00\x03\x02\x00\x00"
      "\x01\x00\x00\x00\x00\x00\x00\x00"
      "\x02\x00\x00\x00\x00\x00\x00\x00"
      "\x0d\x00\x00\x00\x00\x00\x00\x00",
      40);
  EXPECT_EQ(bytes.substr(0, 40), expected_start);
  EXPECT_EQ(bytes.substr(56), std::string("\x03\0\0\0\0\0\0\0hi\x07\x08\x09", 13));
}

TEST(Frame, EmptyPayloadHasTheChecksumOfNothing) {
  // XXH3_64bits of no bytes with seed 0, from the reference implementation's test vectors.
  const std::string bytes =
      bytes_of(EncodedFrame(FrameType::kPing, testing::text_message(0, 0, "")));
  EXPECT_EQ(bytes.size(), kFrameHeaderBytes);
  EXPECT_EQ(bytes.substr(40, 8), std::string("\xc2\x94\xd3\x38\x05\x80\x06\x2d", 8));
}

TEST(Frame, ComesOutAsItWentIn) {
  FrameReader reader(kLimits);
  const std::string bytes = bytes_of(EncodedFrame(FrameType::kMessage, sample()));
  const auto frames = feed(reader, bytes + bytes);
  ASSERT_EQ(frames.size(), 2U);
  expect_sample(frames[0]);
  expect_sample(frames[1]);
}

TEST(Frame, ComesOutHoweverTheBytesAreCut) {
  const std::string bytes = bytes_of(EncodedFrame(FrameType::kMessage, sample())) +
                            bytes_of(EncodedFrame(FrameType::kPing, {})) +
                            bytes_of(EncodedFrame(FrameType::kMessage, sample()));
  for (const std::size_t step : {1U, 2U, 7U, 55U, 56U, 57U, 4096U, 65536U, 65537U, 200000U}) {
    FrameReader reader(kLimits);
    std::vector<Frame> frames;
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      for (Frame& frame : feed(reader, std::string_view(bytes).substr(at, step))) {
        frames.push_back(std::move(frame));
      }
    }
    ASSERT_EQ(frames.size(), 3U) << step;
    expect_sample(frames[0]);
    EXPECT_EQ(frames[1].type, FrameType::kPing);
    expect_sample(frames[2]);
  }
}

TEST(Frame, ReceivedBuffersAreAligned) {
  FrameReader reader(kLimits);
  const auto frames = feed(reader, bytes_of(EncodedFrame(FrameType::kMessage, sample())));
  ASSERT_EQ(frames.size(), 1U);
  for (const Buffer& buffer : frames[0].message.buffers) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
  }
}

TEST(Frame, HoldsTheBuffersThatItSends) {
  const Message message = sample();
  const std::byte* data = message.buffers[2].data();
  const EncodedFrame frame(FrameType::kMessage, message);
  EXPECT_EQ(frame.part(4).data(), data);
}

TEST(FrameReader, ReadsLargeBuffersIntoPlace) {
  FrameReader reader(kLimits);
  const Message message{.from = 0, .to = 0, .body = "", .buffers = {counted(1 << 20, 3)}};
  const std::string bytes = bytes_of(EncodedFrame(FrameType::kMessage, message));
  EXPECT_TRUE(reader.space()[0].empty());
  (void)feed(reader, std::string_view(bytes).substr(0, kFrameHeaderBytes + 8 + 100));
  const auto place = reader.space()[0];
  ASSERT_EQ(place.size(), (1U << 20) - 100);
  const std::byte* start = place.data() - 100;
  const auto frames = feed(reader, std::string_view(bytes).substr(kFrameHeaderBytes + 108));
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].message.buffers[0].data(), start);
  EXPECT_TRUE(same(frames[0].message.buffers[0], message.buffers[0]));
}

TEST(FrameReader, TakesNoMoreThanEightTimesWhatHasArrived) {
  FrameReader reader(kLimits);
  const Message message{.from = 0, .to = 0, .body = "", .buffers = {counted(40 << 20, 5)}};
  const std::string bytes = bytes_of(EncodedFrame(FrameType::kMessage, message));
  std::size_t at = kFrameHeaderBytes + 8;
  (void)feed(reader, std::string_view(bytes).substr(0, at));
  std::vector<Frame> frames;
  while (frames.empty()) {
    const std::size_t arrived = at - kFrameHeaderBytes;
    EXPECT_LE(reader.space()[0].size() + arrived,
              std::max<std::size_t>((1U << 20) + 8, 8 * arrived + 8));
    frames = feed(reader, std::string_view(bytes).substr(at, 50000));
    at += 50000;
  }
  EXPECT_TRUE(same(frames[0].message.buffers[0], message.buffers[0]));
}

TEST(FrameReader, FindsEveryFlippedBit) {
  const std::string bytes = bytes_of(EncodedFrame(
      FrameType::kMessage, {.from = 1, .to = 2, .body = "body", .buffers = {counted(9, 1)}}));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_TRUE(fault_of(damaged).has_value()) << "bit " << bit;
  }
}

// A header with these values and a checksum that is right.
std::string header(FrameType type, std::uint32_t buffers, std::uint64_t body,
                   std::uint64_t payload) {
  std::string bytes = bytes_of(EncodedFrame(type, {}));
  std::memcpy(bytes.data() + 16, &buffers, 4);
  std::memcpy(bytes.data() + 24, &body, 8);
  std::memcpy(bytes.data() + 32, &payload, 8);
  testing::sign_header(bytes);
  return bytes;
}

TEST(FrameReader, SaysWhatIsWrong) {
  const std::string good = bytes_of(EncodedFrame(FrameType::kPing, {}));
  std::string bytes = good;
  bytes[0] = 'G';
  EXPECT_EQ(fault_of(bytes), FrameFault::kMagic);
  bytes = good;
  bytes[4] = 2;
  EXPECT_EQ(fault_of(bytes), FrameFault::kVersion);
  bytes = good;
  bytes[50] ^= 1;
  EXPECT_EQ(fault_of(bytes), FrameFault::kHeader);
  bytes = bytes_of(EncodedFrame(FrameType::kHello, testing::text_message(0, 0, "text")));
  bytes.back() ^= 1;
  EXPECT_EQ(fault_of(bytes), FrameFault::kPayload);

  EXPECT_EQ(fault_of(header(FrameType{0}, 0, 0, 0)), FrameFault::kType);
  EXPECT_EQ(fault_of(header(FrameType{9}, 0, 0, 0)), FrameFault::kType);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 0, 0, 0), FrameLimits{}), FrameFault::kType);
  const std::uint64_t huge = ~std::uint64_t{0};
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 0, huge, huge)), FrameFault::kLimit);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 1, 0, (64U << 20) + 1)), FrameFault::kLimit);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 0, (1U << 20) + 1, (1U << 20) + 1)),
            FrameFault::kLimit);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 65537, 0, 65537 * 8)), FrameFault::kLimit);
  EXPECT_EQ(fault_of(header(FrameType::kHello, 0, kMaxControlBody + 1, kMaxControlBody + 1)),
            FrameFault::kLimit);
  EXPECT_EQ(fault_of(header(FrameType::kHello, 1, 0, 8)), FrameFault::kLengths);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 0, 5, 6)), FrameFault::kLengths);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 2, 5, 20)), FrameFault::kLengths);
  // One buffer that is longer than the frame, or shorter.
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 1, 0, 8) + std::string("\x01\0\0\0\0\0\0\0", 8)),
            FrameFault::kLengths);
  EXPECT_EQ(fault_of(header(FrameType::kMessage, 1, 0, 12) + std::string("\x03\0\0\0\0\0\0\0", 8)),
            FrameFault::kLengths);
}

TEST(FrameReader, LimitsAreThoseOfTheMoment) {
  FrameReader reader(FrameLimits{});
  EXPECT_EQ(feed(reader, bytes_of(EncodedFrame(FrameType::kPing, {}))).size(), 1U);
  reader.set_limits(kLimits);
  EXPECT_EQ(feed(reader, bytes_of(EncodedFrame(FrameType::kMessage, sample()))).size(), 1U);
}

}  // namespace
}  // namespace desta::runtime
