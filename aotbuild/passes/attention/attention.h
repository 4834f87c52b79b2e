// Attention of float32 tensors: softmax(scale q k' + mask) v, without the matrix of all scores.
//
// Queries are taken as columns: a block of them is transposed once, so that their numbers fill the
// vectors, and keys and values are read where they lie, one number at a time, as the factor of a whole
// vector of queries. Neither is copied or packed. Largest scores and sums then are sums of vectors too.
// Keys are taken in blocks whose scores stay in the nearest cache; what came before is scaled to the
// largest score so far. Every block of queries is computed by one thread, in the same order always.
//
// Used after gemm.h and exponential.h.
#ifndef AOTBUILD_ATTENTION_H
#define AOTBUILD_ATTENTION_H

#include <cstdint>
#include <type_traits>

namespace aotbuild {

constexpr AOTBUILD_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct NoMask {};

// What is added to the scores: [batch][head][query][key] with distances of any size, also 0.
template <class T>
struct Mask {
  const T* data;
  int64_t batch, head, query, key;
};

// One that is the same for all queries.
template <class T>
struct KeyMask {
  const T* data;
  int64_t batch, head, key;
};

template <class M>
AOTBUILD_INLINE auto first_of(const M& mask, int64_t batch, int64_t head) {
  return mask.data + batch * mask.batch + head * mask.head;
}
AOTBUILD_INLINE const float* first_of(const NoMask&, int64_t, int64_t) { return nullptr; }

// A mask of numbers is added, one of bytes tells which scores stay: the others become a number.
AOTBUILD_INLINE Vec masking(Vec score, Vec mask, const float*, float) { return score + mask; }
AOTBUILD_INLINE Vec masking(Vec score, Vec mask, const unsigned char*, float fill) {
  return mask == splat(0.f) ? score : splat(fill);
}
AOTBUILD_INLINE float added(float x) { return x; }
AOTBUILD_INLINE float added(unsigned char x) { return x ? 0.f : -INFINITE; }
AOTBUILD_INLINE Vec added(const float* p) { return load(p); }
AOTBUILD_INLINE Vec added(const unsigned char* p) {
  typedef unsigned char Bytes __attribute__((vector_size(LANES)));
  Bytes x;
  __builtin_memcpy(&x, p, sizeof x);
  return __builtin_convertvector(x, Ints) == 0 ? splat(-INFINITE) : splat(0.f);
}

template <class M>
constexpr int DEPENDS_ON = 0;  // 1: keys, 2: queries and keys
template <class T>
constexpr int DEPENDS_ON<KeyMask<T>> = 1;
template <class T>
constexpr int DEPENDS_ON<Mask<T>> = 2;

// A tensor [batch][head][row][column] by its distances, in elements.
template <class T>
struct Heads {
  T* data;
  int64_t batch, head, row, column;
};

struct AttentionSizes {
  int64_t batch, heads, key_heads, queries, keys;
};


// Rows at equal distances, read along them: keys.
template <int R>
struct AlongRows {
  StridedRows<R> rows;
  int64_t step;
  AOTBUILD_INLINE float at(int row) const { return *rows.at(row); }
  AOTBUILD_INLINE void advance() { rows.advance(step); }
};

// Columns that lie side by side, read down them: values.
struct DownColumns {
  const float* base;
  int64_t step;
  AOTBUILD_INLINE float at(int column) const { return base[column]; }
  AOTBUILD_INLINE void advance() { base += step; }
};

// acc[R][V] += a[R][k] b[k][V vectors]
template <int R, int V, class A>
AOTBUILD_INLINE void multiply_columns(A a, const float* b, int64_t k, Vec (&acc)[R][V]) {
  for (; k > 0; k--, b += V * LANES) {
    Vec x[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) x[v] = load(b + v * LANES);
#pragma GCC unroll 32
    for (int r = 0; r < R; r++) {
      Vec f = splat(a.at(r));
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) acc[r][v] = fma(f, x[v], acc[r][v]);
    }
    a.advance();
  }
}

#if defined(__AVX512F__)
constexpr int ATTENTION_ROWS = 8, ATTENTION_VECS = 2;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int ATTENTION_ROWS = 6, ATTENTION_VECS = 2;
#elif defined(__aarch64__)
constexpr int ATTENTION_ROWS = 4, ATTENTION_VECS = 4;
#else
constexpr int ATTENTION_ROWS = 2, ATTENTION_VECS = 4;
#endif
constexpr int ATTENTION_KEYS = 128;     // in a block
constexpr int64_t PARALLEL = 1 << 17;  // multiplications from which on threads pay

