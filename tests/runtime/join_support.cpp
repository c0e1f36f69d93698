#include "tests/runtime/join_support.h"

#include <netdb.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "runtime/core/hash.h"
#include "runtime/transport/join_address.h"
#include "runtime/transport/join_link.h"

extern char** environ;

namespace desta::runtime::testing {
namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "desta-join-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw InternalError("{}: cannot make it", name);
  }
  path_ = name;
}
TemporaryFolder::~TemporaryFolder() { fs::remove_all(path_); }

JoinEvents Diary::events() {
  return {.joined =
              [this](int node, const std::string& description) {
                const std::lock_guard lock(mutex_);
                joined_.emplace_back(node, description);
                changed_.notify_all();
              },
          .message = [this](Message got) { message(std::move(got)); },
          .lost = [this](int node, const std::string& why) { lost(node, why); }};
}

void Diary::message(Message message) {
  const std::lock_guard lock(mutex_);
  messages_.push_back(std::move(message));
  changed_.notify_all();
}

void Diary::lost(int node, const std::string& why) {
  const std::lock_guard lock(mutex_);
  lost_.push_back({node, why});
  changed_.notify_all();
}

bool Diary::wait(const std::function<bool()>& condition) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(20), condition);
}
bool Diary::wait_joined(std::size_t count) {
  return wait([&] { return joined_.size() >= count; });
}
bool Diary::wait_messages(std::size_t count) {
  return wait([&] { return messages_.size() >= count; });
}
bool Diary::wait_lost(std::size_t count) {
  return wait([&] { return lost_.size() >= count; });
}

std::string Diary::why_lost(int node) {
  const auto is_node = [node](const Lost& lost) { return lost.node == node; };
  if (!wait([&] { return std::any_of(lost_.begin(), lost_.end(), is_node); })) {
    return "not lost";
  }
  const std::lock_guard lock(mutex_);
  return std::find_if(lost_.begin(), lost_.end(), is_node)->why;
}

std::vector<std::pair<int, std::string>> Diary::joined_nodes() {
  const std::lock_guard lock(mutex_);
  return joined_;
}
std::vector<Message> Diary::messages() {
  const std::lock_guard lock(mutex_);
  return messages_;
}
std::vector<Diary::Lost> Diary::losses() {
  const std::lock_guard lock(mutex_);
  return lost_;
}

JoinOptions quick_options() {
  JoinOptions options;
  options.heartbeat = std::chrono::milliseconds(100);
  options.silence = std::chrono::milliseconds(1000);
  options.handshake = std::chrono::milliseconds(1000);
  options.build = "test build";
  return options;
}

std::string bytes_of(const EncodedFrame& frame) {
  std::string bytes;
  for (std::size_t i = 0; i < frame.part_count(); ++i) {
    const auto part = frame.part(i);
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  return bytes;
}

void sign_header(std::string& bytes) {
  const std::uint64_t checksum = hash64(std::string_view(bytes).substr(0, 48));
  std::memcpy(bytes.data() + 48, &checksum, sizeof(checksum));
}

Message text_message(int from, int to, std::string body) {
  return {.from = from, .to = to, .body = std::move(body), .buffers = {}};
}

std::vector<Frame> feed(FrameReader& reader, std::string_view bytes) {
  std::vector<Frame> frames;
  while (!bytes.empty()) {
    const auto space = reader.space();
    std::size_t count = 0;
    for (const auto& place : space) {
      const std::size_t here = std::min(place.size(), bytes.size());
      if (here != 0) {
        std::memcpy(place.data(), bytes.data(), here);
      }
      bytes.remove_prefix(here);
      count += here;
    }
    reader.filled(count);
    while (auto frame = reader.next()) {
      frames.push_back(std::move(*frame));
    }
  }
  return frames;
}

std::size_t open_descriptors() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

long status_kilobytes(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field) && line[field.size()] == ':') {
      return std::strtol(line.c_str() + field.size() + 1, nullptr, 10);
    }
  }
  return -1;
}

