// Metrics, traces, progress and the log.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/core/progress.h"
#include "runtime/telemetry/metrics_writer.h"
#include "runtime/telemetry/trace.h"

namespace desta::runtime {
namespace {

namespace fs = std::filesystem;

class Telemetry : public ::testing::Test {
 protected:
  ~Telemetry() override { fs::remove_all(folder_); }
  const fs::path folder_ =
      fs::temp_directory_path() / ("desta-telemetry-" + std::to_string(::getpid()));
};

std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::istringstream in(read_file(path));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(nlohmann::json::parse(line, nullptr, false));
  }
  return lines;
}

TEST_F(Telemetry, MetricsAreOneObjectALineWholeAtOnceAndAppended) {
  const fs::path path = folder_ / "run" / "metrics.jsonl";
  {
    MetricsWriter writer(path);
    writer.write({{"step", 1}, {"loss", 2.5}});
    EXPECT_EQ(read_file(path), "{\"step\":1,\"loss\":2.5}\n") << "flushed while still open";
  }
  MetricsWriter(path).write({{"step", 2}});
  EXPECT_EQ(lines_of(path).size(), 2U);
}

TEST_F(Telemetry, MetricsOfManyThreadsDoNotMix) {
  const fs::path path = folder_ / "metrics.jsonl";
  MetricsWriter writer(path);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&writer, thread] {
      for (int i = 0; i < 50; ++i) {
        writer.write({{"thread", thread}, {"text", std::string(200, 'x')}});
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  const auto lines = lines_of(path);
  EXPECT_EQ(lines.size(), 200U);
  for (const auto& line : lines) {
    EXPECT_TRUE(line.is_object());
  }
}

TEST_F(Telemetry, MetricsAfterATornLineStartOnTheirOwn) {
  const fs::path path = folder_ / "metrics.jsonl";
  fs::create_directories(folder_);
  std::ofstream(path) << "{\"step\":1}\n{\"ste";
  MetricsWriter(path).write({{"step", 2}});
  EXPECT_EQ(lines_of(path).at(2).at("step"), 2);
}

TEST_F(Telemetry, MetricsNameAFileThatCannotBeWritten) {
  EXPECT_THROW(MetricsWriter("/proc/no/metrics.jsonl"), InternalError);
  MetricsWriter full("/dev/full");
  EXPECT_THROW(full.write({{"step", 1}}), InternalError);
}

TEST_F(Telemetry, TraceHoldsSpansOfEachThread) {
  Trace trace(3);
  { const Trace::Span ignored(trace, "before enable"); }
  trace.enable();
  trace.name_thread("main");
  {
    const Trace::Span outer(trace, "step", "pipeline");
    const Trace::Span inner(trace, "forward");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::thread([&] { const Trace::Span span(trace, "elsewhere"); }).join();
  const fs::path path = folder_ / "trace.json";
  trace.write(path);
  const auto events = nlohmann::json::parse(read_file(path)).at("traceEvents");
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0].at("args").at("name"), "main");
  EXPECT_EQ(events[1].at("name"), "forward");
  EXPECT_GE(events[1].at("dur").get<double>(), 5000.0);
  EXPECT_EQ(events[2].at("name"), "step");
  EXPECT_EQ(events[2].at("cat"), "pipeline");
  EXPECT_LE(events[2].at("ts").get<double>(), events[1].at("ts").get<double>());
  EXPECT_EQ(events[2].at("pid"), 3);
  EXPECT_NE(events[3].at("tid"), events[2].at("tid"));
}

TEST_F(Telemetry, FullTraceKeepsWhatItHasAndCountsTheRest) {
  Trace trace(0, 5);
  trace.enable();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 4; ++i) {
        const Trace::Span span(trace, "call");
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(trace.left_out(), 7U);
  const fs::path path = folder_ / "trace.json";
  trace.write(path);
  const auto file = nlohmann::json::parse(read_file(path));
  EXPECT_EQ(file.at("traceEvents").size(), 5U);
  EXPECT_EQ(file.at("otherData").at("eventsLeftOut"), 7);
}

TEST(Progress, ShowsPercentRateAndTimeLeft) {
  // 420 of 1000 in 42 s: 10 a second, 58 s to go.
  EXPECT_EQ(format_progress("train", 420, 1000, 42.0, "loss 2.1"),
            "train  42% 420/1000  10/s  0:58 left  loss 2.1");
  EXPECT_EQ(format_progress("train", 1, 10801, 1.0, ""),
            "train   0% 1/10801  1.00/s  3:00:00 left");
  EXPECT_EQ(format_progress("read", 5, 0, 2.0, ""), "read 5  2.50/s");
  EXPECT_EQ(format_progress("read", 0, 10, 0.0, ""), "read   0% 0/10  0.00/s");
}

TEST(Log, UnknownLevelIsAConfigError) {
  EXPECT_THROW(init_logging(0, "loud"), ConfigError);
  EXPECT_NO_THROW(init_logging(0, "warn"));
  EXPECT_FALSE(log().should_log(spdlog::level::info));
  init_logging(0, "info");
}

}  // namespace
}  // namespace desta::runtime
