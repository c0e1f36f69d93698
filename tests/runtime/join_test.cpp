// Joining and leaving, and messages both ways.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>
#include <thread>

#include "runtime/core/atomic_file.h"
#include "runtime/transport/join_address.h"
#include "runtime/transport/join_link.h"
#include "runtime/transport/join_listener.h"
#include "tests/runtime/join_support.h"

namespace desta::runtime {
namespace {

using testing::Diary;
using testing::quick_options;
using testing::TemporaryFolder;
using testing::text_message;
namespace fs = std::filesystem;

Buffer numbers(std::size_t bytes, std::uint32_t first) {
  std::vector<std::uint32_t> values(bytes / sizeof(std::uint32_t));
  std::iota(values.begin(), values.end(), first);
  return Buffer::of(std::move(values));
}

bool same(const Buffer& a, const Buffer& b) { return std::ranges::equal(a.bytes(), b.bytes()); }

class Join : public ::testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] std::string address() const {
    return GetParam() == "unix" ? "unix:" + (folder_ / "socket").string() : GetParam();
  }
  [[nodiscard]] JoinListener listen(JoinOptions options = quick_options(), int first_node = 5) {
    return {{address()}, token_, first_node, "the job", std::move(options), diary_.events()};
  }
  void start(JoinLink& link, Diary& diary) {
    link.start([&diary](Message message) { diary.message(std::move(message)); },
               [&diary](const std::string& why) { diary.lost(0, why); });
  }

  TemporaryFolder folder_;
  JoinToken token_ = JoinToken::create(folder_ / "token");
  Diary diary_;
};

TEST_P(Join, BothSidesKnowEachOther) {
  JoinListener listener = listen();
  const std::string description("any\0bytes", 9);
  const JoinLink first(listener.addresses()[0], token_, description, quick_options());
  const JoinLink second(listener.addresses()[0], token_, "two", quick_options());
  EXPECT_EQ(first.node(), 5);
  EXPECT_EQ(second.node(), 6);
  EXPECT_EQ(first.job(), "the job");
  ASSERT_TRUE(diary_.wait_joined(2));
  EXPECT_EQ(diary_.joined_nodes()[0], std::pair(5, description));
  EXPECT_EQ(diary_.joined_nodes()[1], std::pair(6, std::string("two")));
}

TEST_P(Join, MessagesComeWholeAndInOrderBothWays) {
  JoinListener listener = listen();
  JoinLink link(listener.addresses()[0], token_, "", quick_options());
  Diary worker;
  start(link, worker);
  constexpr int kMessages = 3000;
  std::thread other([&] {
    for (int i = 0; i < kMessages; ++i) {
      link.send({.from = 5,
                 .to = i,
                 .body = std::string(static_cast<std::size_t>(i % 700), 'a'),
                 .buffers = {numbers(static_cast<std::size_t>(i % 50) * 400, 1)}});
    }
  });
  for (int i = 0; i < kMessages; ++i) {
    listener.send(text_message(i, 5, std::to_string(i)));
  }
  other.join();
  ASSERT_TRUE(worker.wait_messages(kMessages));
  ASSERT_TRUE(diary_.wait_messages(kMessages));
  const auto down = worker.messages();
  const auto up = diary_.messages();
  for (int i = 0; i < kMessages; ++i) {
    const auto index = static_cast<std::size_t>(i);
    EXPECT_EQ(down[index].from, i);
    EXPECT_EQ(down[index].body, std::to_string(i));
    EXPECT_EQ(up[index].from, 5);
    EXPECT_EQ(up[index].to, i);
    EXPECT_EQ(up[index].body.size(), index % 700);
    ASSERT_EQ(up[index].buffers.size(), 1U);
    EXPECT_TRUE(same(up[index].buffers[0], numbers(index % 50 * 400, 1)));
  }
}

TEST_P(Join, LargeMessagesTravelBothWays) {
  JoinListener listener = listen();
  JoinLink link(listener.addresses()[0], token_, "", quick_options());
  Diary worker;
  start(link, worker);
  const Buffer up = numbers(std::size_t{64} << 20, 7);
  const Buffer down = numbers(std::size_t{64} << 20, 9);
  const Buffer small = numbers(400, 11);
  link.send({.from = 5, .to = 0, .body = "up", .buffers = {up, small}});
  listener.send({.from = 0, .to = 5, .body = "down", .buffers = {small, down}});
  ASSERT_TRUE(diary_.wait_messages(1));
  ASSERT_TRUE(worker.wait_messages(1));
  const auto at_job = diary_.messages();
  const auto at_worker = worker.messages();
  ASSERT_EQ(at_job[0].buffers.size(), 2U);
  EXPECT_TRUE(same(at_job[0].buffers[0], up));
  EXPECT_TRUE(same(at_job[0].buffers[1], small));
  ASSERT_EQ(at_worker[0].buffers.size(), 2U);
  EXPECT_TRUE(same(at_worker[0].buffers[0], small));
  EXPECT_TRUE(same(at_worker[0].buffers[1], down));
  EXPECT_EQ(listener.backlog(5), 0U);
  EXPECT_EQ(link.backlog(), 0U);
}