RawPeer::RawPeer(const std::string& text)
    : reader_({.messages = true, .max_body = 64 << 20, .max_message = 256 << 20}) {
  const JoinAddress address = parse_join_address(text);
  if (address.is_unix()) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, address.path.c_str(), sizeof(name.sun_path) - 1);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
      throw TransportError("{}: {}", text, std::strerror(errno));
    }
  } else {
    addrinfo* found = nullptr;
    if (::getaddrinfo(address.host.c_str(), address.port.c_str(), nullptr, &found) != 0) {
      throw TransportError("{}: no such host", text);
    }
    fd_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int result = ::connect(fd_, found->ai_addr, found->ai_addrlen);
    ::freeaddrinfo(found);
    if (result != 0) {
      throw TransportError("{}: {}", text, std::strerror(errno));
    }
  }
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

RawPeer::~RawPeer() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

bool RawPeer::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (written <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool RawPeer::write(FrameType type, std::string body, int from) {
  return write(bytes_of(EncodedFrame(type, text_message(from, 0, std::move(body)))));
}

std::optional<Frame> RawPeer::read() {
  while (frames_.empty()) {
    std::array<char, 65536> bytes;
    const ssize_t count = ::recv(fd_, bytes.data(), bytes.size(), 0);
    if (count <= 0) {
      return std::nullopt;
    }
    frames_ = feed(reader_, {bytes.data(), static_cast<std::size_t>(count)});
  }
  Frame frame = std::move(frames_.front());
  frames_.erase(frames_.begin());
  return frame;
}

bool RawPeer::is_closed() {
  std::array<char, 65536> bytes;
  ssize_t count = 0;
  while ((count = ::recv(fd_, bytes.data(), bytes.size(), 0)) > 0) {
  }
  return count == 0 || errno == ECONNRESET;
}

int RawPeer::prove(const JoinToken& token, const JoinHello& hello) {
  write(FrameType::kHello, encode_hello(hello));
  const auto challenge = read();
  if (!challenge || challenge->type != FrameType::kChallenge) {
    return -1;
  }
  const auto proof = worker_proof(token, hello, decode_bytes(challenge->message.body));
  write(FrameType::kProof, encode_bytes(proof));
  const auto welcome = read();
  if (!welcome || welcome->type != FrameType::kWelcome) {
    return -1;
  }
  return decode_welcome(welcome->message.body).node;
}

void RawPeer::end_of_writing() { ::shutdown(fd_, SHUT_WR); }

void RawPeer::reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  ::close(fd_);
  fd_ = -1;
}

pid_t start_self(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  std::string program = "/proc/self/exe";
  argv.push_back(program.data());
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  pid_t pid = -1;
  if (::posix_spawn(&pid, program.c_str(), nullptr, nullptr, argv.data(), environ) != 0) {
    throw InternalError("cannot start this program again");
  }
  return pid;
}

WorkerProcess::WorkerProcess(const std::string& address, const fs::path& token)
    : pid_(start_self({"--join-worker", address, token.string()})) {}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
}

void WorkerProcess::signal(int number) const { ::kill(pid_, number); }

int WorkerProcess::wait() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int run_worker(const std::string& address, const std::string& token) {
  JoinLink link(address, JoinToken::read(token), "process", quick_options());
  std::mutex mutex;
  std::condition_variable changed;
  bool lost = false;
  link.start(
      [&link](Message message) {
        std::swap(message.from, message.to);
        link.send(std::move(message));
      },
      [&](const std::string&) {
        const std::lock_guard lock(mutex);
        lost = true;
        changed.notify_all();
      });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return lost; });
  return 0;
}

int run_job(const std::string& address, const std::string& token) {
  Diary diary;
  JoinListener listener({address}, JoinToken::read(token), 1, "job", quick_options(),
                        diary.events());
  while (true) {
    std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

}  // namespace desta::runtime::testing
