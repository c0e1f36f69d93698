// What the status server answers, apart from sockets: which text stands at which path, and who may
// ask. The snapshot and its texts are shared by all who ask within an interval.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

struct StatusContent {
  std::string_view type;  // its Content-Type
  std::shared_ptr<const std::string> body;
};

// Not thread-safe.
class StatusContents {
 public:
  StatusContents(std::function<SystemSnapshot()> snapshot, std::chrono::milliseconds min_interval);

  // For "/state" or "/state?now"; no body where nothing stands at the path. Throws what taking the
  // snapshot throws.
  [[nodiscard]] StatusContent find(std::string_view target);

 private:
  using Writer = std::string (*)(const SystemSnapshot&);
  using Text = std::shared_ptr<const std::string>;
  // The text of the snapshot that is current, written when it is first asked for.
  [[nodiscard]] Text current(Text& text, Writer write);

  const std::function<SystemSnapshot()> take_;
  const std::chrono::milliseconds min_interval_;
  std::chrono::steady_clock::time_point taken_;
  std::shared_ptr<const SystemSnapshot> snapshot_;
  Text json_;
  Text metrics_;
};

// Whether a browser that asks for this Host header ("localhost:8265") can be meant: an IP address,
// localhost, this host's own name, or one of `hosts`.
[[nodiscard]] bool is_our_host(std::string_view header, const std::vector<std::string>& hosts);

}  // namespace desta::runtime