// Square of LANES x LANES numbers turned about its diagonal.
template <int S>
AOTBUILD_INLINE void swap_blocks(Vec (&x)[LANES]) {
  if constexpr (S < LANES) {
    Ints low, high;
#pragma GCC unroll 16
    for (int j = 0; j < LANES; j++) {
      low[j] = j & S ? j - S + LANES : j;
      high[j] = j & S ? j + LANES : j + S;
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
      if (i & S) continue;
      Vec a = x[i], b = x[i + S];
      x[i] = __builtin_shuffle(a, b, low);
      x[i + S] = __builtin_shuffle(a, b, high);
    }
    swap_blocks<S * 2>(x);
  }
}
AOTBUILD_INLINE void transpose(Vec (&x)[LANES]) { swap_blocks<1>(x); }

// to[column][lane] = factor * from[lane][column]
// Lanes beyond the rows repeat the last one.
template <int V, class T>
AOTBUILD_INLINE void transpose_in(const T* from, int64_t row, int64_t column, int64_t rows, int64_t columns,
                                  float factor, float* to) {
  const Vec f = splat(factor);
  for (int v = 0; v < V; v++) {
    const T* lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = from + smaller(v * LANES + i, rows - 1) * row;
    int64_t j = 0;
    if (column == 1)
      for (; j + LANES <= columns; j += LANES) {
        Vec x[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) x[i] = added(lane[i] + j) * f;
        transpose(x);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) store(to + ((j + i) * V + v) * LANES, x[i]);
      }
    for (; j < columns; j++)
      for (int i = 0; i < LANES; i++) to[(j * V + v) * LANES + i] = added(lane[i][j * column]) * factor;
  }
}

// to[lane][column] = from[column][lane] * factor[lane], for the rows that there are.
template <int COLUMNS, int V>
AOTBUILD_INLINE void transpose_out(const float* from, const Vec (&factor)[V], int64_t rows, float* to, int64_t row) {
  for (int v = 0; v < V; v++) {
    int64_t lanes = smaller(rows - v * LANES, LANES), j = 0;
    for (; j + LANES <= COLUMNS; j += LANES) {
      Vec x[LANES];
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++) x[i] = load(from + ((j + i) * V + v) * LANES) * factor[v];
      transpose(x);
#pragma GCC unroll 16
      for (int i = 0; i < LANES; i++)
        if (i < lanes) store(to + (v * LANES + i) * row + j, x[i]);
    }
    if constexpr (COLUMNS % LANES != 0)
      for (float last[LANES]; j < COLUMNS; j++) {
        store(last, load(from + (j * V + v) * LANES) * factor[v]);
        for (int64_t i = 0; i < lanes; i++) to[(v * LANES + i) * row + j] = last[i];
      }
  }
}

// What one thread keeps of a block of queries.
template <int D, int DV, int V>
struct alignas(64) AttentionBlock {
  float queries[D][V * LANES];
  float scores[ATTENTION_KEYS][V * LANES];
  float output[DV][V * LANES];
};

// Scores of R keys and their largest: the product, and what the mask adds.
template <int R, int V, class Bias>
AOTBUILD_INLINE void score_rows(const float* keys, int64_t row, int64_t step, const float* queries, int64_t d,
                                float* scores, Vec (&largest)[V], Bias bias) {
  Vec acc[R][V];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) acc[r][v] = splat(0.f);
  multiply_columns<R, V>(AlongRows<R>{{keys, row}, step}, queries, d, acc);
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
      Vec x = bias(acc[r][v], r, v);
      largest[v] = larger(largest[v], x);
      store(scores + (r * V + v) * LANES, x);
    }
}

template <int R, int V>
AOTBUILD_INLINE void value_rows(const float* values, int64_t step, const float* weights, int64_t keys, float* output,
                                bool first) {
  Vec acc[R][V];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) acc[r][v] = first ? splat(0.f) : load(output + (r * V + v) * LANES);
  multiply_columns<R, V>(DownColumns{values, step}, weights, keys, acc);
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) store(output + (r * V + v) * LANES, acc[r][v]);
}

// Does what it is given for numbers of rows as large as they may be, and ever smaller ones for the rest.
template <int R, class F>
AOTBUILD_INLINE void in_rows(int64_t rows, F&& f, int64_t first = 0) {
  for (; rows - first >= R; first += R) f(std::integral_constant<int, R>{}, first);
  if constexpr (R > 1) in_rows<(R > 4 ? 4 : R / 2)>(rows, f, first);
}

