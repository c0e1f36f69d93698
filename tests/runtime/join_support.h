// What the tests of joining share: a job that writes down its events, a worker in a process of its
// own, and a peer made by hand that can say anything.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/transport/frame.h"
#include "runtime/transport/join_handshake.h"
#include "runtime/transport/join_listener.h"

namespace desta::runtime::testing {

// Removed with what is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

// What came by callbacks, to be waited for.
class Diary {
 public:
  struct Lost {
    int node;
    std::string why;
  };

  [[nodiscard]] JoinEvents events();
  void message(Message message);
  void lost(int node, const std::string& why);

  // False when it does not come within 20 s.
  [[nodiscard]] bool wait(const std::function<bool()>& condition);
  [[nodiscard]] bool wait_joined(std::size_t count);
  [[nodiscard]] bool wait_messages(std::size_t count);
  [[nodiscard]] bool wait_lost(std::size_t count);
  // Why the node was lost; waits for it.
  [[nodiscard]] std::string why_lost(int node);

  [[nodiscard]] std::vector<std::pair<int, std::string>> joined_nodes();
  [[nodiscard]] std::vector<Message> messages();
  [[nodiscard]] std::vector<Lost> losses();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<int, std::string>> joined_;
  std::vector<Message> messages_;
  std::vector<Lost> lost_;
};

// Short deadlines.
[[nodiscard]] JoinOptions quick_options();
[[nodiscard]] std::string bytes_of(const EncodedFrame& frame);
// Makes the checksum of the header at the start of `bytes` right.
void sign_header(std::string& bytes);
[[nodiscard]] Message text_message(int from, int to, std::string body);
[[nodiscard]] std::vector<Frame> feed(FrameReader& reader, std::string_view bytes);
[[nodiscard]] std::size_t open_descriptors();
// Kilobytes of /proc/self/status, such as "VmHWM".
[[nodiscard]] long status_kilobytes(std::string_view field);

// A blocking socket in the hands of a test.
class RawPeer {
 public:
  explicit RawPeer(const std::string& address);
  ~RawPeer();
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  // False when the other side has closed.
  bool write(std::string_view bytes);
  bool write(FrameType type, std::string body, int from = 0);
  // The next frame; nothing when the other side closes or 10 s pass.
  [[nodiscard]] std::optional<Frame> read();
  // True when the other side closes within 10 s, whatever it says before.
  [[nodiscard]] bool is_closed();
  // Hello, challenge, proof, welcome. Returns the node, -1 when refused.
  int prove(const JoinToken& token, const JoinHello& hello);
  void end_of_writing();
  // Closes without the state that TCP keeps of a closed connection.
  void reset();

 private:
  int fd_ = -1;
  FrameReader reader_;
  std::vector<Frame> frames_;
};

// This program again, as a worker that joins and sends back what it gets (see join_main.cpp).
class WorkerProcess {
 public:
  WorkerProcess(const std::string& address, const std::filesystem::path& token);
  // Kills it.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  void signal(int number) const;
  // Its exit code, or minus the signal that ended it.
  int wait();

 private:
  pid_t pid_ = -1;
};

// The worker's program.
int run_worker(const std::string& address, const std::string& token);
// A job's program: listens at `address` and waits for ever.
int run_job(const std::string& address, const std::string& token);
// Starts this program again with these arguments.
[[nodiscard]] pid_t start_self(const std::vector<std::string>& arguments);

}  // namespace desta::runtime::testing
