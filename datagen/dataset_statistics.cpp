#include "datagen/dataset_statistics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "datagen/key_set.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMostBins = 30;
constexpr double kShareInBins = 0.995;

// 1, 2 or 5 times a power of ten, at least `width`.
double round_width(double width) {
  const double power = std::pow(10.0, std::floor(std::log10(width)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= width * (1 - 1e-9)) {
      return factor * power;
    }
  }
  return 10 * power;
}

float words_in(const std::string& text) {
  bool inside = false;
  std::size_t words = 0;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return static_cast<float>(words);
}

float characters_in(const std::string& text) {
  return static_cast<float>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

struct AttributeCounts {
  std::string unit;
  std::map<std::string, WordCount> words;
  std::vector<float> numbers;
};

struct GeneratorCounts {
  std::unordered_set<std::uint64_t> seeds;
  std::uint64_t rows = 0;
};

class Counter {
 public:
  void add(const Row& row) {
    ++rows_;
    ++prompts_[row.prompt];
    ++groups_[row.group];
    GeneratorCounts& generator = generators_[{row.generator, row.decoding}];
    ++generator.rows;
    generator.seeds.insert(row.seed);
    empty_ += row.response.empty() ? 1 : 0;
    words_.push_back(words_in(row.response));
    characters_.push_back(characters_in(row.response));
    if (recordings_.insert(runtime::hash64(row.audio_filepath))) {
      seconds_ += row.duration;
      durations_.push_back(static_cast<float>(row.duration));
    }
    for (const Attribute& attribute : metadata_of(row)) {
      count(attribute);
    }
  }

  void finish(DatasetStatistics& statistics) {
    statistics.rows = rows_;
    statistics.recordings = recordings_.size();
    statistics.seconds = seconds_;
    statistics.empty_responses = empty_;
    statistics.durations = distribution_of(std::move(durations_));
    statistics.response_words = distribution_of(std::move(words_));
    statistics.response_characters = distribution_of(std::move(characters_));
    for (auto& [name, counts] : attributes_) {
      statistics.attributes.push_back(balance(name, counts));
    }
    for (const auto& [prompt, rows] : prompts_) {
      statistics.prompts.push_back({prompt, rows});
    }
    for (const auto& [group, rows] : groups_) {
      if (groups_.size() > 1 || !group.empty()) {
        statistics.groups.push_back({group, rows});
      }
    }
    for (const auto& [key, counts] : generators_) {
      statistics.generators.push_back({key.first, key.second, counts.seeds.size(), counts.rows});
    }
    const auto sort = [](auto& counts, auto name) {
      std::sort(counts.begin(), counts.end(), [&](const auto& a, const auto& b) {
        return a.rows != b.rows ? a.rows > b.rows : a.*name < b.*name;
      });
    };
    sort(statistics.prompts, &PromptCount::prompt);
    sort(statistics.groups, &GroupCount::group);
    sort(statistics.generators, &GeneratorCount::decoding);
  }

 private:
  void count(const Attribute& attribute) {
    AttributeCounts& counts = attributes_[attribute.name];
    WordCount& word = counts.words[attribute.word];
    ++(attribute.source == Source::kAnnotated   ? word.annotated
       : attribute.source == Source::kMeasured ? word.measured
                                               : word.model);
    if (attribute.number) {
      counts.numbers.push_back(static_cast<float>(*attribute.number));
      counts.unit = attribute.unit;
    }
  }

  AttributeBalance balance(const std::string& name, AttributeCounts& counts) const {
    AttributeBalance balance;
    balance.name = name;
    balance.unit = counts.unit;
    for (auto& [word, count] : counts.words) {
      count.word = word;
      balance.annotated += count.annotated;
      balance.measured += count.measured;
      balance.model += count.model;
      balance.words.push_back(count);
    }
    balance.absent = rows_ - balance.annotated - balance.measured - balance.model;
    std::stable_sort(balance.words.begin(), balance.words.end(),
                     [](const auto& a, const auto& b) { return a.rows() > b.rows(); });
    balance.numbers = distribution_of(std::move(counts.numbers));
    return balance;
  }

  std::uint64_t rows_ = 0;
  std::uint64_t empty_ = 0;
  double seconds_ = 0;
  KeySet recordings_;
  std::map<std::string, AttributeCounts> attributes_;
  std::unordered_map<std::string, std::uint64_t> prompts_;
  std::map<std::string, std::uint64_t> groups_;
  std::map<std::pair<std::string, std::string>, GeneratorCounts> generators_;
  std::vector<float> durations_;
  std::vector<float> words_;
  std::vector<float> characters_;
};

// "3 by a model, " where there are any.
std::string by_models(std::uint64_t rows) {
  return rows == 0 ? "" : fmt::format("{} by a model, ", fmt::group_digits(rows));
}

// " (measured)", or how many rows have it from whom.
std::string sources_of(const WordCount& word) {
  const auto alone = {std::pair(word.annotated, "annotated"), std::pair(word.measured, "measured"),
                      std::pair(word.model, "by a model")};
  std::string all;
  for (const auto& [rows, source] : alone) {
    if (rows == word.rows()) {
      return fmt::format(" ({})", source);
    }
    if (rows > 0) {
      all += fmt::format("{}{} {}", all.empty() ? "" : ", ", fmt::group_digits(rows), source);
    }
  }
  return fmt::format(" ({})", all);
}

void add_line(std::string& text, const std::string& name, std::uint64_t rows, std::uint64_t all,
              const std::string& more = {}) {
  const double share = all == 0 ? 0 : 100.0 * static_cast<double>(rows) / static_cast<double>(all);
  text += fmt::format("  {:>11} {:>6.1f} %  {}{}\n", fmt::group_digits(rows), share, name, more);
}

void add_distribution(std::string& text, const std::string& name, const std::string& unit,
                      const Distribution& numbers) {
  if (numbers.count == 0) {
    return;
  }
  text += fmt::format("{}: {:.4g} to {:.4g}{}, median {:.4g}, mean {:.4g}\n", name, numbers.minimum,
                      numbers.maximum, unit.empty() ? "" : " " + unit, numbers.median, numbers.mean);
}

void add_histogram(std::string& text, const Distribution& numbers) {
  constexpr double kWidth = 40;
  const auto most = std::max_element(numbers.bins.begin(), numbers.bins.end());
  for (std::size_t i = 0; i < numbers.bins.size(); ++i) {
    const double share = static_cast<double>(numbers.bins[i]) / static_cast<double>(*most);
    text += fmt::format("  {:>8.5g} {:<40} {}\n", numbers.first + static_cast<double>(i) * numbers.width,
                        std::string(static_cast<std::size_t>(std::ceil(kWidth * share)), '#'),
                        fmt::group_digits(numbers.bins[i]));
  }
}

// The rejected rows by filter, the filter with the most first.
std::vector<FilterCount> count_rejected(const fs::path& folder) {
  constexpr std::size_t kSamples = 3;
  std::map<std::string, std::vector<RejectedRow>> by_filter;
  for (RejectedRow& rejected : read_rejected(folder).rows) {
    by_filter[rejected.rejection.filter].push_back(std::move(rejected));
  }
  std::vector<FilterCount> counts;
  for (auto& [filter, rows] : by_filter) {
    FilterCount count{filter, rows.size(), {}};
    const std::size_t samples = std::min(kSamples, rows.size());
    for (std::size_t i = 0; i < samples; ++i) {
      count.samples.push_back(std::move(rows[i * rows.size() / samples]));
    }
    counts.push_back(std::move(count));
  }
  std::stable_sort(counts.begin(), counts.end(),
                   [](const FilterCount& a, const FilterCount& b) { return a.rows > b.rows; });
  return counts;
}

}  // namespace