// One block of at most V * LANES queries.
template <int D, int DV, int V, bool CAUSAL, bool UNDEFINED, class M>
__attribute__((noinline)) void attend(const Heads<const float>& q, const Heads<const float>& k,
                                      const Heads<const float>& v, const Heads<float>& out, const M& mask,
                                      const AttentionSizes& n, float scale, float fill,
                                      int64_t batch, int64_t head, int64_t query) {
  constexpr int ROWS = ATTENTION_ROWS * (V == 1 ? smaller(ATTENTION_VECS, 2) : 1);
  AttentionBlock<D, DV, V> block;
  const int64_t queries = smaller(V * LANES, n.queries - query);
  const int64_t key_head = head / (n.heads / n.key_heads);
  const float* ks = k.data + batch * k.batch + key_head * k.head;
  const float* vs = v.data + batch * v.batch + key_head * v.head;
  transpose_in<V>(q.data + batch * q.batch + head * q.head + query * q.row, q.row, q.column, queries, D, scale,
                  &block.queries[0][0]);
  [[maybe_unused]] const auto* masked = first_of(mask, batch, head);
  Vec largest[V], sum[V];
  for (int i = 0; i < V; i++) largest[i] = splat(-INFINITE), sum[i] = splat(0.f);
  if (n.keys == 0)
    for (int64_t j = 0; j < DV; j++)
      for (int i = 0; i < V; i++) store(block.output[j] + i * LANES, splat(0.f));
  const int64_t last = CAUSAL ? smaller(n.keys, query + queries) : n.keys;
  for (int64_t first = 0; first < last; first += ATTENTION_KEYS) {
    const int64_t keys = smaller(ATTENTION_KEYS, last - first);
    Vec before[V];
    for (int i = 0; i < V; i++) before[i] = largest[i];
    if constexpr (DEPENDS_ON<M> == 2)
      transpose_in<V>(masked + query * mask.query + first * mask.key, mask.query, mask.key, queries, keys, 1.f,
                      block.scores[0]);
    in_rows<ROWS>(keys, [&](auto rows, int64_t row) __attribute__((always_inline)) {
      auto bias = [&](Vec x, int r, int i) __attribute__((always_inline)) {
        int64_t key = first + row + r;
        if constexpr (DEPENDS_ON<M> == 1) x = masking(x, splat(added(masked[key * mask.key])), masked, fill);
        if constexpr (DEPENDS_ON<M> == 2) x = masking(x, load(block.scores[row + r] + i * LANES), masked, fill);
        if constexpr (CAUSAL) {
          Ints position;
#pragma GCC unroll 16
          for (int lane = 0; lane < LANES; lane++) position[lane] = lane;
          int32_t limit = int32_t(key - query - i * LANES);
          x = position < limit ? splat(-INFINITE) : x;
        }
        return x;
      };
      score_rows<rows(), V>(ks + (first + row) * k.row, k.row, k.column, &block.queries[0][0], D,
                            block.scores[row], largest, bias);
    });
    for (int i = 0; i < V; i++) {
      // Where all keys so far are masked, e^(-inf - 0) is 0, and not e^(-inf + inf).
      Vec top = largest[i] == splat(-INFINITE) ? splat(0.f) : largest[i];
      Vec kept = exponential(before[i] - top), added = splat(0.f);
      for (int64_t j = 0; j < keys; j++) {
        float* p = block.scores[j] + i * LANES;
        Vec e = exponential(load(p) - top);
        added = added + e;
        store(p, e);
      }
      sum[i] = fma(sum[i], kept, added);
      if (first > 0)
        for (int64_t j = 0; j < DV; j++) {
          float* p = block.output[j] + i * LANES;
          store(p, load(p) * kept);
        }
    }
    const float* values = vs + first * v.row;
    in_rows<ROWS>(DV, [&](auto rows, int64_t row) __attribute__((always_inline)) {
      value_rows<rows(), V>(values + row, v.row, block.scores[0], keys, block.output[row], first == 0);
    });
  }
  for (int i = 0; i < V; i++) {
    Vec none = UNDEFINED ? splat(__builtin_nanf("")) : splat(0.f);
    sum[i] = largest[i] == splat(-INFINITE) ? none : splat(1.f) / sum[i];
  }
  transpose_out<DV>(&block.output[0][0], sum, queries,
                   out.data + batch * out.batch + head * out.head + query * out.row, out.row);
}

// out[batch][head][query][DV] = softmax(scale q k' + mask) v
template <int D, int DV, bool CAUSAL, bool UNDEFINED, class M>
void attention(Heads<const float> q, Heads<const float> k, Heads<const float> v, Heads<float> out, M mask,
               AttentionSizes n, float scale, float fill) {
  constexpr int V = ATTENTION_VECS, WIDE = V * LANES;
  const int64_t blocks = (n.queries + WIDE - 1) / WIDE;
#pragma omp parallel for schedule(static) if (n.batch * n.heads * n.queries * n.keys * (D + DV) >= PARALLEL)
  for (int64_t i = 0; i < n.batch * n.heads * blocks; i++) {
    const int64_t query = i % blocks * WIDE, head = i / blocks % n.heads, batch = i / blocks / n.heads;
    if (n.queries - query > LANES)
      attend<D, DV, V, CAUSAL, UNDEFINED>(q, k, v, out, mask, n, scale, fill, batch, head, query);
    else
      attend<D, DV, 1, CAUSAL, UNDEFINED>(q, k, v, out, mask, n, scale, fill, batch, head, query);
  }
}

}  // namespace aotbuild
#endif
