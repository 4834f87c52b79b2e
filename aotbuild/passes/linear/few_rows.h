// How products of few rows read their weights: each once, at the speed of memory.
//
// One to four rows, as when a language model makes one token after another, have so little
// arithmetic that memory is what they wait for. Prefetchers of CPUs follow a panel, but stop at
// each page and begin anew at each panel. So what is needed soon is asked for by instructions
// (Callahan, Kennedy & Porterfield, "Software prefetching", ASPLOS 1991), and that while other
// panels are multiplied.
#ifndef AOTBUILD_FEW_ROWS_H
#define AOTBUILD_FEW_ROWS_H

#include <cstdint>

#include "../simd/panels.h"
#include "../simd/vectors.h"

namespace aotbuild {

// The most rows that wait for memory, and not for arithmetic: those whose sums stay in registers.
constexpr int kFewRows = kRows < 4 ? kRows : 4;

// How far before its use a weight is asked for, in bytes: what a memory with a latency of 100 ns
// and 80 GB/s has on its way at a time (Little's law).
constexpr int64_t kAhead = 8192;
constexpr int64_t kLine = 64;  // bytes of a step: of a line of the cache

// What is asked for while P panels of so many steps are read, which lie one behind the other: what
// is used kSteps later, which is in the same panel for the first part of the steps, and in the one
// P behind for the rest, with which the next call begins. Behind the last panel of a matrix that
// may be any address: such requests have no effect.
template <int P, class T>
struct Requests {
  static constexpr int64_t kAt = kLine / sizeof(T), kSteps = kAhead / kLine / P;
  static constexpr int kParts = 2;
  int64_t steps, within;
  AOTBUILD_INLINE explicit Requests(int64_t steps)
      : steps(steps), within(steps > kSteps ? steps - kSteps : 0) {}
  // The step behind the last one of a part.
  AOTBUILD_INLINE int64_t end(int part) const { return part ? steps : within; }
  // How far behind what is used lies what is asked for.
  AOTBUILD_INLINE int64_t distance(int part) const {
    return part ? (P * steps - within) * kAt : kSteps * kAt;
  }
  // Asks for a line of each panel.
  AOTBUILD_INLINE void at(const T* line) const {
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) __builtin_prefetch(line + p * steps * kAt, 0, 3);
  }
};

}  // namespace aotbuild
#endif
