// How fast the ranks of a pipeline load their parts of a model, beside plain reads of the same bytes by as
// many processes at the same time.
//
//   mpirun -n STAGES bench_loading LLM_FOLDER [ROUNDS]      in the repository's root
//
// desta: what a rank of desta-train does with the models before its first step: it opens the folders, builds
// its Stage and takes the checksum of each frozen tensor. Tensors are mapped, so it is the checksum that
// brings them in: the time ends when every byte has been looked at. The models are the stand-in Whisper and
// that Llama, in bfloat16, cut into as many stages as there are ranks.
// read(): the bytes of the same tensors, in order, in blocks of 1 MiB into one buffer that nobody looks at:
// what dd does.
// cold: the files' pages are dropped first (posix_fadvise). warm: the same again, right after.
//
// A first round is not counted: a virtual machine may have to get its memory from its host in it.
// Of each rank, medians of the rounds (read() comes first in every other): bytes of its own tensors; bytes
// that it has had fetched from the disk; bytes of the files that it has mapped at the end; seconds.
// Of the job: all ranks' own bytes over the slowest rank's seconds.
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "bench/figure.h"
#include "launch/program.h"
#include "models/safetensors.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/transport/mpi_environment.h"
#include "trainer/frozen_checksums.h"
#include "trainer/replica_engine.h"
#include "trainer/stage.h"

namespace {

using namespace desta;
namespace fs = std::filesystem;

constexpr std::uint64_t kBlock = 1 << 20;

struct Sample {
  double seconds = 0;
  double from_disk = 0;  // bytes
  double mapped = 0;     // bytes
};

// What this process has had fetched from the disk, by reads and by page faults (proc(5)).
double bytes_from_disk() {
  std::ifstream in("/proc/self/io");
  for (std::string key, value; in >> key >> value;) {
    if (key == "read_bytes:") {
      return std::stod(value);
    }
  }
  throw runtime::InternalError("/proc/self/io does not say what was read");
}

// Resident bytes of the mapped model files.
double mapped_bytes() {
  std::ifstream in("/proc/self/smaps");
  double kibibytes = 0;
  bool is_model = false;
  for (std::string line; std::getline(in, line);) {
    const auto key = line.substr(0, line.find(' '));
    if (!key.ends_with(':')) {  // the line that begins a mapping
      is_model = line.ends_with(".safetensors");
    } else if (is_model && key == "Rss:") {
      kibibytes += std::stod(line.substr(key.size()));
    }
  }
  return 1024 * kibibytes;
}

// A rank's part of the models, as ReplicaEngine loads it.
class Shard {
 public:
  Shard(const trainer::TrainingOptions& options, const trainer::ModelShapes& shapes,
        const trainer::StagePart& part)
      : speech_(options.models.speech, at::kBFloat16),
        llm_(options.models.llm, at::kBFloat16),
        stage_(part, shapes, speech_, llm_) {}

  void take_checksums() {
    frozen_.take("speech", speech_.loaded());
    frozen_.take("llm", llm_.loaded());
  }
  [[nodiscard]] const models::ModelFolder& speech() const { return speech_; }
  [[nodiscard]] const models::ModelFolder& llm() const { return llm_; }

 private:
  models::ModelFolder speech_;
  models::ModelFolder llm_;
  trainer::Stage stage_;
  trainer::FrozenChecksums frozen_;
};

// Bytes of a file that lie together.
struct Range {
  fs::path file;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// Where the tensors that were loaded from a folder lie, in order.
std::vector<Range> ranges_of(const fs::path& folder, const models::TensorMap& loaded) {
  std::vector<Range> tensors;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") {
      continue;
    }
    const models::SafetensorsFile file(entry.path());
    for (const auto& [name, place] : file.entries()) {
      if (loaded.contains(name)) {
        tensors.push_back({entry.path(), place.begin, place.end});
      }
    }
  }
  std::ranges::sort(tensors, {},
                    [](const Range& range) { return std::pair(range.file, range.begin); });
  std::vector<Range> ranges;
  for (const Range& tensor : tensors) {
    if (!ranges.empty() && ranges.back().file == tensor.file && ranges.back().end == tensor.begin) {
      ranges.back().end = tensor.end;
    } else {
      ranges.push_back(tensor);
    }
  }
  return ranges;
}

