// Attention of float32 tensors, without the matrix of all scores.
//
//   out[i] = sum over j of e^(s[i][j] - m[i]) v[j] / sum over j of e^(s[i][j] - m[i])
//   with s[i][j] = scale q[i] . k[j] + mask[i][j] and m[i] = max over j of s[i][j]
//
// Keys are taken in blocks whose scores stay in the nearest cache. The largest score so far, m, and
// both sums are carried from block to block; where m grows, the sums are multiplied by
// e^(old m - new m): the online softmax (Milakov & Gimelshein, "Online normalizer calculation for
// softmax", arXiv:1805.02867, 2018; with values: Dao et al., "FlashAttention", arXiv:2205.14135,
// 2022).
//
// Queries are taken as columns: a block of them is transposed once, so that their numbers fill the
// vectors, and keys and values are read where they lie, one number at a time, as the factor of a
// whole vector of queries. Neither is copied or packed. Largest scores and sums then are vectors
// too. Every block of queries is computed by one thread, always in the same order.
#ifndef AOTBUILD_ATTENTION_H
#define AOTBUILD_ATTENTION_H

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../simd/exponential.h"
#include "../simd/panels.h"
#include "../simd/strided_rows.h"
#include "../simd/vectors.h"
#include "few_queries.h"
#include "operands.h"

namespace aotbuild {

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
  for (; k > 0; k--, b += V * kLanes) {
    Vec x[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) x[v] = load(b + v * kLanes);
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
constexpr int kAttentionRows = 8, kAttentionVectors = 2;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int kAttentionRows = 6, kAttentionVectors = 2;
#elif defined(__aarch64__)
constexpr int kAttentionRows = 4, kAttentionVectors = 4;
#else
constexpr int kAttentionRows = 2, kAttentionVectors = 4;
#endif
constexpr int kAttentionKeys = 128;  // in a block

// Square of kLanes x kLanes numbers turned about its diagonal.
template <int S>
AOTBUILD_INLINE void swap_blocks(Vec (&x)[kLanes]) {
  if constexpr (S < kLanes) {
    Ints low, high;
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; j++) {
      low[j] = j & S ? j - S + kLanes : j;
      high[j] = j & S ? j + kLanes : j + S;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) {
      if (i & S) continue;
      Vec a = x[i], b = x[i + S];
      x[i] = __builtin_shuffle(a, b, low);
      x[i + S] = __builtin_shuffle(a, b, high);
    }
    swap_blocks<S * 2>(x);
  }
}
AOTBUILD_INLINE void transpose(Vec (&x)[kLanes]) { swap_blocks<1>(x); }

// to[column][lane] = factor * from[lane][column]
// Lanes beyond the rows repeat the last one.
template <int V, class T>
AOTBUILD_INLINE void transpose_in(const T* from, int64_t row, int64_t column, int64_t rows,
                                  int64_t columns, float factor, float* to) {
  const Vec f = splat(factor);
  for (int v = 0; v < V; v++) {
    const T* lane[kLanes];
    for (int i = 0; i < kLanes; i++)
      lane[i] = from + std::min<int64_t>(v * kLanes + i, rows - 1) * row;
    int64_t j = 0;
    if (column == 1)
      for (; j + kLanes <= columns; j += kLanes) {
        Vec x[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) x[i] = additive(lane[i] + j) * f;
        transpose(x);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) store(to + ((j + i) * V + v) * kLanes, x[i]);
      }
    for (; j < columns; j++)
      for (int i = 0; i < kLanes; i++)
        to[(j * V + v) * kLanes + i] = additive(lane[i][j * column]) * factor;
  }
}

