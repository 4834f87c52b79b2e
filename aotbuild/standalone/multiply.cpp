// Products of matrices by blocks, as Goto & van de Geijn make them ("Anatomy of High-Performance
// Matrix Multiplication", ACM TOMS 34(3), 2008): rows of a times a panel of b, with the sums in
// registers. Products with few rows or columns, where that leaves most of a block empty, have
// functions of their own.

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "products.h"
#include "tensor.h"

namespace aotbuild::standalone {
namespace {

// Elements of R rows, the current one of each. Few registers hold the addresses: x86 adds up to
// eight times a distance to a base. The compiler is kept from computing all of them ahead.
template <typename T, int R>
struct Rows {
  static constexpr int kBases = (R + 3) / 4;
  const char* bases[kBases];
  int64_t one, three;

  INLINE Rows(const T* from, int64_t row) : one(row * sizeof(T)), three(3 * row * sizeof(T)) {
    for (int i = 0; i < kBases; i++) {
      bases[i] = reinterpret_cast<const char*>(from) + 4 * i * one;
      asm("" : "+r"(bases[i]));
    }
    asm("" : "+r"(one), "+r"(three));
  }
  INLINE T at(int r, int ahead) const {
    const int64_t distance = r % 4 == 3 ? three : r % 4 * one;
    T value;
    __builtin_memcpy(&value, bases[r / 4] + distance + ahead * sizeof(T), sizeof value);
    return value;
  }
  INLINE void advance(int64_t count) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; i++) bases[i] += count * sizeof(T);
  }
};

// c = alpha (init + a b) (+ c) for R rows and V vectors; `init` has a number for each row, or is
// null.
template <typename T, int R, int V>
void block(int64_t k, T alpha, const T* a, int64_t row, const T* b, int64_t step, const T* init,
           bool add, T* c, int64_t distance) {
  constexpr int N = kLanes<T>;
  Vec<T> sums[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) sums[r][v] = init ? splat(init[r]) : Vec<T>{};
  // Brought here while the sums are made.
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v += 64 / kVectorBytes) __builtin_prefetch(c + r * distance + v * N, 1);
  Rows<T, R> rows(a, row);
  auto term = [&](int ahead) __attribute__((always_inline)) {
    Vec<T> of_b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) of_b[v] = load(b + v * N);
    if constexpr (R <= 8)  // few rows wait for b, more hide that
#pragma GCC unroll 4
      for (int v = 0; v < V; v += 64 / kVectorBytes) __builtin_prefetch(b + 8 * step + v * N);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Vec<T> x = splat(rows.at(r, ahead));
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) add_product<T>(sums[r][v], x, of_b[v]);
    }
    b += step;
  };
  constexpr int U = R <= 4 ? 4 : 2;
  for (; k >= U; k -= U, rows.advance(U))
#pragma GCC unroll 4
    for (int i = 0; i < U; i++) term(i);
  for (; k > 0; k--, rows.advance(1)) term(0);
  const Vec<T> scale = splat(alpha);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      T* to = c + r * distance + v * N;
      store(to, add ? fma<T>(scale, sums[r][v], load(to)) : scale * sums[r][v]);
    }
}

template <typename T>
using Block = void (*)(int64_t, T, const T*, int64_t, const T*, int64_t, const T*, bool, T*,
                       int64_t);

template <typename T, int V, int... R>
constexpr std::array<Block<T>, sizeof...(R)> blocks_of(std::integer_sequence<int, R...>) {
  return {block<T, R + 1, V>...};
}

// The columns of b in panels at a distance from each other, each with a step between its rows. If
// the last panel has fewer columns, it is `last`.
template <typename T>
struct Panels {
  const T* data;
  int64_t distance, step;
  const T* last;
  int64_t last_step;
};