class OpenFile {
 public:
  explicit OpenFile(const fs::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) {
      throw runtime::DataError("{}: cannot open it", path.string());
    }
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { ::close(fd_); }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

void read_all(const std::vector<Range>& ranges) {
  std::vector<char> buffer(kBlock);
  for (const Range& range : ranges) {
    const OpenFile file(range.file);
    for (auto at = range.begin; at < range.end;) {
      const auto size = std::min(range.end - at, kBlock);
      const auto done = ::pread(file.fd(), buffer.data(), size, static_cast<off_t>(at));
      if (done <= 0) {
        throw runtime::DataError("{}: cannot be read", range.file.string());
      }
      at += static_cast<std::uint64_t>(done);
    }
  }
}

void drop_pages(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const OpenFile file(entry.path());
    ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

// Waits for all ranks without taking a core from those that still load; in a job, too, a rank that waits
// sleeps.
void meet() {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  for (int done = 0; done == 0;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
  }
}

// One way to load, and each round's samples by rank.
struct Contender {
  std::string system;
  std::function<void(Sample&)> load;
  std::vector<std::vector<Sample>> cold = {};
  std::vector<std::vector<Sample>> warm = {};
};

class Benchmark {
 public:
  Benchmark(const runtime::MpiEnvironment& mpi, const std::string& llm)
      : ranks_(static_cast<std::size_t>(mpi.size())), rank_(static_cast<std::size_t>(mpi.rank())) {
    options_.models.llm = llm;
    options_.pipeline.stages = mpi.size();
    shapes_ = trainer::read_shapes(options_);
    part_ = trainer::cut_models(options_)[rank_];
    const Shard shard(options_, shapes_, part_);
    ranges_ = ranges_of(options_.models.speech, shard.speech().loaded());
    const auto more = ranges_of(llm, shard.llm().loaded());
    ranges_.insert(ranges_.end(), more.begin(), more.end());
    double own = 0;
    for (const Range& range : ranges_) {
      own += static_cast<double>(range.end - range.begin);
    }
    own_ = gather(own);
    contenders_ = {{"desta", [this](Sample& sample) { load_shard(sample); }},
                   {"read()", [this](Sample& sample) { read_plainly(sample); }}};
  }

  void run(int rounds) {
    for (int round = 0; round <= rounds; ++round) {
      for (Contender& contender : contenders_) {
        meet();  // nobody has a page mapped any more
        if (rank_ == 0) {
          drop_pages(options_.models.speech);
          drop_pages(options_.models.llm);
        }
        const std::vector<Sample> cold = measure(contender);
        const std::vector<Sample> warm = measure(contender);
        if (round > 0) {
          contender.cold.push_back(cold);
          contender.warm.push_back(warm);
        }
      }
      std::ranges::reverse(contenders_);
    }
  }

  void print() const {
    if (rank_ != 0) {
      return;
    }
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      bench::print_figure("desta", fmt::format("loading_rank{}_own", rank), own_[rank], "B");
    }
    for (const Contender& contender : contenders_) {
      print(contender.system, "loading_cold", contender.cold);
      print(contender.system, "loading_warm", contender.warm);
    }
  }

 private:
  // Each rank's number, by rank.
  [[nodiscard]] std::vector<double> gather(double own) const {
    std::vector<double> all(ranks_);
    MPI_Allgather(&own, 1, MPI_DOUBLE, all.data(), 1, MPI_DOUBLE, MPI_COMM_WORLD);
    return all;
  }

  void load_shard(Sample& sample) const {
    const auto start = bench::Clock::now();
    Shard shard(options_, shapes_, part_);
    shard.take_checksums();
    sample.seconds = bench::seconds_since(start);
    sample.mapped = mapped_bytes();
  }

  void read_plainly(Sample& sample) const {
    const auto start = bench::Clock::now();
    read_all(ranges_);
    sample.seconds = bench::seconds_since(start);
  }

  [[nodiscard]] std::vector<Sample> measure(const Contender& contender) const {
    meet();
    Sample own;
    const double before = bytes_from_disk();
    contender.load(own);
    own.from_disk = bytes_from_disk() - before;
    meet();
    const auto seconds = gather(own.seconds);
    const auto from_disk = gather(own.from_disk);
    const auto mapped = gather(own.mapped);
    std::vector<Sample> samples;
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      samples.push_back({seconds[rank], from_disk[rank], mapped[rank]});
    }
    return samples;
  }

  void print(const std::string& system, const std::string& what,
             const std::vector<std::vector<Sample>>& rounds) const {
    const auto median = [&](std::size_t rank, double Sample::*value) {
      std::vector<double> values;
      for (const auto& samples : rounds) {
        values.push_back(samples[rank].*value);
      }
      return bench::quantile(values, 0.5);
    };
    double all = 0;
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      const std::string name = fmt::format("{}_rank{}", what, rank);
      bench::print_figure(system, name + "_from_disk", median(rank, &Sample::from_disk), "B");
      bench::print_figure(system, name + "_mapped", median(rank, &Sample::mapped), "B");
      bench::print_figure(system, name + "_seconds", median(rank, &Sample::seconds), "s");
      all += own_[rank];
    }
    std::vector<double> speeds;
    for (const auto& samples : rounds) {
      speeds.push_back(all / 1e9 / std::ranges::max(samples, {}, &Sample::seconds).seconds);
    }
    bench::print_figure(system, what + "_job_median", bench::quantile(speeds, 0.5), "GB/s");
    bench::print_figure(system, what + "_job_slowest", bench::quantile(speeds, 0), "GB/s");
    bench::print_figure(system, what + "_job_fastest", bench::quantile(speeds, 1), "GB/s");
  }

  std::size_t ranks_;
  std::size_t rank_;
  trainer::TrainingOptions options_;
  trainer::ModelShapes shapes_;
  trainer::StagePart part_;
  std::vector<Range> ranges_;
  std::vector<double> own_;
  std::vector<Contender> contenders_;
};

}  // namespace

int main(int argc, char** argv) {
  const runtime::MpiEnvironment mpi(&argc, &argv);
  runtime::init_logging(mpi.rank());
  if (argc < 2) {
    return launch::fail(mpi, "usage: mpirun -n STAGES bench_loading LLM_FOLDER [ROUNDS]",
                        runtime::kExitBadInput);
  }
  try {
    Benchmark benchmark(mpi, argv[1]);
    benchmark.run(argc > 2 ? std::stoi(argv[2]) : 3);
    benchmark.print();
  } catch (const std::exception& error) {
    return launch::fail(mpi, error.what(), runtime::kExitFailure);
  }
  return runtime::kExitOk;
}
