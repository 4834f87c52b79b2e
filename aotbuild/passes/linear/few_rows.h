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

// Does step(from, i) for each step i of P panels that lie one behind the other, where from is the
// address of the step in the first of them. Asked for is what is used so many steps later: in the
// same panel, and near its end in the one P behind, with which the next call begins. Behind the
// last panel of a matrix that may be any address: such requests have no effect.
template <int P, class T, class Step>
AOTBUILD_INLINE void stream_panels(const T* from, int64_t steps, Step step) {
  constexpr int64_t kAt = kLine / sizeof(T), kSteps = kAhead / kLine / P;
  const int64_t panel = steps * kAt, within = steps > kSteps ? steps - kSteps : 0;
  auto part = [&](int64_t first, int64_t last, int64_t ahead) __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int64_t i = first; i < last; i++, from += kAt) {
#pragma GCC unroll 8
      for (int p = 0; p < P; p++) __builtin_prefetch(from + ahead + p * panel, 0, 3);
      step(from, i);
    }
  };
  part(0, within, kSteps * kAt);
  part(within, steps, P * panel - within * kAt);
}

}  // namespace aotbuild
#endif