// c = alpha (init + a b) (+ c) for a block of rows of a and for all columns.
template <typename T>
void multiply_rows(int64_t rows, int64_t n, int64_t k, T alpha, const T* a, int64_t row,
                   const Panels<T>& b, const T* init, bool add, Matrix<T> c) {
  constexpr int N = kLanes<T>, W = kWidth<T>;
  constexpr std::make_integer_sequence<int, kRows<T>> all;
  static constexpr auto narrow = blocks_of<T, 1>(all), wide = blocks_of<T, kVectors>(all);
  for (int64_t j = 0; j < n; j += W, c.data += W * c.column) {
    int64_t width = std::min<int64_t>(n - j, W);
    const T* panel = width < W ? b.last : b.data + j / W * b.distance;
    int64_t step = width < W ? b.last_step : b.step;
    Block<T> part = (width <= N ? narrow : wide)[rows - 1];
    if (c.column == 1 && (width == W || width == N)) {
      part(k, alpha, a, row, panel, step, init, add, c.data, c.row);
      continue;
    }
    alignas(64) T tile[kRows<T> * W];
    part(k, alpha, a, row, panel, step, init, false, tile, W);
    for (int64_t r = 0; r < rows; r++) {
      const T* from = tile + r * W;
      T* to = c.data + r * c.row;
      if (c.column != 1) {
        for (int64_t i = 0; i < width; i++)
          to[i * c.column] = add ? to[i * c.column] + from[i] : from[i];
        continue;
      }
      int64_t i = 0;
      for (; i + N <= width; i += N)
        store(to + i, add ? load(to + i) + load(from + i) : load(from + i));
      if (i == width) continue;
      const Vec<T> rest = load(from + i);
      store_some(to + i, add ? load_some(to + i, width - i) + rest : rest, width - i);
    }
  }
}

// Calls `use(first, count)` for blocks of rows, as even as possible.
template <typename T, typename F>
void each_block(int64_t m, F&& use) {
  int64_t count = (m + kRows<T> - 1) / kRows<T>;
  for (int64_t i = 0; i < count; i++) use(i * m / count, (i + 1) * m / count - i * m / count);
}

// to[i * step + j] = from(i, j), with zeros beyond the last column up to a width.
template <typename T>
void pack(int64_t rows, int64_t columns, Matrix<const T> from, T* to, int64_t step, int64_t width) {
  if (from.column == 1) {
    for (int64_t i = 0; i < rows; i++) {
      const T* source = from.at(i, 0);
      T* target = to + i * step;
      int64_t j = 0;
      for (; j + kLanes<T> <= columns; j += kLanes<T>) store(target + j, load(source + j));
      for (; j < columns; j++) target[j] = source[j];
      for (; j < width; j++) target[j] = T(0);
    }
    return;
  }
  int64_t i = 0;
  if (from.row == 1)
    for (; i + 4 <= rows; i += 4) {
      int64_t j = 0;
      for (; j + 4 <= columns; j += 4) {
        Four<T> x[4];
        for (int c = 0; c < 4; c++) x[c] = load_as<Four<T>>(from.at(i, j + c));
        transpose<T>(x);
        for (int r = 0; r < 4; r++) store(to + (i + r) * step + j, x[r]);
      }
      for (; j < width; j++)
        for (int r = 0; r < 4; r++)
          to[(i + r) * step + j] = j < columns ? *from.at(i + r, j) : T(0);
    }
  for (; i < rows; i++)
    for (int64_t j = 0; j < width; j++) to[i * step + j] = j < columns ? *from.at(i, j) : T(0);
}

// ---- Few rows ----

// c = alpha a b (+ c) for one row of a, where the rows of b and c are contiguous: eight rows of b
// at a time, each read in order.
template <typename T>
void sum_rows(int64_t n, int64_t k, T alpha, Matrix<const T> a, Matrix<const T> b, bool add, T* c) {
  constexpr int N = kLanes<T>, kAtOnce = 8;
  constexpr int64_t kNear = 8192 / sizeof(T);  // of c, which stay in the first cache
  for (int64_t j0 = 0; j0 < n; j0 += kNear) {
    const int64_t j1 = std::min(n, j0 + kNear);
    for (int64_t i = 0; i < k; i += kAtOnce) {
      const int count = static_cast<int>(std::min<int64_t>(kAtOnce, k - i));
      const bool keep = add || i;
      T x[kAtOnce];
      const T* rows[kAtOnce];
      for (int r = 0; r < count; r++) {
        x[r] = alpha * *a.at(0, i + r);
        rows[r] = b.at(i + r, 0);
      }
      int64_t j = j0;
      if (count == kAtOnce) {
        for (; j + N <= j1; j += N) {
          Vec<T> sum = keep ? load(c + j) : Vec<T>{};
#pragma GCC unroll 8
          for (int r = 0; r < kAtOnce; r++) sum = fma<T>(splat(x[r]), load(rows[r] + j), sum);
          store(c + j, sum);
        }
      } else {
        for (; j + N <= j1; j += N) {
          Vec<T> sum = keep ? load(c + j) : Vec<T>{};
          for (int r = 0; r < count; r++) sum = fma<T>(splat(x[r]), load(rows[r] + j), sum);
          store(c + j, sum);
        }
      }
      for (; j < j1; j++) {
        T sum = keep ? c[j] : T(0);
        for (int r = 0; r < count; r++) sum += x[r] * rows[r][j];
        c[j] = sum;
      }
    }
  }
}

