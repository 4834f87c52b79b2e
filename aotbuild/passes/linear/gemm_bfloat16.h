// Products of bfloat16 matrices, summed in float32, the second of them constant and packed.
//
//   C[m][n] = bias[n] + sum over k of (A[m][2k] B[2k][n] + A[m][2k + 1] B[2k + 1][n])
//
// B lies in panels of 16 columns, [ceil(n / 16)][k / 2][16][2]: for each column the factors of two
// neighbours in a row of A are neighbours. The instruction that multiplies and adds such pairs
// (VDPBF16PS) is beyond x86-64-v4: whether the CPU has it is asked at run time, and others compute
// the same products in float32. Tiles and blocks are those of gemm.h, and few rows read B as those
// of float32 do.
#ifndef AOTBUILD_GEMM_BFLOAT16_H
#define AOTBUILD_GEMM_BFLOAT16_H

#include <cstdint>
#include <cstring>

#include "../simd/bfloat16.h"
#include "../simd/panels.h"
#include "../simd/strided_rows.h"
#include "../simd/vectors.h"
#include "few_rows.h"
#include "gemm.h"

namespace aotbuild {
namespace bfloat16 {

// What blocks of rows have in common with those of float32.
using aotbuild::fewest_rows;
using aotbuild::most_rows;

AOTBUILD_INLINE int32_t pair_of(const uint16_t* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

// What is asked for in a loop over P panels of so many pairs for R rows. More than few rows are
// multiplied by panels that are near: one part, in which nothing is.
template <int R, int P>
struct RequestsOf : Requests<P, uint16_t> {
  static constexpr int kParts = R <= kFewRows ? 2 : 1;
  using Requests<P, uint16_t>::Requests;
  AOTBUILD_INLINE int64_t end(int part) const {
    return kParts == 1 ? this->steps : Requests<P, uint16_t>::end(part);
  }
  AOTBUILD_INLINE void at(const uint16_t* line) const {
    if constexpr (kParts == 2) Requests<P, uint16_t>::at(line);
  }
};

#if defined(__AVX512F__)
// Multiplies and adds pairs by the CPU's own instruction.
struct Native {
  template <int R, int P>
  __attribute__((noinline, target("avx512bf16"))) static void multiply(
      const uint16_t* a, int64_t distance, const uint16_t* b, int64_t panel, int64_t pairs,
      float* c, int64_t ldc, const float* init) {
    __m512 acc[R][P];
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 32
      for (int p = 0; p < P; p++) acc[r][p] = _mm512_loadu_ps(init + p * kPanel);
    StridedRows<R, uint16_t> rows(a, distance);
    const RequestsOf<R, P> requests(pairs);
    int64_t k = 0;
    for (int part = 0; part < requests.kParts; part++) {
      const int64_t ahead = requests.distance(part), end = requests.end(part);
#pragma GCC unroll 2
      for (; k < end; k++, b += 2 * kPanel) {
        requests.at(b + ahead);
        __m512bh row[P];
#pragma GCC unroll 32
        for (int p = 0; p < P; p++) row[p] = (__m512bh)_mm512_loadu_si512(b + p * panel);
#pragma GCC unroll 32
        for (int r = 0; r < R; r++) {
          const __m512bh x = (__m512bh)_mm512_set1_epi32(pair_of(rows.at(r) + 2 * k));
#pragma GCC unroll 32
          for (int p = 0; p < P; p++) acc[r][p] = _mm512_dpbf16_ps(acc[r][p], x, row[p]);
        }
      }
    }
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 32
      for (int p = 0; p < P; p++) _mm512_storeu_ps(c + r * ldc + p * kPanel, acc[r][p]);
  }
};
#endif

// The same in float32, whose upper half a bfloat16 number is.
struct Widened {
  static AOTBUILD_INLINE Vec even(Ints pairs) { return from_bits(pairs << 16); }
  static AOTBUILD_INLINE Vec odd(Ints pairs) { return from_bits(pairs & int32_t(0xffff0000)); }
  static AOTBUILD_INLINE Ints load(const uint16_t* from) {
    Ints pairs;
    __builtin_memcpy(&pairs, from, sizeof pairs);
    return pairs;
  }
  template <int R, int P>
  __attribute__((noinline)) static void multiply(const uint16_t* a, int64_t distance,
                                                 const uint16_t* b, int64_t panel, int64_t pairs,
                                                 float* c, int64_t ldc, const float* init) {
    constexpr int kMost = kLanes == 16 ? 6 : 4, kFew = R < kMost ? R : kMost, V = P * kVectors;
    Vec acc[kFew][V];
#pragma GCC unroll 32
    for (int r = 0; r < kFew; r++)
#pragma GCC unroll 32
      for (int v = 0; v < V; v++) acc[r][v] = aotbuild::load(init + v * kLanes);
    const RequestsOf<R, P> requests(pairs);
    const uint16_t* from = b;
    int64_t k = 0;
    for (int part = 0; part < requests.kParts; part++) {
      const int64_t ahead = requests.distance(part), end = requests.end(part);
      for (; k < end; k++, from += 2 * kPanel) {
        requests.at(from + ahead);
        // Two vectors at a time, so that the sums of four rows of AVX2 stay in registers.
        constexpr int W = V % 2 ? 1 : 2;
#pragma GCC unroll 32
        for (int v = 0; v < V; v += W) {
          Ints row[W];
#pragma GCC unroll 2
          for (int w = 0; w < W; w++)
            row[w] = load(from + ((v + w) / kVectors) * panel + ((v + w) % kVectors) * 2 * kLanes);
#pragma GCC unroll 32
          for (int r = 0; r < kFew; r++) {
            // Opaque, else the compiler shifts the scalar, twice, and broadcasts that.
            const Ints x = bits(opaque(from_bits(Ints{} + pair_of(a + r * distance + 2 * k))));
#pragma GCC unroll 2
            for (int w = 0; w < W; w++) acc[r][v + w] = fma(even(x), even(row[w]), acc[r][v + w]);
#pragma GCC unroll 2
            for (int w = 0; w < W; w++) acc[r][v + w] = fma(odd(x), odd(row[w]), acc[r][v + w]);
          }
        }
      }
    }
#pragma GCC unroll 32
    for (int r = 0; r < kFew; r++)
#pragma GCC unroll 32
      for (int v = 0; v < V; v++) store(c + r * ldc + v * kLanes, acc[r][v]);
    if constexpr (R > kFew)
      multiply<R - kFew, P>(a + kFew * distance, distance, b, panel, pairs, c + kFew * ldc, ldc,
                            init);
  }
};

// c = init + a b for a block of rows and a group of panels, or for the fewer panels that are left.
template <class By, int R, int P = streams_at_once(R)>
AOTBUILD_INLINE void multiply_group(int panels, const uint16_t* a, int64_t distance,
                                    const uint16_t* b, int64_t panel, int64_t pairs, float* c,
                                    int64_t ldc, const float* init) {
  for (; panels >= P; panels -= P, b += P * panel, c += P * kPanel, init += P * kPanel)
    By::template multiply<R, P>(a, distance, b, panel, pairs, c, ldc, init);
  if constexpr (P > 1)
    if (panels > 0)
      multiply_group<By, R, P / 2>(panels, a, distance, b, panel, pairs, c, ldc, init);
}

template <class By, int Least, int Most>
AOTBUILD_INLINE void multiply_rows(int rows, int panels, const uint16_t* a, int64_t distance,
                                   const uint16_t* b, int64_t panel, int64_t pairs, float* c,
                                   int64_t ldc, const float* init) {
  if constexpr (Least < Most)
    if (rows < Most)
      return multiply_rows<By, Least, Most - 1>(rows, panels, a, distance, b, panel, pairs, c, ldc,
                                                init);
  multiply_group<By, Most>(panels, a, distance, b, panel, pairs, c, ldc, init);
}

// How a product [m, n] is divided into tiles: bands of rows by groups of panels.
struct Tiling {
  static constexpr int kBlocks = kLanes == 16 ? 4 : 8;  // of rows in a tile
  static constexpr int kLd = 8 * kPanel + kPanel;       // distance of the rows of a tile
  static constexpr int kMostRows = kBlocks * kRows;
  static constexpr int64_t kTermsPerStep = 2;  // of a sum, in a step: a pair

  int64_t m, n, blocks, bands, group, groups, count;
  Tiling(int64_t m, int64_t n, int64_t /* pairs */, int /* threads */) : m(m), n(n) {
    blocks = (m + kRows - 1) / kRows;
    bands = (blocks + kBlocks - 1) / kBlocks;
    group = (m ? streams_at_once((m + blocks - 1) / blocks) : 1) * kPanel;
    groups = (n + group - 1) / group;
    count = bands * groups;
  }
  struct Tile {
    int64_t first, last, m0, m1, n0, n1;  // blocks of rows, rows, columns
  };
  Tile at(int64_t t) const {
    const int64_t band = t % bands, part = t / bands;
    Tile tile;
    tile.first = band * blocks / bands;
    tile.last = (band + 1) * blocks / bands;
    tile.m0 = row(tile.first);
    tile.m1 = row(tile.last);
    tile.n0 = part * group;
    tile.n1 = tile.n0 + group < n ? tile.n0 + group : n;
    return tile;
  }
  int64_t row(int64_t block) const { return block * m / blocks; }
};

// A row of numbers that are added: those of float32, or others in a buffer.
AOTBUILD_INLINE const float* widened(const float* from, int64_t, float*) { return from; }
AOTBUILD_INLINE const float* widened(const uint16_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i++) to[i] = widen(from[i]);
  return to;
}

// Whether the CPU has the instruction.
static inline bool has_pairs() {
#if defined(__AVX512F__)
  static const bool known = __builtin_cpu_supports("avx512bf16");
  return known;
#else
  return false;
#endif
}

// c = bias + a b for the rows and columns of a tile, in blocks of Least to Most rows. Of c, whole
// panels are written. a is the whole matrix, b too, with so many pairs in a column; the bias is of
// float32 or of bfloat16.
template <int Least, int Most, class B>
AOTBUILD_INLINE void multiply_tile(const Tiling& tiling, const Tiling::Tile& tile,
                                   const uint16_t* a, int64_t distance, const uint16_t* b,
                                   int64_t pairs, const B* bias, float* c) {
  const int64_t panel = pairs * 2 * kPanel;
  const int panels = (tile.n1 - tile.n0 + kPanel - 1) / kPanel;
  const uint16_t* const group = b + tile.n0 / kPanel * panel;
  alignas(64) float wide[8 * kPanel];
  const float* const init = bias ? widened(bias + tile.n0, panels * kPanel, wide) : kNoBias;
  for (int64_t block = tile.first; block < tile.last; block++) {
    const int64_t m0 = tiling.row(block), m1 = tiling.row(block + 1);
    float* const to = c + (m0 - tile.m0) * Tiling::kLd;
    const uint16_t* const from = a + m0 * distance;
#if defined(__AVX512F__)
    if (has_pairs()) {
      multiply_rows<Native, Least, Most>(m1 - m0, panels, from, distance, group, panel, pairs, to,
                                         Tiling::kLd, init);
      continue;
    }
#endif
    multiply_rows<Widened, Least, Most>(m1 - m0, panels, from, distance, group, panel, pairs, to,
                                        Tiling::kLd, init);
  }
}

}  // namespace bfloat16
}  // namespace aotbuild

#endif
