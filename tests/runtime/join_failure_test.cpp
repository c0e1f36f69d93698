// Workers that may not join, and peers that die, fall silent or misbehave.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "runtime/transport/join_link.h"
#include "runtime/transport/join_listener.h"
#include "tests/runtime/join_support.h"

namespace desta::runtime {
namespace {

using testing::Diary;
using testing::quick_options;
using testing::RawPeer;
using testing::TemporaryFolder;
using testing::text_message;
using testing::WorkerProcess;
namespace fs = std::filesystem;

class JoinFailure : public ::testing::Test {
 protected:
  JoinFailure() { listen(quick_options()); }

  void listen(const JoinOptions& options) {
    listener_.reset();
    listener_ = std::make_unique<JoinListener>(std::vector<std::string>{"127.0.0.1:0"}, token_, 1,
                                               "job", options, diary_.events());
    address_ = listener_->addresses()[0];
  }

  [[nodiscard]] std::string why_not(const JoinToken& token, const JoinOptions& options) const {
    try {
      const JoinLink link(address_, token, "", options);
    } catch (const TransportError& error) {
      return error.what();
    }
    return "joined";
  }

  [[nodiscard]] bool serves_a_good_worker() {
    try {
      JoinLink link(address_, token_, "good", quick_options());
      Diary worker;
      link.start([&](Message message) { worker.message(std::move(message)); },
                 [&](const std::string& why) { worker.lost(0, why); });
      listener_->send(text_message(0, link.node(), "still there?"));
      return worker.wait_messages(1);
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
      return false;
    }
  }