Distribution distribution_of(std::vector<float> numbers) {
  std::erase_if(numbers, [](float number) { return !std::isfinite(number); });
  Distribution result;
  result.count = numbers.size();
  if (numbers.empty()) {
    return result;
  }
  std::sort(numbers.begin(), numbers.end());
  const std::size_t middle = numbers.size() / 2;
  result.minimum = numbers.front();
  result.maximum = numbers.back();
  result.median = numbers.size() % 2 == 1 ? numbers[middle]
                                          : (double{numbers[middle - 1]} + numbers[middle]) / 2;
  for (const float number : numbers) {
    result.mean += number / static_cast<double>(numbers.size());
  }
  const double top = numbers[static_cast<std::size_t>(
      kShareInBins * static_cast<double>(numbers.size() - 1))];
  const double range = top - result.minimum;
  // Two fewer, since the first bin begins at a multiple of the width.
  result.width = range > 0 ? round_width(range / (kMostBins - 2)) : 1;
  result.first = std::floor(result.minimum / result.width) * result.width;
  result.bins.assign(static_cast<std::size_t>((top - result.first) / result.width) + 1, 0);
  for (const float number : numbers) {
    const auto bin = static_cast<std::size_t>((number - result.first) / result.width);
    ++result.bins[std::min(bin, result.bins.size() - 1)];
  }
  return result;
}