TEST_P(Join, ManyThreadsMaySend) {
  JoinListener listener = listen();
  JoinLink link(listener.addresses()[0], token_, "", quick_options());
  std::vector<std::thread> threads;
  for (int sender = 0; sender < 4; ++sender) {
    threads.emplace_back([&link, sender] {
      for (int i = 0; i < 500; ++i) {
        link.send(
            {.from = 5, .to = sender, .body = std::to_string(i), .buffers = {numbers(40000, 1)}});
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ASSERT_TRUE(diary_.wait_messages(2000));
  std::array<int, 4> next{};
  for (const Message& message : diary_.messages()) {
    EXPECT_EQ(message.body, std::to_string(next[static_cast<std::size_t>(message.to)]++));
  }
}

TEST_P(Join, WhatComesBeforeStartIsKept) {
  JoinListener listener = listen();
  JoinLink link(listener.addresses()[0], token_, "", quick_options());
  ASSERT_TRUE(diary_.wait_joined(1));
  listener.send(text_message(0, 5, "early"));
  listener.drop(5, "because");
  EXPECT_EQ(diary_.why_lost(5), "because");
  Diary worker;
  start(link, worker);
  ASSERT_TRUE(worker.wait_messages(1));
  EXPECT_EQ(worker.messages()[0].body, "early");
  EXPECT_EQ(worker.why_lost(0), "because");
}

TEST_P(Join, GoodbyeIsCleanAndComesAfterTheLastMessage) {
  JoinListener listener = listen();
  {
    JoinLink link(listener.addresses()[0], token_, "", quick_options());
    link.send({.from = 5, .to = 0, .body = "last", .buffers = {numbers(20 << 20, 1)}});
    link.stop();
    EXPECT_THROW(link.send(text_message(5, 0, "")), TransportError);
  }
  EXPECT_EQ(diary_.why_lost(5), kSaidGoodbye);
  EXPECT_EQ(diary_.messages().size(), 1U);
  EXPECT_THROW(listener.send(text_message(0, 5, "")), TransportError);
  EXPECT_EQ(listener.backlog(5), 0U);
  EXPECT_EQ(diary_.losses().size(), 1U);
}

TEST_P(Join, JobsStopIsAGoodbyeAfterTheLastMessage) {
  Diary worker;
  JoinListener listener = listen();
  JoinLink link(listener.addresses()[0], token_, "", quick_options());
  start(link, worker);
  listener.send({.from = 0, .to = 5, .body = "last", .buffers = {numbers(20 << 20, 1)}});
  listener.stop();
  EXPECT_EQ(worker.why_lost(0), kSaidGoodbye);
  EXPECT_EQ(worker.messages().size(), 1U);
  EXPECT_TRUE(diary_.losses().empty());
  EXPECT_THROW(link.send(text_message(5, 0, "")), TransportError);
  EXPECT_THROW(listener.send(text_message(0, 5, "")), TransportError);
}

TEST_P(Join, HundredComingsAndGoingsLeaveNoDescriptorBehind) {
  JoinListener listener = listen(quick_options(), 1);
  const std::size_t before = testing::open_descriptors();
  for (int i = 1; i <= 100; ++i) {
    JoinLink link(listener.addresses()[0], token_, "", quick_options());
    EXPECT_EQ(link.node(), i);  // no number comes twice
  }
  ASSERT_TRUE(diary_.wait_lost(100));
  listener.stop();
  EXPECT_LE(testing::open_descriptors(), before);
}

INSTANTIATE_TEST_SUITE_P(Over, Join, ::testing::Values("127.0.0.1:0", "[::1]:0", "unix"),
                         [](const auto& info) -> std::string {
                           return info.index == 0 ? "Tcp4" : info.index == 1 ? "Tcp6" : "Unix";
                         });

TEST(JoinListener, HasSeveralDoors) {
  const TemporaryFolder folder;
  const JoinToken token = JoinToken::create(folder / "token");
  Diary diary;
  JoinListener listener({"127.0.0.1:0", "unix:" + (folder / "socket").string()}, token, 1, "",
                        quick_options(), diary.events());
  ASSERT_EQ(listener.addresses().size(), 2U);
  const JoinLink first(listener.addresses()[0], token, "", quick_options());
  const JoinLink second(listener.addresses()[1], token, "", quick_options());
  EXPECT_NE(first.node(), second.node());
}

TEST(JoinListener, UnixSocketIsItsOwnersAloneAndGoesWithTheJob) {
  const TemporaryFolder folder;
  const JoinToken token = JoinToken::create(folder / "token");
  const std::string path = folder / "socket";
  Diary diary;
  {
    JoinListener listener({"unix:" + path}, token, 1, "", quick_options(), diary.events());
    struct stat status {};
    ASSERT_EQ(::lstat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_THROW(JoinListener({"unix:" + path}, token, 1, "", quick_options(), {}), TransportError);
    const JoinLink link("unix:" + path, token, "", quick_options());
  }
  EXPECT_FALSE(fs::exists(path));
  // A file that is no socket is left alone.
  write_file_atomically(path, "precious");
  EXPECT_THROW(JoinListener({"unix:" + path}, token, 1, "", quick_options(), {}), TransportError);
  EXPECT_EQ(read_file(path), "precious");
}

TEST(JoinListener, SaysWhereItCannotListen) {
  const TemporaryFolder folder;
  const JoinToken token = JoinToken::create(folder / "token");
  JoinListener listener({"127.0.0.1:0"}, token, 1, "", quick_options(), {});
  const std::string taken = listener.addresses()[0];
  try {
    JoinListener second({taken}, token, 1, "", quick_options(), {});
    FAIL();
  } catch (const TransportError& error) {
    EXPECT_NE(std::string(error.what()).find(taken), std::string::npos);
  }
  for (const char* wrong : {"", "7000", "host", "host:", "host:x", "host:70000", "::1:7000",
                            "[::1]", ":7000", "unix:", "host:-1"}) {
    EXPECT_THROW((void)parse_join_address(wrong), ConfigError) << wrong;
  }
  EXPECT_THROW((void)parse_join_address("unix:" + std::string(108, 'a')), ConfigError);
  EXPECT_EQ(parse_join_address("[::1]:7000").host, "::1");
}

TEST(JoinToken, IsAFileForItsOwnerAlone) {
  const TemporaryFolder folder;
  const fs::path path = folder / "token";
  const JoinToken made = JoinToken::create(path);
  struct stat status {};
  ASSERT_EQ(::lstat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(read_file(path).size(), 65U);
  EXPECT_TRUE(same_mac(JoinToken::read(path).mac("text"), made.mac("text")));
  const JoinToken again = JoinToken::create(path);
  EXPECT_FALSE(same_mac(again.mac("text"), made.mac("text")));

  for (const int mode : {0640, 0604, 0660, 0644}) {
    ::chmod(path.c_str(), static_cast<mode_t>(mode));
    try {
      (void)JoinToken::read(path);
      ADD_FAILURE() << mode;
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find("chmod 600"), std::string::npos);
    }
  }
}

TEST(JoinToken, MacIsHmacSha256) {
  const TemporaryFolder folder;
  const fs::path path = folder / "token";
  write_file_atomically(path, std::string(64, '0') + "\n");
  ::chmod(path.c_str(), 0600);
  // printf '' | openssl dgst -sha256 -mac HMAC -macopt hexkey:00..00 (32 bytes)
  const auto mac = JoinToken::read(path).mac("");
  EXPECT_EQ(
      fmt::format("{:02x}{:02x}{:02x}{:02x}", static_cast<int>(mac[0]), static_cast<int>(mac[1]),
                  static_cast<int>(mac[2]), static_cast<int>(mac[3])),
      "b613679a");
}

TEST(JoinToken, WhatIsNoTokenIsRefused) {
  const TemporaryFolder folder;
  const fs::path path = folder / "token";
  EXPECT_THROW((void)JoinToken::read(path), ConfigError);
  EXPECT_THROW((void)JoinToken::read(folder / ""), ConfigError);
  for (const std::string& text : {std::string(), std::string(63, 'a'), std::string(66, 'a'),
                                  std::string(64, 'x'), std::string(64, 'a') + "\n\n"}) {
    write_file_atomically(path, text);
    ::chmod(path.c_str(), 0600);
    EXPECT_THROW((void)JoinToken::read(path), ConfigError) << text;
  }
  write_file_atomically(folder / "target", "untouched");
  fs::remove(path);
  fs::create_symlink(folder / "target", path);
  EXPECT_THROW((void)JoinToken::create(path), ConfigError);
  EXPECT_EQ(read_file(folder / "target"), "untouched");
}

}  // namespace
}  // namespace desta::runtime
