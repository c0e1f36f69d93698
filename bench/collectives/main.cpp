// desta-bench-collectives: all-reduce of float32, in place, under mpirun: each of our algorithms,
// Open MPI's MPI_Allreduce, gloo's and a plain memory copy, on the same buffers, in turn.
// bench/collectives.sh runs it for all that RESULTS.md shows.
#include <mpi.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/collectives/peers.h"
#include "bench/collectives/report.h"
#include "bench/collectives/timing.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/core/error.h"

namespace {

using namespace desta::bench;
using desta::runtime::Communicator;
using desta::runtime::DType;
using desta::runtime::ReduceOp;

struct Settings {
  std::vector<std::size_t> sizes = {8,      1024,    4096,    16384,    65536,
                                    262144, 1 << 20, 4 << 20, 16 << 20, 64 << 20};
  std::vector<std::string> algorithms = {"auto"};  // may be none
  std::vector<std::string> memories = {"allocated", "user"};
  std::string csv;
  std::string open_mpi = "Open MPI";
  bool open_mpi_in_place = true;
  bool peers = true;
  int hosts = 0;  // as they are
  int rounds = 5;
  double seconds = 0.03;
};

class Bench {
 public:
  Bench(const desta::runtime::MpiEnvironment& job, Settings settings)
      : settings_(std::move(settings)),
        rank_(job.rank()),
        ranks_(job.size()),
        hosts_(settings_.hosts > 0 ? settings_.hosts : job.size() / job.local_size()),
        host_(rank_ / ((ranks_ + hosts_ - 1) / hosts_)),
        most_bytes_(std::ranges::max(settings_.sizes)) {
    for (const std::string& algorithm : settings_.algorithms) {
      add(job, algorithm);
    }
    user_.resize(most_bytes_ / sizeof(float));
    for (const std::string& memory : settings_.memories) {
      add_contenders(memory);
    }
  }

  void run() {
    for (const std::size_t bytes : settings_.sizes) {
      for (const Contender& contender : contenders_) {
        if (contender.reduces && bytes <= contender.most_bytes &&
            !sums_are_right(contender, bytes)) {
          throw desta::runtime::InternalError("{}: a wrong sum of {} bytes", contender.name, bytes);
        }
      }
      for (const Loop loop : {Loop::kBarrier, Loop::kBackToBack}) {
        time(bytes, loop);
      }
    }
    print_traffic();
    if (rank_ == 0 && !settings_.csv.empty()) {
      append_csv(settings_.csv, rows_);
    }
  }

 private:
  void add(const desta::runtime::MpiEnvironment& job, const std::string& algorithm) {
    desta::runtime::CommunicatorOptions options;
    options.algorithm = algorithm;
    options.tables.clear();
    if (settings_.hosts > 0) {
      options.host = "host" + std::to_string(host_);
    }
    communicators_.push_back(desta::runtime::make_communicator("mpi", job, options));
    names_.push_back(algorithm);
    shared_.push_back(communicators_.back()->allocate(most_bytes_));
  }

  void add_contenders(const std::string& memory) {
    float* data = user_.data();
    for (std::size_t i = 0; i < communicators_.size(); ++i) {
      if (memory == "allocated") {
        data = shared_[i].as<float>().data();
      }
      Communicator& communicator = *communicators_[i];
      contenders_.push_back({"desta " + names_[i], memory, data,
                             [&communicator, data](std::size_t bytes) -> std::function<void()> {
                               return [&communicator, data, bytes] {
                                 communicator.all_reduce(data, data, bytes / sizeof(float),
                                                         DType::kFloat32, ReduceOp::kSum);
                               };
                             }});
    }
    if (!settings_.open_mpi.empty()) {
      contenders_.push_back(
          open_mpi(settings_.open_mpi, memory, data, most_bytes_, settings_.open_mpi_in_place));
    }
    if (settings_.peers) {
      for (Contender& one : gloo(memory, data, meeting_place())) {
        contenders_.push_back(std::move(one));
      }
      contenders_.push_back(memory_copy(memory, data, most_bytes_));
    }
  }