// to[lane][column] = from[column][lane] * factor[lane], for the rows that there are.
template <int Columns, int V>
AOTBUILD_INLINE void transpose_out(const float* from, const Vec (&factor)[V], int64_t rows,
                                   float* to, int64_t row) {
  for (int v = 0; v < V; v++) {
    int64_t lanes = std::min<int64_t>(rows - v * kLanes, kLanes), j = 0;
    for (; j + kLanes <= Columns; j += kLanes) {
      Vec x[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) x[i] = load(from + ((j + i) * V + v) * kLanes) * factor[v];
      transpose(x);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++)
        if (i < lanes) store(to + (v * kLanes + i) * row + j, x[i]);
    }
    if constexpr (Columns % kLanes != 0)
      for (float last[kLanes]; j < Columns; j++) {
        store(last, load(from + (j * V + v) * kLanes) * factor[v]);
        for (int64_t i = 0; i < lanes; i++) to[(v * kLanes + i) * row + j] = last[i];
      }
  }
}

// What one thread keeps of a block of queries.
template <int D, int DV, int V>
struct alignas(64) AttentionBlock {
  float queries[D][V * kLanes];
  float scores[kAttentionKeys][V * kLanes];
  float output[DV][V * kLanes];
};

// Scores of R keys and their largest: the product, and what the mask adds.
template <int R, int V, class Bias>
AOTBUILD_INLINE void score_rows(const float* keys, int64_t row, int64_t step, const float* queries,
                                int64_t d, float* scores, Vec (&largest)[V], Bias bias) {
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
      largest[v] = maximum(largest[v], x);
      store(scores + (r * V + v) * kLanes, x);
    }
}

template <int R, int V>
AOTBUILD_INLINE void value_rows(const float* values, int64_t step, const float* weights,
                                int64_t keys, float* output, bool first) {
  Vec acc[R][V];
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
      acc[r][v] = first ? splat(0.f) : load(output + (r * V + v) * kLanes);
  multiply_columns<R, V>(DownColumns{values, step}, weights, keys, acc);
#pragma GCC unroll 32
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) store(output + (r * V + v) * kLanes, acc[r][v]);
}

// Does what it is given for numbers of rows as large as they may be, and ever std::min<int64_t>
// ones for the rest.
template <int R, class F>
AOTBUILD_INLINE void in_rows(int64_t rows, F&& f, int64_t first = 0) {
  for (; rows - first >= R; first += R) f(std::integral_constant<int, R>{}, first);
  if constexpr (R > 1) in_rows<(R > 4 ? 4 : R / 2)>(rows, f, first);
}

