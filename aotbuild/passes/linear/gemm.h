// Products of a float32 matrix with a packed constant one, for any CPU.
//
// The packed matrix lies in panels of 16 columns, [ceil(n / 16)][k][16], the last one filled up with
// zeros. The result is made in tiles: some blocks of rows times a group of panels, where a block times a
// group is kept in registers. Each element is summed in the order of k whatever the tiles are, so that
// neither the number of rows nor that of threads changes it.
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

// c[R][P * 16] = init + a[R][k] b, where init is a row (for each panel 16 numbers), or c itself if it is
// null.
//
// A tells where the elements of a are: at(row) the address of the current one, advance(n) to a
// later one; at(row)[i] for i < 4 is valid in between. Of the panels from ahead on, as many are brought
// into the second cache as prefetched(R) tells: the next ones, which no prefetcher of the CPU expects.
constexpr int prefetched(int rows) {
  return LANES < 16 ? 1 : rows <= 6 ? 0 : rows <= 9 ? 2 : 1;
}

template <int R, int P, class A>
AOTBUILD_INLINE void multiply_block(A a, const float* b, int64_t panel, int64_t k, float* c,
                                    int64_t ldc, const float* init, const float* ahead) {
  constexpr int Q = prefetched(R);
  Vec acc[R][P * VECS];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * VECS; v++)
      acc[r][v] = init ? load(init + v * LANES) : load(c + r * ldc + v * LANES);
  const int64_t offset = ahead - b;
  auto step = [&](int i) __attribute__((always_inline)) {
#pragma GCC unroll 32
    for (int q = 0; q < Q; q++) __builtin_prefetch(b + offset + q * panel + i * PANEL, 0, 2);
    Vec row[P * VECS];
#pragma GCC unroll 32
    for (int v = 0; v < P * VECS; v++)
      row[v] = load(b + (v / VECS) * panel + i * PANEL + (v % VECS) * LANES);
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) {
      const Vec x = splat(a.at(r)[i]);
#pragma GCC unroll 32
      for (int v = 0; v < P * VECS; v++) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
  };
  constexpr int U = R * VECS <= 2 ? 4 : R * VECS <= 6 ? 2 : 1;  // steps at a time
  for (; k >= U; k -= U, b += U * PANEL, a.advance(U))
#pragma GCC unroll 4
    for (int i = 0; i < U; i++) step(i);
  if constexpr (U > 1)
    for (; k > 0; k--, b += PANEL, a.advance(1)) step(0);
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 32
    for (int v = 0; v < P * VECS; v++) store(c + r * ldc + v * LANES, acc[r][v]);
}

// Panels of a group for blocks of so many rows: enough sums at once to hide how long each takes, few
// enough to stay in registers.
constexpr int panels_at_once(int rows) {
  return LANES == 16 ? (rows == 1 ? 8 : rows == 2 ? 6 : rows <= 6 ? 4 : rows <= 9 ? 3 : 2)
       : LANES == 8 ? (rows == 1 ? 4 : rows <= 3 ? 2 : 1)
                    : (rows == 1 ? 2 : 1);
}

template <int R, int P>
__attribute__((noinline)) void multiply_panels(const float* a, int64_t distance, const float* b, int64_t panel,
                                               int64_t k, float* c, int64_t ldc, const float* init,
                                               const float* ahead) {
  multiply_block<R, P>(StridedRows<R>(a, distance), b, panel, k, c, ldc, init, ahead);
}

// c = init + a b for a block of rows and a group of panels, or for the fewer panels that are left.
template <int R, int P = panels_at_once(R)>
AOTBUILD_INLINE void multiply_group(int panels, const float* a, int64_t distance, const float* b, int64_t panel,
                                    int64_t k, float* c, int64_t ldc, const float* init, const float* ahead) {
  while (panels >= P) {
    multiply_panels<R, P>(a, distance, b, panel, k, c, ldc, init, ahead);
    panels -= P, b += P * panel, c += P * PANEL, init = init ? init + P * PANEL : init;
  }
  if constexpr (P > 1)
    if (panels > 0) multiply_group<R, P / 2>(panels, a, distance, b, panel, k, c, ldc, init, ahead);
}

