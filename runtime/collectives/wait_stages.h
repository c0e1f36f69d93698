// The three stages of a wait, by its length so far: look again at once, give the core to others in
// between, sleep.
#pragma once

#include <sched.h>

#include <chrono>

namespace desta::runtime {

// A flag between two ranks of one host takes half a microsecond, a short message one to two; what
// takes longer than kSpin is a rank that computes or has no core. Neither has been tuned beyond
// that.
inline constexpr std::chrono::microseconds kSpin{20};
inline constexpr std::chrono::microseconds kYield{500};

inline void relax_core() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace desta::runtime
