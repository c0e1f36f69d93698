#include "runtime/collectives/choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

constexpr std::string_view kShared = "shared-memory";
constexpr std::string_view kHierarchical = "hierarchical";

std::string known_names(const Topology& topology) {
  std::vector<std::string> names;
  for (const Algorithm algorithm : candidates(topology, false)) {
    names.push_back(name_of(algorithm, topology));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

Algorithm algorithm_named(std::string_view name, const Topology& topology) {
  for (const Algorithm algorithm : candidates(topology, false)) {
    if (name_of(algorithm, topology) == name) {
      return algorithm;
    }
  }
  if (name == kHierarchical && topology.shares_memory) {
    return {true, Flat::kDirect};
  }
  throw ConfigError("no collective algorithm '{}' for ranks on {}; choose auto, fastest, or of {}",
                    name, topology.text(), known_names(topology));
}

}  // namespace

std::vector<int> Topology::ranks_of(int host) const {
  std::vector<int> found;
  for (std::size_t rank = 0; rank < ranks(); ++rank) {
    if (host_of[rank] == host) {
      found.push_back(static_cast<int>(rank));
    }
  }
  return found;
}

std::size_t Topology::fewest() const {
  std::size_t fewest = ranks();
  for (std::size_t host = 0; host < hosts(); ++host) {
    fewest = std::min(fewest, ranks_of(static_cast<int>(host)).size());
  }
  return fewest;
}

std::string Topology::text() const {
  std::string text;
  for (std::size_t host = 0; host < hosts(); ++host) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", names[host],
                        ranks_of(static_cast<int>(host)).size());
  }
  return text;
}

std::string name_of(Algorithm algorithm, const Topology& topology) {
  if (!algorithm.shared) {
    return std::string(name_of(algorithm.flat));
  }
  return topology.hosts() == 1 ? std::string(kShared)
                               : fmt::format("{}+{}", kHierarchical, name_of(algorithm.flat));
}

std::vector<Algorithm> candidates(const Topology& topology, bool same_bits) {
  std::vector<Algorithm> found;
  // Of two operands all but the ring take the lower rank's first; Open MPI does not say.
  const auto add_flat = [&](bool shared, std::size_t members) {
    for (const Flat flat : kAllFlat) {
      const bool same =
          flat == Flat::kDirect ||
          (members == 2 && (flat == Flat::kRecursiveDoubling || flat == Flat::kHalvingDoubling));
      if (!same_bits || same) {
        found.push_back({shared, flat});
      }
    }
  };
  const bool one_host = topology.hosts() == 1;
  if (topology.shares_memory && one_host) {
    found.push_back({true, Flat::kDirect});
  } else if (topology.shares_memory) {
    add_flat(true, topology.hosts());
  }
  if (!same_bits || !topology.shares_memory) {
    add_flat(false, topology.ranks());
  }
  return found;
}

ChoiceTable::ChoiceTable(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    if (!rows_.empty() && rows_.back().algorithm == row.algorithm) {
      rows_.back().up_to = row.up_to;
    } else {
      rows_.push_back(row);
    }
  }
}

ChoiceTable ChoiceTable::parse(std::string_view text, const Topology& topology) {
  std::vector<Row> rows;
  for (std::string_view rest = text; !rest.empty() || rows.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    std::string_view entry = rest.substr(0, comma);
    const bool last = comma == rest.size();
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    std::size_t up_to = SIZE_MAX;
    if (const std::size_t colon = entry.find(':'); colon != std::string_view::npos) {
      const auto parsed = std::from_chars(entry.data(), entry.data() + colon, up_to);
      if (parsed.ec != std::errc() || parsed.ptr != entry.data() + colon) {
        throw ConfigError("'{}' in the collective algorithms '{}' is no number of bytes",
                          entry.substr(0, colon), text);
      }
      entry.remove_prefix(colon + 1);
    }
    if (last != (up_to == SIZE_MAX) || (!rows.empty() && rows.back().up_to >= up_to)) {
      throw ConfigError(
          "the collective algorithms '{}' must be 'bytes:name' with ascending bytes, then a name "
          "for all beyond",
          text);
    }
    rows.push_back({up_to, algorithm_named(entry, topology)});
  }
  return ChoiceTable(rows);
}

Algorithm ChoiceTable::at(std::size_t bytes) const {
  return std::ranges::find_if(rows_, [bytes](const Row& row) { return bytes <= row.up_to; })
      ->algorithm;
}

std::string ChoiceTable::text(const Topology& topology) const {
  std::string text;
  for (const Row& row : rows_) {
    text += row.up_to == SIZE_MAX
                ? name_of(row.algorithm, topology)
                : fmt::format("{}:{},", row.up_to, name_of(row.algorithm, topology));
  }
  return text;
}

}  // namespace desta::runtime
