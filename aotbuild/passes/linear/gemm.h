// Products of float32 matrices, the second of them constant and packed: C = A B + bias.
//
//   C[m][n] = bias[n] + sum over k of A[m][k] B[k][n]
//
// B lies in panels (simd/panels.h). The result is made in tiles, as Goto & van de Geijn do
// ("Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008): a part of B that
// stays in the second cache times blocks of rows of A, where a block times a group of panels is
// kept in registers. Only B is packed, and once for all calls: A is read where it lies. Each
// element is summed in the order of k whatever the tiles are, so neither the number of rows nor
// that of threads changes it.
//
// Few rows take as long as reading B, which few_rows.h cares for.
#ifndef AOTBUILD_GEMM_H
#define AOTBUILD_GEMM_H

#include <cstdint>

#include "../simd/activations.h"  // of what follows a product in the same tile
#include "../simd/panels.h"
#include "../simd/strided_rows.h"
#include "../simd/vectors.h"
#include "few_rows.h"

namespace aotbuild {

// c[R][P * 16] = init + a[R][k] b, where init is a row (for each panel 16 numbers), or c itself if
// it is null.
//
// A tells where the elements of a are: at(row) the address of the current one, advance(n) to a
// later one; at(row)[i] for i < 4 is valid in between. Of the panels from ahead on, as many are
// brought into the second cache as prefetched(R) tells: the next ones, which no prefetcher of the
// CPU expects.
constexpr int prefetched(int rows) { return kLanes < 16 ? 1 : rows <= 6 ? 0 : rows <= 9 ? 2 : 1; }

template <int R, int P, class A>
AOTBUILD_INLINE void multiply_block(A a, const float* b, int64_t panel, int64_t k, float* c,
                                    int64_t ldc, const float* init, const float* ahead) {
  constexpr int Q = prefetched(R);
  Vec acc[R][P * kVectors];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * kVectors; v++)
      acc[r][v] = init ? load(init + v * kLanes) : load(c + r * ldc + v * kLanes);
  const int64_t offset = ahead - b;
  auto step = [&](int i) __attribute__((always_inline)) {
#pragma GCC unroll 32
    for (int q = 0; q < Q; q++) __builtin_prefetch(b + offset + q * panel + i * kPanel, 0, 2);
    Vec row[P * kVectors];
#pragma GCC unroll 32
    for (int v = 0; v < P * kVectors; v++)
      row[v] = load(b + (v / kVectors) * panel + i * kPanel + (v % kVectors) * kLanes);
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) {
      const Vec x = splat(a.at(r)[i]);
#pragma GCC unroll 32
      for (int v = 0; v < P * kVectors; v++) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
  };
  constexpr int U = R * kVectors <= 2 ? 4 : R * kVectors <= 6 ? 2 : 1;  // steps at a time
  for (; k >= U; k -= U, b += U * kPanel, a.advance(U))
#pragma GCC unroll 4
    for (int i = 0; i < U; i++) step(i);
  if constexpr (U > 1)
    for (; k > 0; k--, b += kPanel, a.advance(1)) step(0);
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * kVectors; v++) store(c + r * ldc + v * kLanes, acc[r][v]);
}

// Panels of a group for blocks of so many rows: enough sums at once to hide how long each takes,
// few enough to stay in registers.
constexpr int panels_at_once(int rows) {
  return kLanes == 16  ? (rows <= 6   ? 4
                          : rows <= 9 ? 3
                                      : 2)
         : kLanes == 8 ? (rows == 1   ? 4
                          : rows <= 3 ? 2
                                      : 1)
                       : (rows == 1 ? 2 : 1);
}

template <int R, int P>
__attribute__((noinline)) void multiply_panels(const float* a, int64_t distance, const float* b,
                                               int64_t panel, int64_t k, float* c, int64_t ldc,
                                               const float* init, const float* ahead) {
  multiply_block<R, P>(StridedRows<R>(a, distance), b, panel, k, c, ldc, init, ahead);
}