// One block of at most V * kLanes queries.
template <int D, int DV, int V, bool Causal, bool Undefined, class M>
__attribute__((noinline)) void attend(const Heads<const float>& q, const Heads<const float>& k,
                                      const Heads<const float>& v, const Heads<float>& out,
                                      const M& mask, const AttentionSizes& n, float scale,
                                      float fill, int64_t batch, int64_t head, int64_t query) {
  constexpr int kRowsAtOnce =
      kAttentionRows * (V == 1 ? std::min<int64_t>(kAttentionVectors, 2) : 1);
  AttentionBlock<D, DV, V> block;
  const int64_t queries = std::min<int64_t>(V * kLanes, n.queries - query);
  const int64_t key_head = head / (n.heads / n.key_heads);
  const float* ks = k.data + batch * k.batch + key_head * k.head;
  const float* vs = v.data + batch * v.batch + key_head * v.head;
  transpose_in<V>(q.data + batch * q.batch + head * q.head + query * q.row, q.row, q.column,
                  queries, D, scale, &block.queries[0][0]);
  [[maybe_unused]] const auto* masked = first_of(mask, batch, head);
  Vec largest[V], sum[V];
  for (int i = 0; i < V; i++) largest[i] = splat(-kInfinity), sum[i] = splat(0.f);
  if (n.keys == 0)
    for (int64_t j = 0; j < DV; j++)
      for (int i = 0; i < V; i++) store(block.output[j] + i * kLanes, splat(0.f));
  const int64_t last = Causal ? std::min<int64_t>(n.keys, query + queries) : n.keys;
  for (int64_t first = 0; first < last; first += kAttentionKeys) {
    const int64_t keys = std::min<int64_t>(kAttentionKeys, last - first);
    Vec before[V];
    for (int i = 0; i < V; i++) before[i] = largest[i];
    if constexpr (kDependsOn<M> == 2)
      transpose_in<V>(masked + query * mask.query + first * mask.key, mask.query, mask.key, queries,
                      keys, 1.f, block.scores[0]);
    in_rows<kRowsAtOnce>(keys, [&](auto rows, int64_t row) __attribute__((always_inline)) {
      auto bias = [&](Vec x, int r, int i) __attribute__((always_inline)) {
        int64_t key = first + row + r;
        if constexpr (kDependsOn<M> == 1)
          x = masked_score(x, splat(additive(masked[key * mask.key])), masked, fill);
        if constexpr (kDependsOn<M> == 2)
          x = masked_score(x, load(block.scores[row + r] + i * kLanes), masked, fill);
        if constexpr (Causal) {
          Ints position;
#pragma GCC unroll 16
          for (int lane = 0; lane < kLanes; lane++) position[lane] = lane;
          int32_t limit = int32_t(key - query - i * kLanes);
          x = position < limit ? splat(-kInfinity) : x;
        }
        return x;
      };
      score_rows<rows(), V>(ks + (first + row) * k.row, k.row, k.column, &block.queries[0][0], D,
                            block.scores[row], largest, bias);
    });
    for (int i = 0; i < V; i++) {
      Vec top = top_of(largest[i]);
      Vec rescale = exponential(before[i] - top), partial = splat(0.f);
      for (int64_t j = 0; j < keys; j++) {
        float* p = block.scores[j] + i * kLanes;
        Vec e = exponential(load(p) - top);
        partial = partial + e;
        store(p, e);
      }
      sum[i] = fma(sum[i], rescale, partial);
      if (first > 0)
        for (int64_t j = 0; j < DV; j++) {
          float* p = block.output[j] + i * kLanes;
          store(p, load(p) * rescale);
        }
    }
    const float* values = vs + first * v.row;
    in_rows<kRowsAtOnce>(DV, [&](auto rows, int64_t row) __attribute__((always_inline)) {
      value_rows<rows(), V>(values + row, v.row, block.scores[0], keys, block.output[row],
                            first == 0);
    });
  }
  for (int i = 0; i < V; i++) {
    Vec none = Undefined ? splat(__builtin_nanf("")) : splat(0.f);
    sum[i] = largest[i] == splat(-kInfinity) ? none : splat(1.f) / sum[i];
  }
  transpose_out<DV>(&block.output[0][0], sum, queries,
                    out.data + batch * out.batch + head * out.head + query * out.row, out.row);
}

// out[batch][head][query][DV] = softmax(scale q k' + mask) v
template <int D, int DV, bool Causal, bool Undefined, class M>
void attention(Heads<const float> q, Heads<const float> k, Heads<const float> v, Heads<float> out,
               M mask, AttentionSizes n, float scale, float fill) {
  if constexpr (!Causal)
    if (n.queries <= kFewQueries && k.column == 1)
      return attention_of_few<D, DV, Undefined>(q, k, v, out, mask, n, scale, fill);
  constexpr int V = kAttentionVectors, kWide = V * kLanes;
  const int64_t blocks = (n.queries + kWide - 1) / kWide;
#pragma omp parallel for schedule(static) if (n.batch * n.heads * n.queries * n.keys * (D + DV) >= \
                                                  kParallelWork)
  for (int64_t i = 0; i < n.batch * n.heads * blocks; i++) {
    const int64_t query = i % blocks * kWide, head = i / blocks % n.heads,
                  batch = i / blocks / n.heads;
    if (n.queries - query > kLanes)
      attend<D, DV, V, Causal, Undefined>(q, k, v, out, mask, n, scale, fill, batch, head, query);
    else
      attend<D, DV, 1, Causal, Undefined>(q, k, v, out, mask, n, scale, fill, batch, head, query);
  }
}

}  // namespace aotbuild
#endif