// The rows of blocks where a number of rows is divided evenly; any where the number is 0, for unknown.
constexpr int fewest_rows(int64_t m) { return m ? m / ((m + ROWS - 1) / ROWS) : 1; }
constexpr int most_rows(int64_t m) {
  return m ? (m + (m + ROWS - 1) / ROWS - 1) / ((m + ROWS - 1) / ROWS) : ROWS;
}

// The same for LEAST to MOST rows.
template <int LEAST, int MOST>
AOTBUILD_INLINE void multiply_rows(int rows, int panels, const float* a, int64_t distance, const float* b,
                                   int64_t panel, int64_t k, float* c, int64_t ldc, const float* init,
                                   const float* ahead) {
  if constexpr (LEAST < MOST)
    if (rows < MOST)
      return multiply_rows<LEAST, MOST - 1>(rows, panels, a, distance, b, panel, k, c, ldc, init, ahead);
  multiply_group<MOST>(panels, a, distance, b, panel, k, c, ldc, init, ahead);
}

// How a product [m, n] is divided into tiles, by sizes that suit the second cache of most CPUs.
struct Tiling {
  static constexpr int BLOCKS = LANES == 16 ? 4 : 8;        // of rows in a tile
  static constexpr int LD = 8 * PANEL + PANEL;              // distance of the rows of a tile
  static constexpr int MOST_ROWS = BLOCKS * ROWS;
  static constexpr int64_t K = 1024;                        // terms that are added at once
  static constexpr int64_t TERMS = 1;                       // of a sum, in a step

  int64_t m, n, blocks, bands, group, near, count;
  Tiling(int64_t m, int64_t n, int64_t k, int threads = 1) : m(m), n(n) {
    blocks = (m + ROWS - 1) / ROWS;
    bands = (blocks + BLOCKS - 1) / BLOCKS;
    group = m ? panels_at_once((m + blocks - 1) / blocks) * PANEL : PANEL;
    // Smaller tiles where there would be too few to give each thread as much as any other.
    const int64_t enough = threads > 1 ? 4 * threads : 1;
    while (group > PANEL && bands * ((n + group - 1) / group) < enough) group = group / PANEL / 2 * PANEL;
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

alignas(64) static const float no_bias[8 * PANEL] = {};

// c = bias + a b for the blocks of rows of a tile, LEAST to MOST rows each, from the first row of a on.
// Of c, whole panels are written. b is the whole matrix of k rows, bias the whole bias or null.
template <int LEAST, int MOST>
AOTBUILD_INLINE void multiply_tile(const Tiling& tiling, const Tiling::Tile& tile, const float* a,
                                   int64_t distance, const float* b, int64_t k, const float* bias, float* c) {
  const int64_t panel = k * PANEL;
  const int panels = (tile.n1 - tile.n0 + PANEL - 1) / PANEL;
  const float* const group = b + tile.n0 * k;
  const int64_t parts = (k + Tiling::K - 1) / Tiling::K;
  for (int64_t part = 0; part < parts; part++) {
    const int64_t k0 = part * k / parts, k1 = (part + 1) * k / parts;
    const float* const now = group + k0 * PANEL;
    const float* const next = part + 1 < parts ? group + k1 * PANEL : group + panels * panel;
    for (int64_t block = tile.first; block < tile.last; block++) {
      const int64_t m0 = tiling.row(block), m1 = tiling.row(block + 1);
      const int64_t seen = (block - tile.first) * prefetched(m1 - m0);
      multiply_rows<LEAST, MOST>(m1 - m0, panels, a + m0 * distance + k0, distance, now, panel, k1 - k0,
                                 c + (m0 - tile.m0) * Tiling::LD, Tiling::LD,
                                 part ? nullptr : bias ? bias + tile.n0 : no_bias,
                                 seen < panels ? next + seen * panel : now);
    }
  }
}

}  // namespace aotbuild
#endif