// c = init + a b for a block of rows and a group of panels, or for the fewer panels that are left.
template <int R, int P = panels_at_once(R)>
AOTBUILD_INLINE void multiply_group(int panels, const float* a, int64_t distance, const float* b,
                                    int64_t panel, int64_t k, float* c, int64_t ldc,
                                    const float* init, const float* ahead) {
  while (panels >= P) {
    multiply_panels<R, P>(a, distance, b, panel, k, c, ldc, init, ahead);
    panels -= P, b += P * panel, c += P * kPanel, init = init ? init + P * kPanel : init;
  }
  if constexpr (P > 1)
    if (panels > 0) multiply_group<R, P / 2>(panels, a, distance, b, panel, k, c, ldc, init, ahead);
}

// Panels of a group for few rows, whose weights all have to be in registers at once.
constexpr int streams_at_once(int rows) {
  return kLanes == 8 && rows == 3 ? 1 : panels_at_once(rows);
}

// c = init + a b for few rows.
template <int R, int P>
__attribute__((noinline)) void multiply_stream(const float* a, int64_t distance, const float* b,
                                               int64_t k, float* c, int64_t ldc,
                                               const float* init) {
  Vec acc[R][P * kVectors];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * kVectors; v++) acc[r][v] = load(init + v * kLanes);
  const Requests<P, float> requests(k);
  int64_t i = 0;
  for (int part = 0; part < requests.kParts; part++) {
    const int64_t ahead = requests.distance(part);
    for (const int64_t end = requests.end(part); i < end; i++, b += kPanel) {
      requests.at(b + ahead);
      Vec row[P * kVectors];
#pragma GCC unroll 32
      for (int v = 0; v < P * kVectors; v++)
        row[v] = load(b + (v / kVectors) * k * kPanel + (v % kVectors) * kLanes);
#pragma GCC unroll 32
      for (int r = 0; r < R; r++) {
        const Vec x = splat(a[r * distance + i]);
#pragma GCC unroll 32
        for (int v = 0; v < P * kVectors; v++) acc[r][v] = fma(x, row[v], acc[r][v]);
      }
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * kVectors; v++) store(c + r * ldc + v * kLanes, acc[r][v]);
}

// The same for so many panels.
template <int R, int P = streams_at_once(R)>
AOTBUILD_INLINE void stream_group(int panels, const float* a, int64_t distance, const float* b,
                                  int64_t k, float* c, int64_t ldc, const float* init) {
  for (; panels >= P; panels -= P, b += P * k * kPanel, c += P * kPanel, init += P * kPanel)
    multiply_stream<R, P>(a, distance, b, k, c, ldc, init);
  if constexpr (P > 1)
    if (panels > 0) stream_group<R, P / 2>(panels, a, distance, b, k, c, ldc, init);
}

template <int Least, int Most>
AOTBUILD_INLINE void multiply_few(int rows, int panels, const float* a, int64_t distance,
                                  const float* b, int64_t k, float* c, int64_t ldc,
                                  const float* init) {
  if constexpr (Least < Most)
    if (rows < Most)
      return multiply_few<Least, Most - 1>(rows, panels, a, distance, b, k, c, ldc, init);
  stream_group<Most>(panels, a, distance, b, k, c, ldc, init);
}

// The rows of blocks where a number of rows is divided evenly; any where the number is 0, for
// unknown.
constexpr int fewest_rows(int64_t m) { return m ? m / ((m + kRows - 1) / kRows) : 1; }
constexpr int most_rows(int64_t m) {
  return m ? (m + (m + kRows - 1) / kRows - 1) / ((m + kRows - 1) / kRows) : kRows;
}

// The same for Least to Most rows.
template <int Least, int Most>
AOTBUILD_INLINE void multiply_rows(int rows, int panels, const float* a, int64_t distance,
                                   const float* b, int64_t panel, int64_t k, float* c, int64_t ldc,
                                   const float* init, const float* ahead) {
  if constexpr (Least < Most)
    if (rows < Most)
      return multiply_rows<Least, Most - 1>(rows, panels, a, distance, b, panel, k, c, ldc, init,
                                            ahead);
  multiply_group<Most>(panels, a, distance, b, panel, k, c, ldc, init, ahead);
}

// How a product [m, n] is divided into tiles, by sizes that suit the second cache of most CPUs.
struct Tiling {
  static constexpr int kBlocks = kLanes == 16 ? 4 : 8;  // of rows in a tile
  static constexpr int kLd = 8 * kPanel + kPanel;       // distance of the rows of a tile
  static constexpr int kMostRows = kBlocks * kRows;
  static constexpr int64_t kTerms = 1024;      // terms that are added at once
  static constexpr int64_t kTermsPerStep = 1;  // of a sum, in a step

