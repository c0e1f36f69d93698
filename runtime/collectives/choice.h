// Which algorithm an all-reduce runs, by the size of its buffer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/collectives/flat_algorithms.h"

namespace desta::runtime {

struct Algorithm {
  // Ranks of one host reduce in shared memory, and `flat` runs between hosts; else between all
  // ranks.
  bool shared = false;
  Flat flat = Flat::kDirect;

  friend bool operator==(const Algorithm&, const Algorithm&) = default;
};

// The ranks of a communicator, by host.
struct Topology {
  std::vector<std::string> names;  // of the hosts, in the order of their first ranks
  std::vector<int> host_of;        // each rank's host
  bool shares_memory = false;      // the ranks of each host can

  [[nodiscard]] std::size_t ranks() const { return host_of.size(); }
  [[nodiscard]] std::size_t hosts() const { return names.size(); }
  [[nodiscard]] std::vector<int> ranks_of(int host) const;
  // The smallest number of ranks on a host.
  [[nodiscard]] std::size_t fewest() const;
  // "n1 x 2, n2 x 2": what a measured table holds for.
  [[nodiscard]] std::string text() const;
};

// "shared-memory" (one host), "hierarchical+ring", "ring".
[[nodiscard]] std::string name_of(Algorithm algorithm, const Topology& topology);

// What can run there: all of it, or only what gives the bits of the first one, the default.
[[nodiscard]] std::vector<Algorithm> candidates(const Topology& topology, bool same_bits);

class ChoiceTable {
 public:
  struct Row {
    std::size_t up_to = 0;  // bytes; the last row: any number
    Algorithm algorithm;
  };

  // One algorithm for every size.
  explicit ChoiceTable(Algorithm algorithm) : rows_{{SIZE_MAX, algorithm}} {}
  // Ascending, the last one up to SIZE_MAX. Neighbours with one algorithm become one row.
  explicit ChoiceTable(const std::vector<Row>& rows);
  // The inverse of text(); "hierarchical" alone is "hierarchical+direct". Throws ConfigError when a
  // name is unknown or cannot run on the topology.
  [[nodiscard]] static ChoiceTable parse(std::string_view text, const Topology& topology);

  [[nodiscard]] Algorithm at(std::size_t bytes) const;
  // "4096:recursive-doubling,1048576:direct,ring": up to so many bytes, and beyond.
  [[nodiscard]] std::string text(const Topology& topology) const;

 private:
  std::vector<Row> rows_;
};

}  // namespace desta::runtime