  // A new folder that all ranks know.
  [[nodiscard]] std::string meeting_place() const {
    char name[64] = "/tmp/desta-bench-XXXXXX";
    if (rank_ == 0 && mkdtemp(name) == nullptr) {
      throw desta::runtime::InternalError("/tmp: cannot make a folder for gloo's ranks to meet");
    }
    MPI_Bcast(name, sizeof(name), MPI_CHAR, 0, MPI_COMM_WORLD);
    return name;
  }

  // The contenders take turns, so that what else the machine does hits all alike; of the rounds the
  // fastest counts.
  void time(std::size_t bytes, Loop loop) {
    std::map<std::size_t, Times> best;
    for (int round = 0; round < settings_.rounds; ++round) {
      for (std::size_t i = 0; i < contenders_.size(); ++i) {
        const Contender& contender = contenders_[i];
        if (bytes > contender.most_bytes) {
          continue;
        }
        const Times times = time_runs(contender.prepare(bytes), loop, settings_.seconds);
        if (!best.contains(i) || times.average < best[i].average) {
          best[i] = times;
        }
      }
    }
    if (rank_ == 0) {
      print_heading(bytes, loop);
      for (const auto& [i, times] : best) {
        rows_.push_back(
            {contenders_[i].name, contenders_[i].memory, loop, ranks_, hosts_, bytes, times});
        print_row(rows_.back());
      }
    }
  }

  // What leaves the first host in one all-reduce, beside the least that must.
  void print_traffic() {
    const std::size_t bytes = most_bytes_;
    for (std::size_t i = 0; i < communicators_.size(); ++i) {
      Communicator& communicator = *communicators_[i];
      const auto before = communicator.traffic().between_hosts;
      communicator.all_reduce(user_.data(), bytes / sizeof(float), DType::kFloat32, ReduceOp::kSum);
      auto left = host_ == 0 ? communicator.traffic().between_hosts - before : 0;
      MPI_Allreduce(MPI_IN_PLACE, &left, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
      if (rank_ == 0) {
        fmt::print(
            "# desta {}: algorithms {}; of {} bytes {} leave a host, the least is {}\n", names_[i],
            communicator.algorithms(), bytes, left,
            2 * static_cast<std::size_t>(hosts_ - 1) * bytes / static_cast<std::size_t>(hosts_));
      }
    }
  }

  const Settings settings_;
  const int rank_;
  const int ranks_;
  const int hosts_;
  const int host_;
  const std::size_t most_bytes_;
  std::vector<float> user_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<Communicator>> communicators_;
  std::vector<desta::runtime::SharedBuffer> shared_;
  std::vector<Contender> contenders_;
  std::vector<Row> rows_;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  CLI::App app("times all-reduces of float32 in place; start it with mpirun");
  app.add_option("--sizes", settings.sizes, "bytes of the buffer")->delimiter(',');
  app.add_option("--algorithms", settings.algorithms,
                 "of ours: auto, fastest, or names as in runtime.collectives")
      ->delimiter(';');
  app.add_option("--memory", settings.memories, "allocated, user")->delimiter(',');
  app.add_option("--csv", settings.csv, "appends to this file");
  app.add_option("--open-mpi", settings.open_mpi,
                 "what to call Open MPI as this job sets it; empty: leave it out");
  app.add_flag("--open-mpi-in-place,!--open-mpi-from-another", settings.open_mpi_in_place,
               "does it reduce in place, or from another buffer? han 4.1 in place reads at address 1");
  app.add_flag("--peers,!--no-peers", settings.peers, "gloo and the memory copy, too");
  app.add_option(
      "--hosts", settings.hosts,
      "the ranks are taken to be on so many hosts: those of different ones share no memory "
      "(default: as they are)");
  app.add_option("--rounds", settings.rounds, "of which the fastest counts");
  app.add_option("--seconds", settings.seconds, "for a contender, a size and a round");
  app.parse(argc, argv);
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Settings settings = parse(argc, argv);
    const desta::runtime::MpiEnvironment job(&argc, &argv);
    Bench(job, settings).run();
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.get_exit_code() == 0 ? 0 : desta::runtime::kExitBadInput;
  } catch (const desta::runtime::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return desta::runtime::exit_code(error.kind());
  }
  return 0;
}