Metadata metadata_of(const Row& row) {
  if (row.metadata_json.empty() || row.metadata_json == "{}") {
    return {};
  }
  try {
    return metadata_from_json(nlohmann::json::parse(row.metadata_json));
  } catch (const nlohmann::json::parse_error&) {
    throw runtime::DataError("row {}: its metadata are not JSON", row.id);
  } catch (const runtime::DataError& error) {
    throw runtime::DataError("row {}: {}", row.id, error.what());
  }
}

DatasetStatistics dataset_statistics(const fs::path& folder) {
  DatasetStatistics statistics;
  statistics.folder = folder;
  for (const fs::path& shard : require_shards(folder)) {
    ++statistics.shards;
    statistics.bytes += fs::file_size(shard);
  }
  Counter counter;
  Dataset::open(folder).for_each([&](std::size_t, const Row& row) { counter.add(row); });
  counter.finish(statistics);
  statistics.filters = count_rejected(folder);
  return statistics;
}

std::string statistics_text(const DatasetStatistics& statistics, std::size_t most) {
  const std::uint64_t rows = statistics.rows;
  std::string text = fmt::format(
      "{}: {} rows in {} shards, {:.1f} MB; {} recordings, {:.2f} h; {} responses are empty\n",
      statistics.folder.string(), fmt::group_digits(rows), fmt::group_digits(statistics.shards),
      1e-6 * static_cast<double>(statistics.bytes), fmt::group_digits(statistics.recordings),
      statistics.seconds / 3600, fmt::group_digits(statistics.empty_responses));
  const auto add_most = [&](const auto& counts, auto&& add, auto&& rows_of) {
    std::uint64_t others = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (i < most) {
        add(counts[i]);
      } else {
        others += rows_of(counts[i]);
      }
    }
    if (counts.size() > most) {
      add_line(text, fmt::format("({} others)", fmt::group_digits(counts.size() - most)), others, rows);
    }
  };
  for (const AttributeBalance& attribute : statistics.attributes) {
    text += fmt::format("\n{}: {} annotated, {} measured, {}{} without\n", attribute.name,
                        fmt::group_digits(attribute.annotated),
                        fmt::group_digits(attribute.measured), by_models(attribute.model),
                        fmt::group_digits(attribute.absent));
    add_distribution(text, "  numbers", attribute.unit, attribute.numbers);
    add_most(
        attribute.words,
        [&](const WordCount& word) {
          add_line(text, word.word.empty() ? "(no word)" : word.word, word.rows(), rows,
                   sources_of(word));
        },
        [](const WordCount& word) { return word.rows(); });
  }
  text += "\nprompts:\n";
  add_most(
      statistics.prompts,
      [&](const PromptCount& prompt) { add_line(text, prompt.prompt, prompt.rows, rows); },
      [](const PromptCount& prompt) { return prompt.rows; });
  if (!statistics.groups.empty()) {
    text += "\ngroups of prompts:\n";
    for (const GroupCount& group : statistics.groups) {
      add_line(text, group.group.empty() ? "(none)" : group.group, group.rows, rows);
    }
  }
  if (!statistics.filters.empty()) {
    std::uint64_t taken = 0;
    for (const FilterCount& filter : statistics.filters) {
      taken += filter.rows;
    }
    text += fmt::format("\ntaken out by filters: {} of {} responses\n", fmt::group_digits(taken),
                        fmt::group_digits(rows + taken));
    for (const FilterCount& filter : statistics.filters) {
      add_line(text, filter.filter, filter.rows, rows + taken);
      for (const RejectedRow& sample : filter.samples) {
        text += fmt::format("      {} ({}): {}\n", sample.row.id, sample.rejection.reason, sample.row.response);
      }
    }
  }
  text += "\ngenerators:\n";
  for (const GeneratorCount& generator : statistics.generators) {
    add_line(text, generator.generator, generator.rows, rows,
             fmt::format("; {}; {} seeds",
                         generator.decoding.empty() ? "decoding not kept" : generator.decoding,
                         fmt::group_digits(generator.seeds)));
  }
  for (const auto& [name, unit, numbers] :
       {std::tuple("durations of recordings", "s", &statistics.durations),
        std::tuple("response lengths", "words", &statistics.response_words),
        std::tuple("response lengths", "characters", &statistics.response_characters)}) {
    text += "\n";
    add_distribution(text, name, unit, *numbers);
    add_histogram(text, *numbers);
  }
  return text;
}

}  // namespace desta::datagen
