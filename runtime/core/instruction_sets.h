// DESTA_FOR_EACH_MACHINE before a function: it is compiled for several instruction sets, and the loader
// takes the widest that the machine has.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define DESTA_FOR_EACH_MACHINE \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DESTA_FOR_EACH_MACHINE
#endif
