// The addresses of rows that lie at equal distances.
#ifndef AOTBUILD_STRIDED_ROWS_H
#define AOTBUILD_STRIDED_ROWS_H

#include <cstdint>

#include "vectors.h"

namespace aotbuild {

// R rows. Few registers hold the addresses of many: every fifth row has one, the others are reached
// from it by the multiples of the distance that an address of x86 can contain (1, 2, 4, and three
// times the distance from a register of its own).
template <int R, class T = float>
struct StridedRows {
  const T* base[(R + 4) / 5];
  int64_t distance, thrice;
  AOTBUILD_INLINE StridedRows(const T* first, int64_t stride)
      : distance(stride), thrice(3 * stride) {
#pragma GCC unroll 8
    for (int i = 0; i < (R + 4) / 5; i++) {
      base[i] = first + 5 * i * stride;
      asm("" : "+r"(base[i]));  // else the compiler computes it anew from the first one
    }
    asm("" : "+r"(thrice));
  }
  AOTBUILD_INLINE const T* at(int row) const {
    const T* p = base[row / 5];
    return row % 5 == 0   ? p
           : row % 5 == 1 ? p + distance
           : row % 5 == 2 ? p + 2 * distance
           : row % 5 == 3 ? p + thrice
                          : p + 4 * distance;
  }
  AOTBUILD_INLINE void advance(int64_t n) {
#pragma GCC unroll 8
    for (int i = 0; i < (R + 4) / 5; i++) base[i] += n;
  }
};

}  // namespace aotbuild

#endif
