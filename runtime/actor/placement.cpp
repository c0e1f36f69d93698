#include "runtime/actor/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace desta::runtime {
namespace {

// Nodes in increasing order, hosts numbered by their lowest node.
struct Cluster {
  struct Node {
    int node = 0;
    std::size_t host = 0;
    Resources free;
  };
  std::vector<Node> nodes;
  std::size_t hosts = 0;
};

Cluster cluster_of(std::span<const PlacementNode> nodes) {
  std::vector<const PlacementNode*> sorted;
  for (const PlacementNode& node : nodes) {
    sorted.push_back(&node);
  }
  std::ranges::sort(sorted, {}, &PlacementNode::node);
  Cluster cluster;
  std::map<std::string, std::size_t> hosts;
  for (const PlacementNode* node : sorted) {
    const std::size_t host = hosts.try_emplace(node->host, hosts.size()).first->second;
    cluster.nodes.push_back({node->node, host, node->free});
  }
  cluster.hosts = hosts.size();
  return cluster;
}

Cluster one_host(const Cluster& cluster, std::size_t host) {
  Cluster part{.nodes = {}, .hosts = 1};
  for (const Cluster::Node& node : cluster.nodes) {
    if (node.host == host) {
      part.nodes.push_back({node.node, 0, node.free});
    }
  }
  return part;
}

// The bundles from the largest to the smallest. A bundle is as large as its largest share of what
// the freest node has.
std::vector<std::size_t> decreasing(std::span<const Resources> bundles, const Cluster& cluster) {
  Resources most;
  for (const Cluster::Node& node : cluster.nodes) {
    most = {.cpu = std::max(most.cpu, node.free.cpu),
            .gpu = std::max(most.gpu, node.free.gpu),
            .memory = std::max(most.memory, node.free.memory)};
  }
  const auto share = [](double need, double have) { return have > 0 ? need / have : 0.0; };
  const auto size = [&](std::size_t i) {
    return std::max(
        {share(bundles[i].cpu, most.cpu), share(bundles[i].gpu, most.gpu),
         share(static_cast<double>(bundles[i].memory), static_cast<double>(most.memory))});
  };
  std::vector<std::size_t> order(bundles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{}, size);
  return order;
}

// Less is better; never falls when a bundle is added.
using Cost = std::pair<std::size_t, std::size_t>;

enum class Measure : std::uint8_t { kFew, kEven };

// Depth first over the bundles, with the best candidate first; a branch that cannot be better than
// the best known one is left.
class Search {
 public:
  Search(std::span<const Resources> bundles, const Cluster& cluster, Measure measure)
      : bundles_(bundles),
        cluster_(cluster),
        measure_(measure),
        order_(decreasing(bundles, cluster)),
        on_node_(cluster.nodes.size(), 0),
        on_host_(cluster.hosts, 0),
        chosen_(bundles.size(), 0) {
    for (const Cluster::Node& node : cluster.nodes) {
      free_.push_back(node.free);
    }
    classify_hosts();
  }

  // The node, by its place in the cluster, of each bundle; empty: none was found.
  [[nodiscard]] const std::optional<std::vector<std::size_t>>& run() {
    descend(0, {0, 0});
    return best_;
  }
  [[nodiscard]] Cost cost() const { return best_cost_; }

 private:
  // Hosts of one kind hold nodes with the same free resources: unused, they are interchangeable.
  void classify_hosts() {
    using Amounts = std::tuple<double, double, std::uint64_t>;
    std::vector<std::vector<Amounts>> contents(cluster_.hosts);
    for (const Cluster::Node& node : cluster_.nodes) {
      contents[node.host].emplace_back(node.free.cpu, node.free.gpu, node.free.memory);
    }
    std::map<std::vector<Amounts>, std::size_t> kinds;
    for (auto& content : contents) {
      std::ranges::sort(content);
      kind_.push_back(kinds.try_emplace(content, kinds.size()).first->second);
    }
  }

