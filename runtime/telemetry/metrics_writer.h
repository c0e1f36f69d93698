// metrics.jsonl: one JSON object a line, on disk as soon as it is written, so that a person or a
// plot can follow a run and a killed run loses no line.
#pragma once

#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

namespace desta::runtime {

class MetricsWriter {
 public:
  // Opens (or makes) the file to append to; folders are made. A line that a killed run left
  // unfinished is closed first. Throws InternalError when it cannot.
  explicit MetricsWriter(std::filesystem::path path);

  // Appends one object and flushes. Thread-safe. Throws InternalError when the disk is full.
  void write(const nlohmann::ordered_json& object);

 private:
  const std::filesystem::path path_;
  std::mutex mutex_;
  std::ofstream out_;
};

}  // namespace desta::runtime