  int64_t m, n, blocks, bands, group, near, count;
  Tiling(int64_t m, int64_t n, int64_t k, int threads = 1) : m(m), n(n) {
    blocks = (m + kRows - 1) / kRows;
    bands = (blocks + kBlocks - 1) / kBlocks;
    group = m ? panels_at_once((m + blocks - 1) / blocks) * kPanel : kPanel;
    // Smaller tiles where there would be too few to give each thread as much as any other.
    const int64_t enough = threads > 1 ? 4 * threads : 1;
    while (group > kPanel && bands * ((n + group - 1) / group) < enough)
      group = group / kPanel / 2 * kPanel;
    while (bands < blocks && bands * ((n + group - 1) / group) < enough) bands++;
    // These many columns stay in the cache from one band of rows to the next.
    near = (1 << 16) / (k ? k : 1) / group * group;
    near = near < group ? group : near;
    const int64_t whole = n / near, rest = n % near;
    count = bands * (whole * (near / group) + (rest + group - 1) / group);
  }
  // The rows [m0, m1) and the columns [n0, n1) of a tile.
  struct Tile {
    int64_t first, last, m0, m1, n0, n1;
  };
  Tile at(int64_t t) const {
    Tile tile;
    const int64_t each = near / group, part = t / (each * bands);
    const int64_t left = (n - part * near + group - 1) / group, here = left < each ? left : each;
    t -= part * each * bands;
    const int64_t band = t / here;
    tile.first = band * blocks / bands;
    tile.last = (band + 1) * blocks / bands;
    tile.m0 = row(tile.first);
    tile.m1 = row(tile.last);
    tile.n0 = part * near + t % here * group;
    tile.n1 = tile.n0 + group < n ? tile.n0 + group : n;
    return tile;
  }
  // The first row of a block.
  int64_t row(int64_t block) const { return block * m / blocks; }
};

// The fewest rows of a block where there are more than few in all.
constexpr int fewest_of_many(int least) {
  constexpr int kHalf = (kRows + 1) / 2, kMore = kFewRows < kHalf ? kFewRows + 1 : kHalf;
  return least > kMore ? least : kMore;
}

alignas(64) static const float kNoBias[8 * kPanel] = {};

// c = bias + a b for the blocks of rows of a tile, Least to Most rows each, from the first row of a
// on. Of c, whole panels are written. b is the whole matrix of k rows, bias the whole bias or null.
template <int Least, int Most>
AOTBUILD_INLINE void multiply_tile(const Tiling& tiling, const Tiling::Tile& tile, const float* a,
                                   int64_t distance, const float* b, int64_t k, const float* bias,
                                   float* c) {
  const int64_t panel = k * kPanel;
  const int panels = (tile.n1 - tile.n0 + kPanel - 1) / kPanel;
  const float* const group = b + tile.n0 * k;
  const float* const init = bias ? bias + tile.n0 : kNoBias;
  if constexpr (Least <= kFewRows)
    if (tiling.m <= kFewRows)
      return multiply_few<Least, (Most < kFewRows ? Most : kFewRows)>(
          tiling.m, panels, a, distance, group, k, c, Tiling::kLd, init);
  constexpr int kLeast = fewest_of_many(Least), kMost = Most < kLeast ? kLeast : Most;
  const int64_t parts = (k + Tiling::kTerms - 1) / Tiling::kTerms;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t k0 = part * k / parts, k1 = (part + 1) * k / parts;
    const float* const now = group + k0 * kPanel;
    const float* const next = part + 1 < parts ? group + k1 * kPanel : group + panels * panel;
    for (int64_t block = tile.first; block < tile.last; block++) {
      const int64_t m0 = tiling.row(block), m1 = tiling.row(block + 1);
      const int64_t seen = (block - tile.first) * prefetched(m1 - m0);
      multiply_rows<kLeast, kMost>(m1 - m0, panels, a + m0 * distance + k0, distance, now, panel,
                                   k1 - k0, c + (m0 - tile.m0) * Tiling::kLd, Tiling::kLd,
                                   part ? nullptr : init,
                                   seen < panels ? next + seen * panel : now);
    }
  }
}

}  // namespace aotbuild
#endif
