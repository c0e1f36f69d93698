#include "launch/sweep_state.h"

#include <fmt/chrono.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

TrialStatus status_of(const std::string& name) {
  for (const auto status :
       {TrialStatus::kPending, TrialStatus::kRunning, TrialStatus::kDone, TrialStatus::kFailed}) {
    if (to_string(status) == name) {
      return status;
    }
  }
  throw runtime::DataError("'{}' is not a status", name);
}

}  // namespace

std::string to_string(TrialStatus status) {
  switch (status) {
    case TrialStatus::kPending:
      return "pending";
    case TrialStatus::kRunning:
      return "running";
    case TrialStatus::kDone:
      return "done";
    case TrialStatus::kFailed:
      return "failed";
  }
  return "";
}

std::string utc_now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

TrialState TrialFolder::read() const {
  TrialState state;
  if (!fs::exists(state_path())) {
    return state;
  }
  try {
    const auto json = nlohmann::json::parse(runtime::read_file(state_path()));
    state.status = status_of(json.at("status"));
    state.attempts = json.at("attempts");
    state.round = json.at("round");
    state.exit_code = json.at("exit_code");
    state.message = json.at("message");
    state.started = json.at("started");
    state.ended = json.at("ended");
    state.host = json.at("host");
    state.pid = json.at("pid");
    state.sweeper = json.at("sweeper");
    state.version = json.at("version");
    return state;
  } catch (const std::exception& error) {
    std::string reason = error.what();
    runtime::log().warn("{}: damaged ({}); the trial counts as pending", state_path().string(),
                        reason.substr(0, reason.find('\n')));
    return {};
  }
}

TrialState TrialFolder::current() const {
  TrialState state = read();
  if (state.status == TrialStatus::kRunning && !is_locked()) {
    state = read();  // it may have ended in between
    if (state.status == TrialStatus::kRunning) {
      state.status = TrialStatus::kPending;
      state.message = "its process is gone";
    }
  }
  return state;
}

void TrialFolder::write(const TrialState& state) const {
  const nlohmann::ordered_json json = {{"status", to_string(state.status)},
                                       {"attempts", state.attempts},
                                       {"round", state.round},
                                       {"exit_code", state.exit_code},
                                       {"message", state.message},
                                       {"started", state.started},
                                       {"ended", state.ended},
                                       {"host", state.host},
                                       {"pid", state.pid},
                                       {"sweeper", state.sweeper},
                                       {"version", state.version}};
  runtime::write_file_atomically(
      state_path(), json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace desta::launch
