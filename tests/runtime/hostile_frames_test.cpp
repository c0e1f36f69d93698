// Bytes that an enemy might send: a million damaged frames for the reader, and tens of thousands of
// bad connections for a listener. Nothing crashes, nothing is delivered that should not be, memory
// stays where it was, and a good worker is served afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>

#include "runtime/core/hash.h"
#include "runtime/transport/join_link.h"
#include "runtime/transport/join_listener.h"
#include "tests/runtime/join_support.h"

namespace desta::runtime {
namespace {

using testing::bytes_of;
using testing::Diary;
using testing::feed;
using testing::RawPeer;
using testing::TemporaryFolder;
using testing::text_message;

// A sanitizer's own memory is not the reader's.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsMeasured = false;
#else
constexpr bool kMemoryIsMeasured = true;
#endif

class PeakMemory {
 public:
  PeakMemory() {
    std::ofstream("/proc/self/clear_refs") << "5";
    start_ = testing::status_kilobytes("VmRSS");
  }
  [[nodiscard]] long grown_megabytes() const {
    return (testing::status_kilobytes("VmHWM") - start_) / 1024;
  }

 private:
  long start_;
};

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {
    corpus_ = {
        bytes_of(EncodedFrame(FrameType::kPing, {})),
        bytes_of(EncodedFrame(FrameType::kGoodbye, {})),
        bytes_of(EncodedFrame(FrameType::kRefusal, text_message(0, 0, "\n\x1b[2Jwhy"))),
        bytes_of(EncodedFrame(FrameType::kHello,
                              text_message(0, 0, encode_hello({{}, "test build", "worker"})))),
        bytes_of(EncodedFrame(FrameType::kProof, text_message(0, 0, std::string(32, 'p')))),
        bytes_of(
            EncodedFrame(FrameType::kWelcome, text_message(0, 0, encode_welcome({{}, 7, "job"})))),
        bytes_of(EncodedFrame(FrameType::kMessage, text_message(1, 2, "a message"))),
        bytes_of(EncodedFrame(FrameType::kMessage,
                              {.from = 1,
                               .to = 2,
                               .body = "body",
                               .buffers = {Buffer::of(std::vector<char>(100)), Buffer(),
                                           Buffer::of(std::vector<char>(3000, 'x'))}})),
    };
  }

  [[nodiscard]] std::uint64_t below(std::uint64_t end) { return random_() % end; }

  [[nodiscard]] std::string next() {
    if (below(50) == 0) {
      return noise();
    }
    std::string bytes = pick();
    if (below(3) == 0) {
      bytes += pick();
    }
    for (std::uint64_t i = 0; i <= below(3); ++i) {
      damage(bytes);
    }
    return bytes;
  }

 private:
  [[nodiscard]] const std::string& pick() { return corpus_[below(corpus_.size())]; }

  [[nodiscard]] std::string noise() {
    std::string bytes(below(500), '\0');
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random_()); });
    return bytes;
  }

  // A length as an enemy likes it.
  [[nodiscard]] std::uint64_t length() {
    switch (below(4)) {
      case 0:
        return below(4096);
      case 1:
        return std::uint64_t{1} << below(64);
      case 2:
        return (std::uint64_t{1} << below(64)) - 1;
      default:
        return random_();
    }
  }

  void damage(std::string& bytes) {
    if (bytes.empty()) {
      return;
    }
    switch (below(6)) {
      case 0: {  // a bit
        char& byte = bytes[below(bytes.size())];
        byte = static_cast<char>(byte ^ 1 << below(8));
        break;
      }
      case 1:  // an end that is missing
        bytes.resize(below(bytes.size()));
        return;
      case 2: {  // a splice
        const std::string& other = pick();
        bytes = bytes.substr(0, below(bytes.size())) + other.substr(below(other.size()));
        break;
      }
      case 3: {  // a byte too much
        bytes.insert(below(bytes.size()), 1, static_cast<char>(random_()));
        break;
      }
      default: {  // a field of the header or of the table
        static constexpr std::array<std::size_t, 9> kFields{4, 6, 8, 16, 20, 24, 32, 56, 64};
        const std::size_t at = kFields[below(kFields.size())];
        const std::uint64_t value = length();
        const std::size_t width = at < 24 ? 4 : 8;
        if (at + width <= bytes.size()) {
          std::memcpy(bytes.data() + at, &value, width);
        }
      }
    }
    if (below(4) != 0 && bytes.size() >= kFrameHeaderBytes) {
      const std::uint64_t checksum = hash64(std::string_view(bytes).substr(kFrameHeaderBytes));
      std::memcpy(bytes.data() + 40, &checksum, 8);
      testing::sign_header(bytes);
    }
  }

  std::mt19937_64 random_;
  std::vector<std::string> corpus_;
};

