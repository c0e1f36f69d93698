// A dataset of many rows: how long it takes to open it, to shuffle an epoch, to read a row anywhere and to
// find out which keys are there, and what memory a process needs for that. One command each, so that each
// is measured in a process of its own: bench/dataset.sh runs them all.
//
//   bench_dataset make FOLDER ROWS ROWS_PER_SHARD    writes made-up rows through the writer
//   bench_dataset evict FOLDER                       asks the kernel to forget the folder's files
//   bench_dataset read FOLDER                        opens, shuffles, reads 2,000 rows in that order
//   bench_dataset scan FOLDER                        every row, in order
//   bench_dataset resume FOLDER                      what a writer does that goes on: the set of keys
#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <numeric>
#include <string>

#include "bench/figure.h"
#include "datagen/dataset.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace {

using namespace desta;
using bench::print_figure;
using bench::seconds_since;
using Clock = bench::Clock;

constexpr const char* kSystem = "desta";

// The most that this process has had in memory, MB.
double peak_memory() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmHWM:") {
      double kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1024e-6;
    }
  }
  return 0;
}

datagen::Row made_up(std::size_t number) {
  datagen::Row row;
  row.audio_filepath = fmt::format("/corpus/{:03}/{:08}.wav", number % 997, number);
  row.transcription = fmt::format("Sentence {} of many.", number);
  row.duration = 1 + static_cast<double>(number % 140) / 10;
  row.seed_transcript = fmt::format("[00:00:00 - 00:00:05]: \"{}\" (Gender:Male)", row.transcription);
  row.prompt = "What can you hear from the audio?";
  row.response = fmt::format("A man says: \"{}\" He speaks calmly.", row.transcription);
  row.metadata_json =
      R"([{"name":"gender","number":null,"source":"annotated","text":"Male","unit":"","word":"Male"}])";
  row.generator = "made-up";
  row.decoding = "max_new_tokens=200 temperature=0.7 top_p=0.9";
  row.seed = 1;
  row.id = datagen::row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                            row.decoding);
  return row;
}

void make(const std::string& folder, std::size_t rows, std::size_t rows_per_shard) {
  const auto start = Clock::now();
  datagen::DatasetWriter writer(folder, rows_per_shard);
  for (std::size_t i = 0; i < rows; ++i) {
    writer.append(made_up(i));
  }
  writer.finish();
  print_figure(kSystem, "make", seconds_since(start), "s");
}

void evict(const std::string& folder) {
  for (const auto& path : datagen::list_shards(folder)) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

void read(const std::string& folder) {
  auto start = Clock::now();
  const auto dataset = datagen::Dataset::open(folder);
  print_figure(kSystem, "open", seconds_since(start), "s");
  print_figure(kSystem, "rows", static_cast<double>(dataset.size()), "");
  start = Clock::now();
  std::vector<std::size_t> order(dataset.size());
  std::iota(order.begin(), order.end(), 0);
  runtime::Random(1).shuffle(order);
  print_figure(kSystem, "shuffle", seconds_since(start), "s");
  std::vector<double> seconds;
  for (std::size_t i = 0; i < std::min<std::size_t>(2000, order.size()); ++i) {
    start = Clock::now();
    const auto row = dataset.row(order[i]);
    seconds.push_back(seconds_since(start));
    if (row.id != dataset.id(order[i])) {
      throw runtime::InternalError("row {} has another id", order[i]);
    }
  }
  bench::print_latency(kSystem, "random_row", seconds);
  print_figure(kSystem, "peak_memory", peak_memory(), "MB");
}

void scan(const std::string& folder) {
  const auto start = Clock::now();
  std::size_t letters = 0;
  datagen::Dataset::open(folder).for_each(
      [&](std::size_t, const datagen::Row& row) { letters += row.response.size(); });
  print_figure(kSystem, "scan", seconds_since(start), "s");
  print_figure(kSystem, "letters", static_cast<double>(letters), "");
  print_figure(kSystem, "peak_memory", peak_memory(), "MB");
}

void resume(const std::string& folder) {
  const auto start = Clock::now();
  const datagen::DatasetWriter writer(folder);
  print_figure(kSystem, "resume", seconds_since(start), "s");
  print_figure(kSystem, "keys", static_cast<double>(writer.size()), "");
  print_figure(kSystem, "peak_memory", peak_memory(), "MB");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() == 4 && words[0] == "make") {
      make(words[1], std::stoul(words[2]), std::stoul(words[3]));
    } else if (words.size() == 2 && words[0] == "evict") {
      evict(words[1]);
    } else if (words.size() == 2 && words[0] == "read") {
      read(words[1]);
    } else if (words.size() == 2 && words[0] == "scan") {
      scan(words[1]);
    } else if (words.size() == 2 && words[0] == "resume") {
      resume(words[1]);
    } else {
      fmt::print(stderr, "usage: bench_dataset make FOLDER ROWS ROWS_PER_SHARD, or evict, read, scan or "
                         "resume FOLDER\n");
      return runtime::kExitBadInput;
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return runtime::kExitFailure;
  }
  return runtime::kExitOk;
}
