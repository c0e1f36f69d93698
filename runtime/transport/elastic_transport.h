// The transports of a job that workers may join. Ranks talk over theirs (MPI); a worker has one
// link, to node 0, which passes on what is for others. A message that cannot be passed on to a worker
// is the end of that worker: either it gets every message or it is lost. A message to one that is gone
// goes nowhere: its loss is told by on_lost() and says what has become of it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/transport/join_link.h"
#include "runtime/transport/join_listener.h"
#include "runtime/transport/transport.h"

namespace desta::runtime {

// A rank's. Workers are numbered from node_count() on.
class ElasticTransport : public Transport {
 public:
  // `ranks` must outlive it.
  explicit ElasticTransport(Transport& ranks) : ranks_(ranks) {}
  ~ElasticTransport() override;

  // Node 0, after start(): lets workers in. Errors as of JoinListener.
  void listen(const std::vector<std::string>& addresses, const JoinToken& token,
              JoinOptions options);
  // Where; with the port that the system chose. Empty before listen().
  [[nodiscard]] std::vector<std::string> addresses() const;

  [[nodiscard]] int node() const override { return ranks_.node(); }
  [[nodiscard]] int node_count() const override { return ranks_.node_count(); }
  void start(Handler handler) override;
  void on_lost(LostHandler handler) override { lost_ = std::move(handler); }
  void stop() override;
  void send(Message message) override;
  [[nodiscard]] std::size_t backlog(int node) const override;
  bool try_attend() override { return ranks_.try_attend(); }
  bool poll() override { return ranks_.poll(); }
  void leave() override { ranks_.leave(); }
  Slept try_sleep() override { return ranks_.try_sleep(); }
  void wake() override { ranks_.wake(); }

 private:
  void accept(Message message);

  Transport& ranks_;
  Handler handler_;
  LostHandler lost_;
  std::unique_ptr<JoinListener> listener_;
  // The same for all threads: messages come and go while listen() makes it.
  std::atomic<JoinListener*> listening_ = nullptr;
};

// A worker's.
class JoinedTransport : public Transport {
 public:
  // Joins the job that listens at `address`. Errors as of JoinLink.
  JoinedTransport(const std::string& address, const JoinToken& token, JoinOptions options);

  [[nodiscard]] int node() const override { return link_.node(); }
  [[nodiscard]] int node_count() const override { return ranks_; }
  void start(Handler handler) override;
  // When the job is gone, node 0 is.
  void on_lost(LostHandler handler) override { lost_ = std::move(handler); }
  void stop() override { link_.stop(); }
  void send(Message message) override { link_.send(std::move(message)); }
  [[nodiscard]] std::size_t backlog(int /*node*/) const override { return link_.backlog(); }

 private:
  JoinLink link_;
  int ranks_ = 0;
  LostHandler lost_;
};

}  // namespace desta::runtime
