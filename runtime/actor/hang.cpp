#include "runtime/actor/hang.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include <fmt/format.h>

namespace desta::runtime::detail {
namespace {

struct Verdict {
  std::string culprit;
  std::vector<std::string> waiting;  // from the culprit's first waiter to the victim
};

std::string describe(const WaitInfo& wait) {
  return wait.actor == 0
             ? fmt::format("{}, for {:.0f} s", wait.name, wait.seconds)
             : fmt::format("actor {} on node {}, method {}, for {:.0f} s", wait.name, wait.node,
                           wait.method, wait.seconds);
}

class Search {
 public:
  Search(std::span<const WaitInfo> waits, std::span<const NodeInfo> nodes) {
    for (const WaitInfo& wait : waits) {
      const WaitInfo*& longest = running_[wait.actor];
      if (wait.actor != 0 && (longest == nullptr || wait.seconds > longest->seconds)) {
        longest = &wait;
      }
    }
    for (const NodeInfo& node : nodes) {
      if (node.state == NodeState::kSilent) {
        silent_[node.node] = &node;
      }
    }
  }

  [[nodiscard]] Verdict follow(const WaitInfo& victim) const {
    std::vector<const WaitInfo*> path = {&victim};
    std::set<ActorId> seen;
    std::string culprit;
    while (culprit.empty()) {
      const WaitInfo& last = *path.back();
      const auto next = running_.find(last.for_actor);
      if (const auto node = silent_.find(last.for_node); node != silent_.end()) {
        culprit = fmt::format("node {} on {}, silent for {:.0f} s (it has actor {})", last.for_node,
                              node->second->host, node->second->seconds_since_heartbeat,
                              last.for_name);
      } else if (next == running_.end() || next->second == nullptr) {
        culprit = fmt::format("actor {} on node {}, which has not begun method {}", last.for_name,
                              last.for_node, last.for_method);
      } else if (next->second->for_actor == 0) {
        culprit = describe(*next->second);
      } else if (!seen.insert(last.for_actor).second) {
        std::set<std::string> circle;
        for (auto step = next->second; circle.insert(step->name).second;) {
          step = running_.at(step->for_actor);
        }
        culprit = fmt::format("actors that wait for each other: {}", fmt::join(circle, ", "));
      } else {
        path.push_back(next->second);
      }
    }
    Verdict verdict{culprit, {}};
    for (auto step = path.rbegin(); step != path.rend(); ++step) {
      verdict.waiting.push_back(
          fmt::format("{} waits for method {} of {}", describe(**step), (*step)->for_method,
                      (*step)->for_name));
    }
    return verdict;
  }

 private:
  std::unordered_map<ActorId, const WaitInfo*> running_;
  std::map<int, const NodeInfo*> silent_;
};

}  // namespace

HangReport find_hang(std::span<const WaitInfo> waits, std::span<const NodeInfo> nodes,
                     double seconds) {
  const Search search(waits, nodes);
  std::map<std::string, std::pair<int, std::vector<std::string>>> culprits;
  for (const WaitInfo& wait : waits) {
    if (wait.for_actor == 0 || wait.seconds < seconds) {
      continue;
    }
    Verdict verdict = search.follow(wait);
    auto& [victims, longest] = culprits[verdict.culprit];
    ++victims;
    if (verdict.waiting.size() > longest.size()) {
      longest = std::move(verdict.waiting);
    }
  }
  const auto worst = std::ranges::max_element(
      culprits, {}, [](const auto& entry) { return entry.second.first; });
  if (worst == culprits.end()) {
    return {};
  }
  return {worst->first, worst->second.second};
}

}  // namespace desta::runtime::detail
