// The three stages of a wait, by its length so far: look again at once, give the core to others in
// between, sleep.
#pragma once

#include <sched.h>

#include <chrono>

namespace desta::runtime {

// A message between two ranks of one host takes a microsecond or less; what takes longer than
// kSpin is a rank that computes or that has no core. kYield is some ten times what a switch of
// processes costs with the work of a full time slice in between left out.
inline constexpr std::chrono::microseconds kSpin{20};
inline constexpr std::chrono::microseconds kYield{500};

inline void relax_core() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace desta::runtime
