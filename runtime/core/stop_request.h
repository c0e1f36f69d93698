// A wish that reaches a process from outside: stop at the next good moment, leaving all in order. It
// comes by a signal, or by the clock when the scheduler has told how long the job may run. Whoever
// works in steps looks here between them.
#pragma once

#include <chrono>
#include <string>

namespace desta::runtime {

// Notes that signal `number` asks to stop. Safe within a signal handler.
void request_stop(int number) noexcept;

// The process should have stopped by then.
void set_stop_deadline(std::chrono::system_clock::time_point deadline);

// True when a signal has asked, or when what comes next, `seconds` long, would end behind the deadline.
[[nodiscard]] bool stop_is_due(double seconds = 0);

// Why, for people: "signal SIGUSR1", "the time limit"; empty when no stop is due.
[[nodiscard]] std::string stop_reason();

// "SIGUSR1", or "signal 64" for one without a name.
[[nodiscard]] std::string signal_name(int number);

// Forgets what was asked: for tests.
void clear_stop_request();

}  // namespace desta::runtime
