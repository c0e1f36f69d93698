// The status page of a running job: a small read-only HTTP/1.1 server on a thread of its own.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

struct StatusServerOptions {
  // The snapshot is taken at most this often; clients in between share the last one.
  std::chrono::milliseconds min_interval{500};
  // For a whole request to arrive, for an answer to be taken, and for a kept connection to be used
  // again; then it is closed.
  std::chrono::milliseconds client_timeout{10'000};
  // Further clients wait until one of these is done.
  std::size_t max_connections = 32;
  // Names by which browsers may ask, besides those below.
  std::vector<std::string> hosts;
};

// GET and HEAD of
//   /         the page for people, live; with its /page.css and /page.js
//   /state    the snapshot as JSON, see status_json.h
//   /metrics  the snapshot for Prometheus, see status_prometheus.h
// Anything else is 404, another method 405; a request that is not HTTP is 400, a header over 8 KiB
// 431, a body over 1 KiB 413, and 500 carries the message of a snapshot that failed.
//
// The page has no password: who can open the port can read it. So it listens where `address` says
// and nowhere else, and answers only those who ask for an IP address, for localhost, for this
// host's name or for one of `hosts` (421 otherwise): a page from elsewhere whose name was made to
// point here (DNS rebinding) learns nothing.
class StatusServer {
 public:
  // `address`: "127.0.0.1:8265", "[::1]:8265", "localhost:0" (0: any free port). `snapshot` is
  // called on the server's thread. Throws ConfigError when the address cannot be read, and
  // TransportError when it cannot be had.
  StatusServer(const std::string& address, std::function<SystemSnapshot()> snapshot,
               StatusServerOptions options = {});
  ~StatusServer();
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;

  // "127.0.0.1:8265", with the port that was got.
  [[nodiscard]] std::string address() const;

  // Closes all connections and waits for the thread, and so for a snapshot that is being taken; not
  // to be called from there. May be called again.
  void stop();

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace desta::runtime