  [[nodiscard]] Cost added(std::size_t node) const {
    const std::size_t here = on_node_[node];
    const std::size_t host = on_host_[cluster_.nodes[node].host];
    if (measure_ == Measure::kFew) {
      return {host == 0 ? 1 : 0, here == 0 ? 1 : 0};
    }
    return {2 * host + 1, 2 * here + 1};  // (n + 1)^2 - n^2
  }

  // Whether a bundle on `a` leaves the same problem as on `b`.
  [[nodiscard]] bool alike(std::size_t a, std::size_t b) const {
    const std::size_t host_a = cluster_.nodes[a].host;
    const std::size_t host_b = cluster_.nodes[b].host;
    const bool same_host = host_a == host_b || (on_host_[host_a] == 0 && on_host_[host_b] == 0 &&
                                                kind_[host_a] == kind_[host_b]);
    return same_host && free_[a] == free_[b] && on_node_[a] == on_node_[b];
  }

  [[nodiscard]] std::vector<std::size_t> candidates(const Resources& need) const {
    std::vector<std::size_t> found;
    for (std::size_t node = 0; node < free_.size(); ++node) {
      if (fits(need, free_[node]) &&
          std::ranges::none_of(found, [&](std::size_t other) { return alike(node, other); })) {
        found.push_back(node);
      }
    }
    std::ranges::stable_sort(found, {}, [&](std::size_t node) { return added(node); });
    return found;
  }

  // The least that the bundles from `depth` on can add.
  [[nodiscard]] Cost least(std::size_t depth) const {
    const std::size_t left = order_.size() - depth;
    return measure_ == Measure::kFew ? Cost{0, 0} : Cost{left, left};
  }

  [[nodiscard]] bool is_over() const {
    return steps_ >= kSearchSteps || (best_ && order_.size() > kSearchedBundles);
  }

  void descend(std::size_t depth, Cost cost) {
    if (depth == order_.size()) {
      best_ = chosen_;
      best_cost_ = cost;
      return;
    }
    const Resources& need = bundles_[order_[depth]];
    for (const std::size_t node : candidates(need)) {
      const Cost more = added(node);
      const Cost after{cost.first + more.first, cost.second + more.second};
      const Cost rest = least(depth + 1);
      if (best_ && Cost{after.first + rest.first, after.second + rest.second} >= best_cost_) {
        continue;
      }
      ++steps_;
      const Resources before = free_[node];
      free_[node] = without(before, need);
      ++on_node_[node];
      ++on_host_[cluster_.nodes[node].host];
      chosen_[order_[depth]] = node;
      descend(depth + 1, after);
      --on_host_[cluster_.nodes[node].host];
      --on_node_[node];
      free_[node] = before;
      if (is_over() || order_.size() > kSearchedBundles) {
        return;
      }
    }
  }

  const std::span<const Resources> bundles_;
  const Cluster& cluster_;
  const Measure measure_;
  const std::vector<std::size_t> order_;
  std::vector<std::size_t> kind_;  // of each host
  std::vector<Resources> free_;    // of each node, now
  std::vector<std::size_t> on_node_;
  std::vector<std::size_t> on_host_;
  std::vector<std::size_t> chosen_;
  std::optional<std::vector<std::size_t>> best_;
  Cost best_cost_;
  std::size_t steps_ = 0;
};

std::vector<int> names(const std::vector<std::size_t>& chosen, const Cluster& cluster) {
  std::vector<int> nodes;
  for (const std::size_t place : chosen) {
    nodes.push_back(cluster.nodes[place].node);
  }
  return nodes;
}

std::optional<std::vector<int>> pack_on_one_host(std::span<const Resources> bundles,
                                                 const Cluster& cluster) {
  std::optional<std::vector<int>> best;
  Cost best_cost;
  for (std::size_t host = 0; host < cluster.hosts; ++host) {
    const Cluster part = one_host(cluster, host);
    Search search(bundles, part, Measure::kFew);
    const auto& chosen = search.run();
    if (chosen && (!best || search.cost() < best_cost)) {
      best = names(*chosen, part);
      best_cost = search.cost();
    }
  }
  return best;
}

std::optional<std::vector<int>> search_all(std::span<const Resources> bundles,
                                           const Cluster& cluster, Measure measure) {
  Search search(bundles, cluster, measure);
  const auto& chosen = search.run();
  return chosen ? std::optional(names(*chosen, cluster)) : std::nullopt;
}

// A bipartite matching by augmenting paths: a bundle takes the first host that has room, and
// whoever is there looks for another.
class HostMatching {
 public:
  HostMatching(std::span<const Resources> bundles, const Cluster& cluster)
      : bundles_(bundles), cluster_(cluster), holder_(cluster.hosts) {}