// c = alpha a b (+ c) for R rows of a and four columns of b, which are contiguous: dot products.
template <typename T, int R>
void dots(int64_t k, T alpha, const T* a, int64_t row, const T* b, int64_t column, bool add,
          Matrix<T> c, int64_t columns) {
  constexpr int N = kLanes<T>;
  Vec<T> sums[R][4] = {};
  int64_t i = 0;
  for (; i + N <= k; i += N) {
    Vec<T> of_b[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) of_b[j] = load(b + j * column + i);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const Vec<T> x = load(a + r * row + i);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) sums[r][j] = fma<T>(x, of_b[j], sums[r][j]);
    }
  }
  for (int r = 0; r < R; r++) {
    // Each sum is a vector yet: parts of four are added, and then the columns of four such parts.
    Four<T> parts[4] = {};
    for (int j = 0; j < 4; j++) {
      alignas(64) T values[std::max(N, 4)] = {};
      store(values, sums[r][j]);
      for (int p = 0; p < N; p += 4) parts[j] += load_as<Four<T>>(values + p);
    }
    transpose<T>(parts);
    Four<T> four = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    for (int64_t rest = i; rest < k; rest++)
      for (int j = 0; j < 4; j++) four[j] += a[r * row + rest] * b[j * column + rest];
    for (int64_t j = 0; j < columns; j++) {
      T* to = c.at(r, j);
      *to = add ? *to + alpha * four[j] : alpha * four[j];
    }
  }
}

constexpr int kFewRows = 4;

template <typename T>
void multiply_few_rows(int64_t m, int64_t n, int64_t k, T alpha, Matrix<const T> a,
                       Matrix<const T> b, bool add, Matrix<T> c) {
  static constexpr decltype(&dots<T, 1>) parts[kFewRows] = {dots<T, 1>, dots<T, 2>, dots<T, 3>,
                                                            dots<T, 4>};
  for (int64_t j = 0; j < n; j += 4) {
    int64_t columns = std::min<int64_t>(n - j, 4);
    // The last columns are taken four times where there are not four.
    parts[m - 1](k, alpha, a.data, a.row, b.at(0, j), columns == 4 ? b.column : 0, add,
                 c.from(0, j), columns == 4 ? 4 : 1);
    if (columns < 4) j += 1 - 4;
  }
}

}  // namespace

template <typename T>
void multiply_panels(int64_t m, int64_t n, int64_t k, const T* a, int64_t row, const T* panels,
                     const T* init, Matrix<T> c) {
  constexpr int W = kWidth<T>;
  const Panels<T> b{panels, k * W, W, panels + n / W * k * W, W};
  each_block<T>(m, [&](int64_t first, int64_t rows) {
    multiply_rows<T>(rows, n, k, T(1), a + first * row, row, b, init ? init + first : nullptr,
                     !init, c.from(first, 0));
  });
}