  TemporaryFolder folder_;
  fs::path token_file_ = folder_ / "token";
  JoinToken token_ = JoinToken::create(token_file_);
  Diary diary_;
  std::unique_ptr<JoinListener> listener_;
  std::string address_;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

JoinHello raw_hello() { return {.nonce = {}, .build = "test build", .description = "raw"}; }

TEST_F(JoinFailure, WrongTokenIsRefused) {
  const JoinToken other = JoinToken::create(folder_ / "other");
  const std::string why = why_not(other, quick_options());
  EXPECT_TRUE(contains(why, address_) && contains(why, "token")) << why;
  EXPECT_TRUE(diary_.joined_nodes().empty());
  EXPECT_TRUE(serves_a_good_worker());
}

TEST_F(JoinFailure, OtherBuildIsRefusedAndBothAreNamed) {
  JoinOptions options = quick_options();
  options.build = "strange build";
  const std::string why = why_not(token_, options);
  EXPECT_TRUE(contains(why, "strange build") && contains(why, "test build")) << why;
  EXPECT_TRUE(diary_.joined_nodes().empty());
}

TEST_F(JoinFailure, NobodyThereIsSaidWithTheAddress) {
  listener_.reset();
  const std::string why = why_not(token_, quick_options());
  EXPECT_TRUE(contains(why, address_) && contains(why, "refused")) << why;
}

TEST_F(JoinFailure, ReplayedProofIsRefused) {
  const JoinHello hello = raw_hello();
  RawPeer honest(address_);
  honest.write(FrameType::kHello, encode_hello(hello));
  const auto challenge = honest.read();
  ASSERT_TRUE(challenge.has_value());
  const std::string proof =
      encode_bytes(worker_proof(token_, hello, decode_bytes(challenge->message.body)));
  honest.write(FrameType::kProof, proof);
  ASSERT_EQ(honest.read()->type, FrameType::kWelcome);

  RawPeer thief(address_);
  thief.write(FrameType::kHello, encode_hello(hello));
  ASSERT_TRUE(thief.read().has_value());
  thief.write(FrameType::kProof, proof);
  const auto answer = thief.read();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->type, FrameType::kRefusal);
  EXPECT_TRUE(thief.is_closed());
  EXPECT_EQ(diary_.joined_nodes().size(), 1U);
}

TEST_F(JoinFailure, ProofOfAnotherDescriptionIsRefused) {
  JoinHello hello = raw_hello();
  RawPeer peer(address_);
  peer.write(FrameType::kHello, encode_hello(hello));
  const auto challenge = peer.read();
  ASSERT_TRUE(challenge.has_value());
  hello.description = "changed on the way";
  peer.write(FrameType::kProof,
             encode_bytes(worker_proof(token_, hello, decode_bytes(challenge->message.body))));
  EXPECT_EQ(peer.read()->type, FrameType::kRefusal);
}

// Listens at a Unix socket, takes one connection and answers the worker's frames with `answers`,
// one each.
std::thread false_job(const std::string& path, std::vector<std::string> answers) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  const int door = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::bind(door, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  EXPECT_EQ(::listen(door, 1), 0);
  return std::thread([door, answers = std::move(answers)] {
    const int peer = ::accept(door, nullptr, nullptr);
    std::array<char, 4096> bytes;
    for (const std::string& answer : answers) {
      EXPECT_GT(::recv(peer, bytes.data(), bytes.size(), 0), 0);
      EXPECT_EQ(::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(answer.size()));
    }
    while (::recv(peer, bytes.data(), bytes.size(), 0) > 0) {
    }
    ::close(peer);
    ::close(door);
  });
}

std::string control_bytes(FrameType type, std::string body) {
  return testing::bytes_of(EncodedFrame(type, text_message(0, 0, std::move(body))));
}

TEST_F(JoinFailure, JobWithoutTheTokenIsNotBelieved) {
  const std::string path = folder_ / "false";
  std::thread job =
      false_job(path, {control_bytes(FrameType::kChallenge, std::string(32, 'c')),
                       control_bytes(FrameType::kWelcome, encode_welcome({{}, 1, "come in"}))});
  address_ = "unix:" + path;
  const std::string why = why_not(token_, quick_options());
  EXPECT_TRUE(contains(why, "does not hold the job's token")) << why;
  job.join();
}

TEST_F(JoinFailure, JobThatSaysNothingIsNotWaitedForForEver) {
  const std::string path = folder_ / "silent";
  std::thread job = false_job(path, {});
  address_ = "unix:" + path;
  const std::string why = why_not(token_, quick_options());
  EXPECT_TRUE(contains(why, address_) && contains(why, "within 1 s")) << why;
  job.join();
}

TEST_F(JoinFailure, WhatIsNoJobIsSaid) {
  const std::string path = folder_ / "other";
  std::thread job =
      false_job(path, {"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 and some more text\r\n"});
  address_ = "unix:" + path;
  const std::string why = why_not(token_, quick_options());
  EXPECT_TRUE(contains(why, "no frame of desta")) << why;
  job.join();
}

TEST_F(JoinFailure, NoProofServesForAnythingElse) {
  const JoinHello hello = raw_hello();
  const JoinNonce challenge{};
  const auto proof = job_proof(token_, hello, challenge, 1, "job");
  EXPECT_FALSE(same_mac(job_proof(token_, hello, challenge, 2, "job"), proof));
  EXPECT_FALSE(same_mac(job_proof(token_, hello, challenge, 1, "boj"), proof));
  EXPECT_FALSE(same_mac(worker_proof(token_, hello, challenge), proof));
  // What moves from one field to the next makes another text.
  const JoinHello moved{.nonce = {}, .build = "test buildr", .description = "aw"};
  EXPECT_FALSE(
      same_mac(worker_proof(token_, moved, challenge), worker_proof(token_, hello, challenge)));
}

TEST_F(JoinFailure, NothingButTheHandshakeIsTakenBeforeTheProof) {
  for (const FrameType type : {FrameType::kMessage, FrameType::kPing, FrameType::kGoodbye,
                               FrameType::kProof, FrameType::kWelcome, FrameType::kChallenge}) {
    RawPeer peer(address_);
    peer.write(type, std::string(32, 'x'), 1);
    EXPECT_TRUE(peer.is_closed()) << static_cast<int>(type);
    RawPeer second(address_);
    second.write(FrameType::kHello, encode_hello(raw_hello()));
    ASSERT_TRUE(second.read().has_value());
    if (type != FrameType::kProof) {
      second.write(type, std::string(32, 'x'), 1);
      EXPECT_TRUE(second.is_closed()) << static_cast<int>(type);
    }
  }
  EXPECT_TRUE(diary_.joined_nodes().empty());
  EXPECT_TRUE(diary_.messages().empty());
  EXPECT_TRUE(diary_.losses().empty());
}

TEST_F(JoinFailure, MessageInAnothersNameEndsTheWorker) {
  RawPeer peer(address_);
  const int node = peer.prove(token_, raw_hello());
  ASSERT_EQ(node, 1);
  peer.write(FrameType::kMessage, "mine", node);
  peer.write(FrameType::kMessage, "forged", 0);
  peer.write(FrameType::kMessage, "after", node);
  EXPECT_TRUE(contains(diary_.why_lost(node), "in the name of node 0"));
  ASSERT_EQ(diary_.messages().size(), 1U);
  EXPECT_EQ(diary_.messages()[0].body, "mine");
  EXPECT_TRUE(peer.is_closed());
  JoinLink link(address_, token_, "", quick_options());
  EXPECT_THROW(link.send(text_message(0, 0, "")), InternalError);
}

TEST_F(JoinFailure, SilentStrangersAreSentAway) {
  RawPeer nothing(address_);
  RawPeer half(address_);
  half.write(FrameType::kHello, encode_hello(raw_hello()));
  EXPECT_TRUE(nothing.is_closed());
  EXPECT_TRUE(half.is_closed());
  EXPECT_TRUE(serves_a_good_worker());
}

TEST_F(JoinFailure, TooManyStrangersAreTurnedAwayAtOnce) {
  JoinOptions options = quick_options();
  options.max_unproven = 4;
  options.handshake = std::chrono::seconds(60);
  listen(options);
  std::vector<std::unique_ptr<RawPeer>> strangers;
  for (int i = 0; i < 4; ++i) {
    auto& peer = strangers.emplace_back(std::make_unique<RawPeer>(address_));
    peer->write(FrameType::kHello, encode_hello(raw_hello()));
    ASSERT_TRUE(peer->read().has_value());
  }
  RawPeer fifth(address_);
  EXPECT_TRUE(fifth.is_closed());
  EXPECT_TRUE(contains(why_not(token_, quick_options()), "try again"));
  strangers.clear();
  // Their places are free as soon as the listener has noticed.
  std::string why;
  for (int i = 0; i < 1000 && why != "joined"; ++i) {
    why = why_not(token_, quick_options());
  }
  EXPECT_EQ(why, "joined");
}

TEST_F(JoinFailure, KilledWorkerIsLostAndOthersAreNot) {
  const WorkerProcess good(address_, token_file_);
  ASSERT_TRUE(diary_.wait_joined(1));
  WorkerProcess victim(address_, token_file_);
  ASSERT_TRUE(diary_.wait_joined(2));
  victim.signal(SIGKILL);
  EXPECT_NE(diary_.why_lost(2), "not lost");
  EXPECT_THROW(listener_->send(text_message(0, 2, "")), TransportError);
  listener_->send(text_message(0, 1, "are you there"));
  ASSERT_TRUE(diary_.wait_messages(1));
  EXPECT_EQ(diary_.messages()[0].from, 1);
  EXPECT_EQ(diary_.losses().size(), 1U);
}

TEST_F(JoinFailure, StoppedWorkerIsLostAndOthersAreNot) {
  const WorkerProcess good(address_, token_file_);
  ASSERT_TRUE(diary_.wait_joined(1));
  WorkerProcess victim(address_, token_file_);
  ASSERT_TRUE(diary_.wait_joined(2));
  victim.signal(SIGSTOP);
  ASSERT_EQ(diary_.why_lost(2), "silent for 1 s");
  listener_->send(text_message(0, 1, "are you there"));
  ASSERT_TRUE(diary_.wait_messages(1));
  EXPECT_EQ(diary_.losses().size(), 1U);
  victim.signal(SIGCONT);
  EXPECT_EQ(victim.wait(), 0);  // it learns that it is lost
}

TEST_F(JoinFailure, IdleWorkersAreNotLost) {
  const WorkerProcess good(address_, token_file_);
  ASSERT_TRUE(diary_.wait_joined(1));
  std::this_thread::sleep_for(std::chrono::seconds(3));  // three times the silence
  EXPECT_TRUE(diary_.losses().empty());
}

TEST_F(JoinFailure, JobThatDiesIsLostToItsWorkers) {
  listener_.reset();
  const std::string address = "unix:" + (folder_ / "socket").string();
  for (const int number : {SIGKILL, SIGSTOP}) {
    const pid_t job = testing::start_self({"--join-job", address, token_file_.string()});
    std::unique_ptr<JoinLink> link;
    for (int i = 0; i < 2000 && link == nullptr; ++i) {
      try {
        link = std::make_unique<JoinLink>(address, token_, "", quick_options());
      } catch (const TransportError&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // it is not there yet
      }
    }
    ASSERT_NE(link, nullptr);
    Diary worker;
    link->start([](Message) {}, [&](const std::string& why) { worker.lost(0, why); });
    ::kill(job, number);
    const std::string why = worker.why_lost(0);
    EXPECT_TRUE(number == SIGKILL ? contains(why, "connection") : why == "silent for 1 s") << why;
    EXPECT_THROW(link->send(text_message(1, 0, "")), TransportError);
    link.reset();
    ::kill(job, SIGKILL);
    ::waitpid(job, nullptr, 0);
  }
}

TEST_F(JoinFailure, SlowReaderIsRefusedMoreAndThenDropped) {
  JoinOptions options = quick_options();
  options.max_backlog = 8 << 20;
  listen(options);
  RawPeer peer(address_);
  const int node = peer.prove(token_, raw_hello());
  ASSERT_EQ(node, 1);
  const Buffer block = Buffer::of(std::vector<char>(1 << 20));
  std::string why;
  for (int i = 0; i < 200 && why.empty(); ++i) {
    try {
      listener_->send({.from = 0, .to = node, .body = "", .buffers = {block}});
      EXPECT_LE(listener_->backlog(node), options.max_backlog);
    } catch (const TransportError& error) {
      why = error.what();
    }
  }
  EXPECT_TRUE(contains(why, "does not read fast enough")) << why;
  // It goes on saying something, so that it is not silent.
  while (diary_.losses().empty() && peer.write(FrameType::kPing, "")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(contains(diary_.why_lost(node), "does not read: took nothing"));
  EXPECT_TRUE(serves_a_good_worker());
}

TEST_F(JoinFailure, OneMessageMayBeLongerThanTheBacklog) {
  JoinOptions options = quick_options();
  options.max_backlog = 1 << 20;
  options.max_message = 16 << 20;
  listen(options);
  JoinLink link(address_, token_, "", options);
  link.send({.from = 1, .to = 0, .body = "", .buffers = {Buffer::of(std::vector<char>(8 << 20))}});
  EXPECT_TRUE(diary_.wait_messages(1));
  EXPECT_THROW(
      link.send(
          {.from = 1, .to = 0, .body = "", .buffers = {Buffer::of(std::vector<char>(17 << 20))}}),
      TransportError);
}

TEST_F(JoinFailure, StopDoesNotWaitForEver) {
  RawPeer deaf(address_);
  ASSERT_EQ(deaf.prove(token_, raw_hello()), 1);
  listener_->send(
      {.from = 0, .to = 1, .body = "", .buffers = {Buffer::of(std::vector<char>(64 << 20))}});
  RawPeer stranger(address_);
  listener_->stop();  // the test's own deadline is the assertion
  EXPECT_TRUE(stranger.is_closed());
}

}  // namespace
}  // namespace desta::runtime
