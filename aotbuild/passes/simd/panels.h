// What all kernels count with: panels of packed weights, and when threads pay.
//
// A packed matrix [k][n] lies in panels of 16 columns, [ceil(n / 16)][k][16], the last one filled
// up with zeros, so that a product reads it front to back (Goto & van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008). It is the same for every CPU.
#ifndef AOTBUILD_PANELS_H
#define AOTBUILD_PANELS_H

#include <cstdint>

#include "vectors.h"

namespace aotbuild {

constexpr int kPanel = 16;                 // columns of a panel
constexpr int kVectors = kPanel / kLanes;  // vectors in one row of a panel

// Rows of the largest block whose sums are kept in registers; they take all but a few.
#if defined(__aarch64__)
constexpr int kRows = 6;
#else
constexpr int kRows = kLanes == 16 ? 14 : kLanes == 8 ? 6 : 2;
#endif

// Multiplications from which on it pays to divide a kernel among threads.
constexpr int64_t kParallelWork = 1 << 17;

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace aotbuild

#endif