template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, T alpha, Matrix<const T> a, Matrix<const T> b,
              bool add, Matrix<T> c, T* scratch) {
  constexpr int W = kWidth<T>;
  if (!m || !n) return;
  if (!k) {
    if (!add)
      for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) *c.at(i, j) = T(0);
    return;
  }
  // A row of length one may have any stride, and so may a column.
  if (m == 1) a.row = k, c.row = n;
  if (n == 1) b.column = k, c.column = m;
  if (k == 1) a.column = b.row = 1;
  if (n < m ? n <= kFewRows : m > kFewRows && c.column != 1 && c.row == 1) {
    std::swap(m, n);
    std::swap(a, b);
    a = a.transposed(), b = b.transposed(), c = c.transposed();
  }
  if (m == 1 && b.column == 1 && c.column == 1) return sum_rows(n, k, alpha, a, b, add, c.data);
  if (m <= kFewRows && b.row == 1 && a.column == 1)
    return multiply_few_rows(m, n, k, alpha, a, b, add, c);

  constexpr int64_t kStep = kTerms<T> + kLine<T>;
  T* const packed_b = scratch;
  T* const packed_a = scratch + kTerms<T> * (kColumns + W);
  const int64_t parts = (k + kTerms<T> - 1) / kTerms<T>;
  // Rows of b are read where they lie if they are contiguous, and either seldom used or near one
  // another.
  const bool packs = b.column != 1 || (m > kRows<T> && k * b.row * sizeof(T) > (1 << 15));
  const int64_t near = packs || m > kRows<T> ? kColumns : n;
  for (int64_t j = 0; j < n; j += near) {
    const int64_t columns = std::min(near, n - j), whole = columns / W * W;
    for (int64_t part = 0; part < parts; part++) {
      const int64_t k0 = part * k / parts, terms = (part + 1) * k / parts - k0;
      Panels<T> panels{b.at(k0, j), W, b.row, packed_b, W};
      if (packs) {
        panels = {packed_b, terms * W, W, packed_b + whole * terms, W};
        if (b.column == 1)  // row by row, as memory is read fastest
          for (int64_t i = 0; i < terms; i++)
            for (int64_t p = 0; p < whole; p += W)
              pack(1, W, b.from(k0 + i, j + p), packed_b + p * terms + i * W, W, W);
        else
          for (int64_t p = 0; p < whole; p += W)
            pack(terms, W, b.from(k0, j + p), packed_b + p * terms, W, W);
      }
      if (const int64_t left = columns - whole)
        pack(terms, left, b.from(k0, j + whole), const_cast<T*>(panels.last), W,
             left <= kLanes<T> ? kLanes<T> : W);
      each_block<T>(m, [&](int64_t first, int64_t rows) {
        Matrix<const T> block = a.from(first, k0);
        if (a.column != 1) {
          pack(rows, terms, block, packed_a, kStep, terms);
          block = {packed_a, kStep, 1};
        }
        multiply_rows<T>(rows, columns, terms, alpha, block.data, block.row, panels, nullptr,
                         add || part, c.from(first, j));
      });
    }
  }
}

template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, T alpha, Matrix<const T> a, Matrix<const T> b,
              bool add, Matrix<T> c) {
  constexpr int64_t kEnough = int64_t{1} << 18;  // sums and products that are worth threads
  const int64_t threads = m * n * k < kEnough ? 1 : omp_get_max_threads();
  Scratch<T> scratch(threads);
  if (threads == 1) return multiply(m, n, k, alpha, a, b, add, c, scratch.of(0));
  // By columns, of which no thread packs those of another; by rows if there are few columns.
  const bool by_columns = n >= m || n >= threads * kWidth<T>;
  const int64_t size = by_columns ? n : m, unit = by_columns ? kWidth<T> : kRows<T>;
  const int64_t units = (size + unit - 1) / unit;
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < threads; t++) {
    const int64_t first = std::min(t * units / threads * unit, size);
    const int64_t count = std::min((t + 1) * units / threads * unit, size) - first;
    if (by_columns)
      multiply(m, count, k, alpha, a, b.from(0, first), add, c.from(0, first), scratch.of(t));
    else
      multiply(count, n, k, alpha, a.from(first, 0), b, add, c.from(first, 0), scratch.of(t));
  }
}

#define FOR(T)                                                                                    \
  template void multiply(int64_t, int64_t, int64_t, T, Matrix<const T>, Matrix<const T>, bool,    \
                         Matrix<T>, T*);                                                          \
  template void multiply(int64_t, int64_t, int64_t, T, Matrix<const T>, Matrix<const T>, bool,    \
                         Matrix<T>);                                                              \
  template void multiply_panels(int64_t, int64_t, int64_t, const T*, int64_t, const T*, const T*, \
                                Matrix<T>);
FOR(float)
FOR(double)
FOR(int32_t)
FOR(int64_t)

}  // namespace aotbuild::standalone