  [[nodiscard]] std::optional<std::vector<int>> run() {
    for (std::size_t bundle = 0; bundle < bundles_.size(); ++bundle) {
      std::vector<bool> asked(cluster_.hosts, false);
      if (!place(bundle, asked)) {
        return std::nullopt;
      }
    }
    std::vector<int> nodes(bundles_.size());
    for (std::size_t host = 0; host < cluster_.hosts; ++host) {
      if (holder_[host]) {
        nodes[*holder_[host]] = cluster_.nodes[*room(*holder_[host], host)].node;
      }
    }
    return nodes;
  }

 private:
  [[nodiscard]] std::optional<std::size_t> room(std::size_t bundle, std::size_t host) const {
    for (std::size_t node = 0; node < cluster_.nodes.size(); ++node) {
      if (cluster_.nodes[node].host == host && fits(bundles_[bundle], cluster_.nodes[node].free)) {
        return node;
      }
    }
    return std::nullopt;
  }

  bool place(std::size_t bundle, std::vector<bool>& asked) {
    for (std::size_t host = 0; host < cluster_.hosts; ++host) {
      if (asked[host] || !room(bundle, host)) {
        continue;
      }
      asked[host] = true;
      if (!holder_[host] || place(*holder_[host], asked)) {
        holder_[host] = bundle;
        return true;
      }
    }
    return false;
  }

  const std::span<const Resources> bundles_;
  const Cluster& cluster_;
  std::vector<std::optional<std::size_t>> holder_;  // the bundle of each host
};

}  // namespace

std::optional<std::vector<int>> place_bundles(std::span<const Resources> bundles,
                                              PlacementStrategy strategy,
                                              std::span<const PlacementNode> nodes) {
  for (std::size_t i = 0; i < bundles.size(); ++i) {
    check_resources(bundles[i], fmt::format("bundle {}", i));
  }
  if (bundles.empty()) {
    return std::vector<int>{};
  }
  const Cluster cluster = cluster_of(nodes);
  switch (strategy) {
    case PlacementStrategy::kPack: {
      auto packed = pack_on_one_host(bundles, cluster);
      return packed ? packed : search_all(bundles, cluster, Measure::kFew);
    }
    case PlacementStrategy::kSpread:
      return search_all(bundles, cluster, Measure::kEven);
    case PlacementStrategy::kStrictPack:
      return pack_on_one_host(bundles, cluster);
    case PlacementStrategy::kStrictSpread:
      return HostMatching(bundles, cluster).run();
  }
  return std::nullopt;
}

std::optional<int> place_one(const Resources& need, std::span<const PlacementNode> nodes) {
  check_resources(need, "an actor");
  // The shares of cores, devices and memory that are in use, the largest first.
  using Use = std::array<double, 3>;
  std::optional<std::pair<Use, int>> best;
  for (const PlacementNode& node : nodes) {
    if (!fits(need, node.free)) {
      continue;
    }
    const auto share = [](double needed, double free, double total) {
      total = std::max(total, free);
      return total > 0 ? (total - free + needed) / total : 0.0;
    };
    Use use{share(need.cpu, node.free.cpu, node.total.cpu),
            share(need.gpu, node.free.gpu, node.total.gpu),
            share(static_cast<double>(need.memory), static_cast<double>(node.free.memory),
                  static_cast<double>(node.total.memory))};
    std::ranges::sort(use, std::greater<>{});
    const std::pair candidate{use, node.node};
    if (!best || candidate < *best) {
      best = candidate;
    }
  }
  return best ? std::optional(best->second) : std::nullopt;
}

}  // namespace desta::runtime
