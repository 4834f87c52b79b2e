// Products of a float32 matrix with a packed constant one, for any CPU.
//
// The packed matrix lies in panels of 16 columns, [ceil(n / 16)][k][16], the last one filled up with
// zeros. A block of rows times some panels is kept in registers over all of k.
#ifndef AOTBUILD_GEMM_H
#define AOTBUILD_GEMM_H

namespace aotbuild {

constexpr int PANEL = 16;               // columns
constexpr int VECS = PANEL / LANES;     // vectors of a row of a panel
// Rows of the largest block, whose sums take the registers but a few.
#if defined(__aarch64__)
constexpr int ROWS = 6;
#else
constexpr int ROWS = LANES == 16 ? 14 : LANES == 8 ? 6 : 2;
#endif

// Rows that lie at equal distances. Few registers hold the addresses of many rows: every fifth has
// one, the others are reached from it by multiples of the distance that addresses can contain.
template <int R>
struct StridedRows {
  const float* base[(R + 4) / 5];
  int64_t distance, thrice;
  AOTBUILD_INLINE StridedRows(const float* first, int64_t stride) : distance(stride), thrice(3 * stride) {
#pragma GCC unroll 8
    for (int i = 0; i < (R + 4) / 5; i++) {
      base[i] = first + 5 * i * stride;
      asm("" : "+r"(base[i]));  // else the compiler computes it anew from the first one
    }
    asm("" : "+r"(thrice));
  }
  AOTBUILD_INLINE const float* at(int row) const {
    const float* p = base[row / 5];
    return row % 5 == 0 ? p : row % 5 == 1 ? p + distance : row % 5 == 2 ? p + 2 * distance
         : row % 5 == 3 ? p + thrice : p + 4 * distance;
  }
  AOTBUILD_INLINE void advance(int64_t n) {
#pragma GCC unroll 8
    for (int i = 0; i < (R + 4) / 5; i++) base[i] += n;
  }
};

// c[R][P * 16] = init + a[R][k] b, where init is a row (for each panel 16 numbers), or c itself.
//
// A tells where the elements of a are: at(row) the address of the current one, advance(n) to a
// later one; at(row)[i] for i < 4 is valid in between.
template <int R, int P, class A>
AOTBUILD_INLINE void multiply_block(A a, const float* b, int64_t panel, int64_t k, float* c,
                                    int64_t ldc, const float* init) {
  Vec acc[R][P * VECS];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * VECS; v++)
      acc[r][v] = init ? load(init + v * LANES) : load(c + r * ldc + v * LANES);
  auto step = [&](int i) __attribute__((always_inline)) {
    Vec row[P * VECS];
#pragma GCC unroll 32
    for (int v = 0; v < P * VECS; v++)
      row[v] = load(b + (v / VECS) * panel + i * PANEL + (v % VECS) * LANES);
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) {
      Vec x = splat(a.at(r)[i]);
#pragma GCC unroll 32
      for (int v = 0; v < P * VECS; v++) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
  };
  for (; k >= 4; k -= 4, b += 4 * PANEL, a.advance(4)) {
    step(0);
    step(1);
    step(2);
    step(3);
  }
  for (; k > 0; k--, b += PANEL, a.advance(1)) step(0);
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * VECS; v++) store(c + r * ldc + v * LANES, acc[r][v]);
}

// Columns of panels that one call of multiply_block takes for a number of rows: enough sums at once to
// hide how long each takes, few enough to stay in registers.
constexpr int panels_at_once(int rows) {
  return LANES == 16 ? (rows == 1 ? 8 : rows == 2 ? 6 : rows <= 6 ? 4 : rows <= 9 ? 3 : 2)
       : LANES == 8 ? (rows == 1 ? 4 : rows <= 3 ? 2 : 1)
                    : (rows == 1 ? 2 : 1);
}

alignas(64) static const float no_bias[8 * PANEL] = {};

template <int R, int P>
__attribute__((noinline)) void multiply_panels(int64_t panels, int64_t k, const float* a, int64_t distance,
                                               const float* b, const float* bias, float* c, int64_t ldc) {
  int64_t i = 0;
  for (; i + P <= panels; i += P)
    multiply_block<R, P>(StridedRows<R>(a, distance), b + i * k * PANEL, k * PANEL, k, c + i * PANEL, ldc,
                         bias ? bias + i * PANEL : no_bias);
  for (; P > 1 && i < panels; i++)
    multiply_block<R, 1>(StridedRows<R>(a, distance), b + i * k * PANEL, k * PANEL, k, c + i * PANEL, ldc,
                         bias ? bias + i * PANEL : no_bias);
}

// c = bias + a b for LEAST to MOST rows. Of c, whole panels are written.
template <int LEAST, int MOST>
AOTBUILD_INLINE void multiply_tile(int64_t rows, int64_t columns, int64_t k, const float* a, int64_t distance,
                                   const float* b, const float* bias, float* c, int64_t ldc) {
  constexpr int R = MOST < ROWS ? MOST : ROWS;
  if constexpr (R > LEAST) {
    if (rows < R)
      return multiply_tile<LEAST, R - 1>(rows, columns, k, a, distance, b, bias, c, ldc);
  }
  multiply_panels<R, panels_at_once(R)>((columns + PANEL - 1) / PANEL, k, a, distance, b, bias, c, ldc);
}

// How a matrix is divided into tiles. Neither the number of threads nor the tiling changes a result:
// each element is summed in the same order.
struct Tiling {
  int64_t m, n, blocks, columns, count;
  Tiling(int64_t m, int64_t n, int64_t k, int64_t most) : m(m), n(n) {
    blocks = (m + ROWS - 1) / ROWS;
    // Of the packed matrix, what belongs to a tile shall stay in the second cache from one block of rows
    // to the next.
    int64_t fit = (1 << 16) / k / 32 * 32;
    columns = fit < 32 ? 32 : fit > most ? most : fit;
    count = blocks * ((n + columns - 1) / columns);
  }
  int64_t row(int64_t t) const { return t % blocks * m / blocks; }
  int64_t row_end(int64_t t) const { return (t % blocks + 1) * m / blocks; }
  int64_t column(int64_t t) const { return t / blocks * columns; }
  int64_t column_end(int64_t t) const {
    const int64_t end = (t / blocks + 1) * columns;
    return end < n ? end : n;
  }
};

}  // namespace aotbuild
#endif