TEST(HostileFrames, MillionDamagedFramesAreReadOrRefused) {
  const FrameLimits limits{
      .messages = true, .max_body = 64 << 20, .max_message = std::size_t{4} << 30};
  Mutator mutator(1);
  const PeakMemory memory;
  std::size_t refused = 0;
  std::size_t read = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    FrameReader reader(limits);
    const std::string bytes = mutator.next();
    try {
      std::string_view rest = bytes;
      while (!rest.empty()) {
        const std::size_t piece = 1 + mutator.below(rest.size());
        for (const Frame& frame : feed(reader, rest.substr(0, piece))) {
          ASSERT_LE(frame.message.bytes(), bytes.size());
          ++read;
        }
        rest.remove_prefix(piece);
      }
    } catch (const FrameError&) {
      ++refused;
    }
  }
  // Both happen often, or the mutations are no test.
  EXPECT_GT(refused, 300'000U);
  EXPECT_GT(read, 50'000U);
  if (kMemoryIsMeasured) {
    EXPECT_LT(memory.grown_megabytes(), 16);
  }
}

TEST(HostileFrames, ClaimsOfGigabytesCostNothing) {
  Mutator mutator(2);
  std::string bytes = bytes_of(EncodedFrame(
      FrameType::kMessage,
      {.from = 0, .to = 0, .body = "", .buffers = {Buffer::of(std::vector<char>(8))}}));
  const std::uint64_t claimed = std::uint64_t{1} << 30;
  const std::uint64_t payload = claimed + 8;
  std::memcpy(bytes.data() + 32, &payload, 8);
  std::memcpy(bytes.data() + 56, &claimed, 8);
  testing::sign_header(bytes);
  const PeakMemory memory;
  const long before = testing::status_kilobytes("VmSize");
  std::vector<std::unique_ptr<FrameReader>> readers;
  for (int i = 0; i < 64; ++i) {
    readers.push_back(std::make_unique<FrameReader>(
        FrameLimits{.messages = true, .max_body = 0, .max_message = std::size_t{4} << 30}));
    EXPECT_TRUE(feed(*readers.back(), bytes).empty());
  }
  if (kMemoryIsMeasured) {
    EXPECT_LT(testing::status_kilobytes("VmSize") - before, 256 * 1024);  // reserved
    EXPECT_LT(memory.grown_megabytes(), 32);                              // touched
  }
}

class HostilePeers : public ::testing::Test {
 protected:
  HostilePeers() {
    options_.build = "test build";
    options_.max_unproven = 500;
    listener_ = std::make_unique<JoinListener>(
        std::vector<std::string>{"unix:" + (folder_ / "socket").string(), "127.0.0.1:0"}, token_, 1,
        "", options_, diary_.events());
  }

  void expect_good_worker_is_served() {
    JoinLink link(listener_->addresses()[1], token_, "good", options_);
    Diary worker;
    link.start([&](Message message) { worker.message(std::move(message)); },
               [&](const std::string& why) { worker.lost(0, why); });
    listener_->send(text_message(0, link.node(), "well?"));
    EXPECT_TRUE(worker.wait_messages(1));
  }

  TemporaryFolder folder_;
  JoinToken token_ = JoinToken::create(folder_ / "token");
  JoinOptions options_;
  Diary diary_;
  std::unique_ptr<JoinListener> listener_;
};

TEST_F(HostilePeers, StrangersGetNothingIn) {
  Mutator mutator(3);
  const PeakMemory memory;
  const std::size_t descriptors = testing::open_descriptors();
  for (int i = 0; i < 30'000; ++i) {
    RawPeer peer(listener_->addresses()[i % 4 == 0 ? 1 : 0]);
    if (mutator.below(2) == 0) {  // the second step
      peer.write(FrameType::kHello, encode_hello({{}, "test build", "enemy"}));
    }
    peer.write(mutator.next());
    if (i % 8 == 0) {
      peer.write(FrameType::kMessage, "let me in", 1);
      peer.end_of_writing();
      EXPECT_TRUE(peer.is_closed());
    }
    peer.reset();
  }
  EXPECT_TRUE(diary_.joined_nodes().empty());
  EXPECT_TRUE(diary_.messages().empty());
  EXPECT_TRUE(diary_.losses().empty());
  expect_good_worker_is_served();
  EXPECT_LE(testing::open_descriptors(), descriptors + 16);
  if (kMemoryIsMeasured) {
    EXPECT_LT(memory.grown_megabytes(), 128);
  }
}

TEST_F(HostilePeers, WorkersGoneBadHarmThemselvesAlone) {
  constexpr int kWorkers = 5000;
  Mutator mutator(4);
  const PeakMemory memory;
  for (int i = 0; i < kWorkers; ++i) {
    RawPeer peer(listener_->addresses()[0]);
    const int node = peer.prove(token_, {{}, "test build", "turncoat"});
    ASSERT_EQ(node, i + 1);
    for (int frame = 0; frame < 4; ++frame) {
      peer.write(mutator.next());
    }
    peer.reset();
  }
  EXPECT_TRUE(diary_.wait_lost(kWorkers));
  EXPECT_EQ(diary_.joined_nodes().size(), static_cast<std::size_t>(kWorkers));
  // All the frames are from node 1, and only the first worker is that.
  EXPECT_LE(diary_.messages().size(), 8U);
  expect_good_worker_is_served();
  if (kMemoryIsMeasured) {
    EXPECT_LT(memory.grown_megabytes(), 128);
  }
}

}  // namespace
}  // namespace desta::runtime
