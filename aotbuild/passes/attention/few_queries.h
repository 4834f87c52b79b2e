// Attention of few queries over many keys, as when a language model makes one token after another.
//
// It computes what attention.h does, block of keys by block with an online softmax, but here memory
// is what it waits for: the numbers of a key fill the vectors, and keys and values are read once
// for all queries of all heads that share them. While keys of a block are multiplied, its values
// are asked for, and while its values are, the keys of the next block.
//
// Keys that a mask hides from all of these queries are not read where they are at an end of a
// block: of a cache, only the part that is filled. A number there that is none does not make the
// result none. Each head of keys is read by one thread, front to back; where heads are few and keys
// many, parts of it are, whose sums are added.
//
// Queries, keys, values and the result are of one type T: of float32, or of bfloat16, which are
// widened as they are read; only the result is rounded.
#ifndef AOTBUILD_FEW_QUERIES_H
#define AOTBUILD_FEW_QUERIES_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../simd/bfloat16.h"
#include "../simd/exponential.h"
#include "../simd/panels.h"
#include "../simd/vectors.h"
#include "operands.h"

namespace aotbuild {

constexpr int kFewQueries = 4;
constexpr int kFewKeys = 16;    // in a block
constexpr int kSharing = 16;    // rows, which are queries of heads, that read keys together
constexpr int kRowsOfKeys = 4;  // rows that are multiplied at once

// Vectors of sums that stay in registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kFewSums = 16;
#else
constexpr int kFewSums = 8;
#endif

constexpr int64_t vectors_of(int64_t numbers) { return divide_up(numbers, kLanes); }

// Asks for the first numbers at an address.
template <int N, class T>
AOTBUILD_INLINE void ask_for(const T* from) {
#pragma GCC unroll 16
  for (int i = 0; i < N; i += 64 / sizeof(T)) __builtin_prefetch(from + i, 0, 3);
}

// How many keys or values before their use one is asked for: what memory has on its way at a time,
// half of it keys. More of few_rows.h.
template <int N, class T>
constexpr int64_t kKeysAhead = divide_up(divide_up(4096, N * sizeof(T)), kFewKeys) * kFewKeys;

// Sums of the lanes of each vector, that of x[i] in lane i of x[0].
template <int S = 1>
AOTBUILD_INLINE void sum_lanes(Vec (&x)[kLanes]) {
  if constexpr (S < kLanes) {
    Ints low, high;
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; j++) {
      low[j] = j & S ? j - S + kLanes : j;
      high[j] = j & S ? j + kLanes : j + S;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i += 2 * S)
      x[i] = __builtin_shuffle(x[i], x[i + S], low) + __builtin_shuffle(x[i], x[i + S], high);
    sum_lanes<2 * S>(x);
  }
}

// The numbers [v kLanes, (v + 1) kLanes) of N, with zeros behind the last one.
template <int N, class T>
AOTBUILD_INLINE Vec load_part(const T* from, int v) {
  if constexpr (N % kLanes != 0)
    if (v == N / kLanes) return load_partial(from + v * kLanes, N % kLanes);
  return load(from + v * kLanes);
}

// products[r][i] = the products of the numbers of row r and key i, of which the lanes are to be
// added; for K keys of D numbers.
template <int D, int R, int K, class T>
AOTBUILD_INLINE void multiply_keys(const T* keys, int64_t distance, const float* rows,
                                   float (*products)[kLanes * kLanes]) {
  constexpr int V = vectors_of(D);
  Vec acc[K][R];
#pragma GCC unroll 8
  for (int i = 0; i < K; i++)
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) acc[i][r] = zero();
#pragma GCC unroll 4
  for (int v = 0; v < V; v++)
#pragma GCC unroll 8
    for (int i = 0; i < K; i++) {
      const Vec key = load_part<D>(keys + i * distance, v);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
        acc[i][r] = fma(load(rows + (r * V + v) * kLanes), key, acc[i][r]);
    }
#pragma GCC unroll 8
  for (int i = 0; i < K; i++)
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) store(products[r] + i * kLanes, acc[i][r]);
}

// scores[r][j] for R rows and so many keys of a block; behind them anything. With each of the first
// keys, the one so many behind it is asked for.
template <int D, int R, class T>
AOTBUILD_INLINE void score_keys(const T* keys, int64_t distance, int64_t count, const float* rows,
                                float (*scores)[kFewKeys], int64_t asked) {
  constexpr int kAtOnce = kFewSums / R < 4 ? kFewSums / R : 4;
  alignas(64) float products[R][kLanes * kLanes];
  for (int64_t first = 0; first < count; first += kLanes) {
    const int here = std::min<int64_t>(kLanes, count - first);
    int i = 0;
    const T* key = keys + first * distance;
    auto some = [&](auto some) __attribute__((always_inline)) {
      constexpr int K = decltype(some)::value;
      for (; i + K <= here; i += K, key += K * distance) {
        if (first + i < asked)
          for (int j = 0; j < K; j++) ask_for<D>(key + (kKeysAhead<D, T> + j) * distance);
        float (*to)[kLanes * kLanes] = (float (*)[kLanes * kLanes])(products[0] + i * kLanes);
        multiply_keys<D, R, K>(key, distance, rows, to);
      }
    };
    some(std::integral_constant<int, kAtOnce>{});
    some(std::integral_constant<int, 1>{});
    for (; i < kLanes; i++)
      for (int r = 0; r < R; r++) store(products[r] + i * kLanes, zero());
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      Vec x[kLanes];
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; j++) x[j] = load(products[r] + j * kLanes);
      sum_lanes(x);
      store(scores[r] + first, x[0]);
    }
  }
}

// output[r] = factor[r] output[r] + sum over j of weights[r][j] values[j], for R rows of DV
// numbers. With each of the first values, the one so many behind it is asked for.
template <int DV, int R, class T>
AOTBUILD_INLINE void add_values(const T* values, int64_t distance, int64_t count,
                                const float (*weights)[kFewKeys], const Vec* factor, float* output,
                                int64_t asked) {
  constexpr int V = vectors_of(DV);
  auto part = [&](auto some, int v0) __attribute__((always_inline)) {
    constexpr int C = decltype(some)::value;
    Vec acc[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) acc[r][c] = load(output + (r * V + v0 + c) * kLanes) * factor[r];
    const T* value = values + v0 * kLanes;
    for (int64_t j = 0; j < count; j++, value += distance) {
      if (v0 == 0 && j < asked) ask_for<DV>(value + kKeysAhead<DV, T> * distance);
      Vec x[C];
#pragma GCC unroll 16
      for (int c = 0; c < C; c++)
        x[c] = DV % kLanes != 0 && C == 1 && v0 == V - 1 ? load_partial(value, DV % kLanes)
                                                         : load(value + c * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) {
        const Vec weight = splat(weights[r][j]);
#pragma GCC unroll 16
        for (int c = 0; c < C; c++) acc[r][c] = fma(weight, x[c], acc[r][c]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) store(output + (r * V + v0 + c) * kLanes, acc[r][c]);
  };
  constexpr int kWhole = DV / kLanes, kAtOnce = kFewSums / R < 8 ? kFewSums / R : 8;
  int v = 0;
  for (; v + kAtOnce <= kWhole; v += kAtOnce) part(std::integral_constant<int, kAtOnce>{}, v);
  if constexpr (kAtOnce > 2)
    for (; v + 2 <= kWhole; v += 2) part(std::integral_constant<int, 2>{}, v);
  for (; v < V; v++) part(std::integral_constant<int, 1>{}, v);
}

// The keys of a block that are not hidden from all rows: from the first one to the last one.
struct Seen {
  int64_t first, last;
};

// The mask of a row.
template <class T>
AOTBUILD_INLINE const T* mask_of(const Mask<T>& mask, int64_t batch, int64_t head, int64_t query) {
  return first_of(mask, batch, head) + query * mask.query;
}
template <class T>
AOTBUILD_INLINE const T* mask_of(const KeyMask<T>& mask, int64_t batch, int64_t head, int64_t) {
  return first_of(mask, batch, head);
}
AOTBUILD_INLINE const float* mask_of(const NoMask&, int64_t, int64_t, int64_t) { return nullptr; }

// Whether scores become -inf whatever they are: one of them, and so many that lie side by side.
AOTBUILD_INLINE bool hides(float mask, float) { return mask == -kInfinity; }
AOTBUILD_INLINE bool hides(uint16_t mask, float) { return widen(mask) == -kInfinity; }
AOTBUILD_INLINE bool hides(unsigned char mask, float fill) { return !mask && fill == -kInfinity; }
constexpr int64_t kSideBySide = 32;
template <class T>
AOTBUILD_INLINE bool hides_all(const T* mask, float) {
  Ints hidden = Ints{} - 1;
#pragma GCC unroll 8
  for (int i = 0; i < kSideBySide; i += kLanes)
    hidden &= bits(load(mask + i)) == bits(splat(-kInfinity));
  int32_t all = -1;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; i++) all &= hidden[i];
  return all;
}
AOTBUILD_INLINE bool hides_all(const unsigned char* mask, float fill) {
  uint64_t words[kSideBySide / 8];
  std::memcpy(words, mask, sizeof words);
  return !(words[0] | words[1] | words[2] | words[3]) && fill == -kInfinity;
}

// What masks hide from all of some rows.
template <class T>
struct Hidden {
  const T* const* masks;
  int64_t rows, step;
  float fill;
  AOTBUILD_INLINE bool one(int64_t key) const {
    for (int64_t r = 0; r < rows; r++)
      if (!hides(masks[r][key * step], fill)) return false;
    return true;
  }
  // Keys that lie side by side, from one on.
  AOTBUILD_INLINE bool some(int64_t key) const {
    for (int64_t r = 0; r < rows; r++)
      if (!hides_all(masks[r] + key, fill)) return false;
    return true;
  }
};

// The next block from first on, of those of which anything is seen.
template <class T>
AOTBUILD_INLINE Seen next_seen(const Hidden<T>& hidden, int64_t first, int64_t keys) {
  if (hidden.step == 1)
    while (first + kSideBySide <= keys && hidden.some(first)) first += kSideBySide;
  while (first < keys && hidden.one(first)) first++;
  int64_t last = std::min<int64_t>(first + kFewKeys, keys);
  while (last > first && hidden.one(last - 1)) last--;
  return {first, last};
}

// Where the keys end that are seen.
template <class T>
AOTBUILD_INLINE int64_t end_of_seen(const Hidden<T>& hidden, int64_t first, int64_t last) {
  if (hidden.step == 1)
    while (last - kSideBySide >= first && hidden.some(last - kSideBySide)) last -= kSideBySide;
  while (last > first && hidden.one(last - 1)) last--;
  return last;
}

// Scores with the mask of their row.
template <class T>
AOTBUILD_INLINE void add_mask(float* scores, int64_t count, const T* mask, int64_t step,
                              float fill) {
  for (int64_t j = 0; j < count; j += kLanes) {
    Vec x;
    if (step == 1 && j + kLanes <= count) {
      x = additive(mask + j);
    } else {
      alignas(64) float some[kLanes] = {};
      for (int64_t i = 0; i < std::min<int64_t>(kLanes, count - j); i++)
        some[i] = additive(mask[(j + i) * step]);
      x = load(some);
    }
    store(scores + j, masked_score(load(scores + j), x, mask, fill));
  }
}

// The largest of all lanes, in each of them.
template <int S = kLanes / 2>
AOTBUILD_INLINE Vec largest_lane(Vec x) {
  if constexpr (S > 0) {
    Ints other;
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; j++) other[j] = j ^ S;
    return largest_lane<S / 2>(maximum(x, __builtin_shuffle(x, other)));
  }
  return x;
}

// What is carried from block to block for a row: the largest score in each lane, and of the sum of
// the weights a part in each.
struct Carried {
  Vec largest, sum;
};

// Weights in the place of the scores of a row; returns by what the sums so far are multiplied.
AOTBUILD_INLINE Vec weigh(float* scores, int64_t count, Carried& carried) {
  for (int64_t j = count; j < kFewKeys; j++) scores[j] = -kInfinity;
  Vec most = carried.largest;
#pragma GCC unroll 4
  for (int j = 0; j < kFewKeys; j += kLanes) most = maximum(most, load(scores + j));
  most = largest_lane(most);
  const Vec top = top_of(most);
  const Vec factor = exponential(carried.largest - top);
  carried.sum = carried.sum * factor;
#pragma GCC unroll 4
  for (int j = 0; j < kFewKeys; j += kLanes) {
    const Vec weight = exponential(load(scores + j) - top);
    carried.sum = carried.sum + weight;
    store(scores + j, weight);
  }
  carried.largest = most;
  return factor;
}

// The sums of rows that read keys together, over the keys so far.
template <int DV>
struct alignas(64) Sums {
  float output[kSharing][vectors_of(DV) * kLanes];
  Carried carried[kSharing];
};

// Adds the sums over other keys.
template <int DV>
void add_sums(Sums<DV>& sums, const Sums<DV>& others, int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    Carried &own = sums.carried[r], other = others.carried[r];
    const Vec most = maximum(own.largest, other.largest);
    const Vec top = top_of(most);
    const Vec factor = exponential(own.largest - top);
    const Vec other_factor = exponential(other.largest - top);
    own = {most, fma(other.sum, other_factor, own.sum * factor)};
    for (int64_t i = 0; i < vectors_of(DV) * kLanes; i += kLanes) {
      float* const to = sums.output[r] + i;
      store(to, fma(load(others.output[r] + i), other_factor, load(to) * factor));
    }
  }
}

// What attention reads and writes, of numbers of type T.
template <class T, class M>
struct Operands {
  const Heads<const T>&q, &k, &v;
  const Heads<T>& out;
  const M& mask;
  const AttentionSizes& n;
  float scale, fill;
};

// Rows that read keys together: of those that share a head of keys the ones from begin on. Row i is
// query i % queries of the head i / queries.
struct Together {
  int64_t batch, key_head, begin, rows;
  AOTBUILD_INLINE int64_t head(const AttentionSizes& n, int64_t r) const {
    return key_head * (n.heads / n.key_heads) + (begin + r) / n.queries;
  }
  AOTBUILD_INLINE int64_t query(const AttentionSizes& n, int64_t r) const {
    return (begin + r) % n.queries;
  }
};

// The sums of rows over the keys [first_key, last_key).
template <int D, int DV, class T, class M>
__attribute__((noinline)) void sum_few(const Operands<T, M>& all, const Together& together,
                                       int64_t first_key, int64_t last_key, Sums<DV>& sums) {
  constexpr int VK = vectors_of(D), VV = vectors_of(DV);
  const auto& [q, k, v, out, mask, n, scale, fill] = all;
  alignas(64) float queries[kSharing][VK * kLanes];
  alignas(64) float scores[kRowsOfKeys][kFewKeys];
  decltype(mask_of(mask, 0, 0, 0)) masks[kSharing];
  const int64_t batch = together.batch, rows = together.rows;
  for (int64_t r = 0; r < rows; r++) {
    const int64_t head = together.head(n, r), query = together.query(n, r);
    const T* from = q.data + batch * q.batch + head * q.head + query * q.row;
    for (int64_t i = 0; i < VK * kLanes; i++)
      queries[r][i] = i < D ? widen(from[i * q.column]) * scale : 0.f;
    for (int64_t i = 0; i < VV * kLanes; i++) sums.output[r][i] = 0.f;
    sums.carried[r] = {splat(-kInfinity), zero()};
    masks[r] = mask_of(mask, batch, head, query);
  }
  const T* const ks = k.data + batch * k.batch + together.key_head * k.head;
  const T* const vs = v.data + batch * v.batch + together.key_head * v.head;
  // One row of a mask that all rows share tells what they see.
  [[maybe_unused]] int64_t distinct = rows;
  [[maybe_unused]] int64_t mask_step = 0;
  if constexpr (kDependsOn<M> != 0) {
    bool same = true;
    for (int64_t r = 1; r < rows; r++) same = same && masks[r] == masks[0];
    if (same) distinct = 1;
    mask_step = mask.key;
  }
  const int64_t key_step = k.row, value_step = v.row;
  const float filled = fill;
  const Hidden<std::remove_cvref_t<decltype(*masks[0])>> hidden{masks, distinct, mask_step, filled};
  if constexpr (kDependsOn<M> != 0) last_key = end_of_seen(hidden, first_key, last_key);
  auto seen_from = [&](int64_t first) __attribute__((always_inline)) {
    if constexpr (kDependsOn<M> != 0)
      return next_seen(hidden, first, last_key);
    else
      return Seen{first, std::min<int64_t>(first + kFewKeys, last_key)};
  };
  Seen now = seen_from(first_key);
  for (int64_t i = now.first; i < std::min(last_key, now.first + kKeysAhead<D, T>); i++)
    ask_for<D>(ks + i * key_step);
  for (int64_t i = now.first; i < std::min(last_key, now.first + kKeysAhead<DV, T>); i++)
    ask_for<DV>(vs + i * value_step);
  for (; now.first < now.last; now = seen_from(now.last)) {
    const int64_t count = now.last - now.first, left = last_key - now.first;
    const T *keys = ks + now.first * key_step, *values = vs + now.first * value_step;
    auto some = [&](auto some, int64_t row) __attribute__((always_inline)) {
      constexpr int R = decltype(some)::value;
      score_keys<D, R>(keys, key_step, count, queries[row], scores,
                       row ? 0 : left - kKeysAhead<D, T>);
      Vec factor[R];
      for (int r = 0; r < R; r++) {
        if constexpr (kDependsOn<M> != 0)
          add_mask(scores[r], count, masks[row + r] + now.first * mask_step, mask_step, filled);
        factor[r] = weigh(scores[r], count, sums.carried[row + r]);
      }
      add_values<DV, R>(values, value_step, count, scores, factor, sums.output[row],
                        row ? 0 : left - kKeysAhead<DV, T>);
    };
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) some(std::integral_constant<int, 4>{}, row);
    for (; row + 2 <= rows; row += 2) some(std::integral_constant<int, 2>{}, row);
    for (; row < rows; row++) some(std::integral_constant<int, 1>{}, row);
  }
}

// The results of rows by their sums over all keys.
template <int DV, bool Undefined, class T, class M>
void write_few(const Operands<T, M>& all, const Together& together, const Sums<DV>& sums) {
  const Heads<T>& out = all.out;
  for (int64_t r = 0; r < together.rows; r++) {
    alignas(64) float largest[kLanes], sum[kLanes];
    store(largest, sums.carried[r].largest);
    store(sum, sums.carried[r].sum);
    for (int half = kLanes / 2; half; half /= 2)
      for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    const float none = Undefined ? __builtin_nanf("") : 0.f;
    const float factor = largest[0] == -kInfinity ? none : 1.f / sum[0];
    T* const to = out.data + together.batch * out.batch + together.head(all.n, r) * out.head +
                  together.query(all.n, r) * out.row;
    for (int64_t i = 0; i < DV; i++) store_nearest(to + i, sums.output[r][i] * factor);
  }
}

// Few heads of many keys are divided further for threads, by keys, into this many parts together,
// of no fewer keys than this. It depends on sizes alone, and so do the bits of the result.
constexpr int64_t kPartsOfKeys = 8, kKeysOfPart = 512;

// The same as attention() for few queries, and keys whose numbers lie side by side.
template <int D, int DV, bool Undefined, class T, class M>
void attention_of_few(const Heads<const T>& q, const Heads<const T>& k, const Heads<const T>& v,
                      const Heads<T>& out, const M& mask, const AttentionSizes& n, float scale,
                      float fill) {
  const Operands<T, M> all{q, k, v, out, mask, n, scale, fill};
  const int64_t sharing = n.heads / n.key_heads * n.queries, parts = divide_up(sharing, kSharing);
  const int64_t tasks = n.batch * n.key_heads * parts;
  auto task = [&](int64_t i) {
    const int64_t begin = i % parts * sharing / parts, end = (i % parts + 1) * sharing / parts;
    return Together{i / parts / n.key_heads, i / parts % n.key_heads, begin, end - begin};
  };
  const bool threads = tasks * n.keys * (D + DV) >= kParallelWork;
  const int64_t of_keys = tasks ? std::min<int64_t>(kPartsOfKeys / tasks, n.keys / kKeysOfPart) : 0;
  if (of_keys > 1) {
    Sums<DV> sums[kPartsOfKeys];
#pragma omp parallel for schedule(static) if (threads)
    for (int64_t i = 0; i < tasks * of_keys; i++) {
      const int64_t part = i % of_keys;
      sum_few<D, DV>(all, task(i / of_keys), part * n.keys / of_keys, (part + 1) * n.keys / of_keys,
                     sums[i]);
    }
    for (int64_t i = 0; i < tasks; i++) {
      const Together together = task(i);
      Sums<DV>* const own = sums + i * of_keys;
      for (int64_t part = 1; part < of_keys; part++) add_sums(own[0], own[part], together.rows);
      write_few<DV, Undefined>(all, together, own[0]);
    }
    return;
  }
#pragma omp parallel for schedule(static) if (threads)
  for (int64_t i = 0; i < tasks; i++) {
    const Together together = task(i);
    Sums<DV> sums;
    sum_few<D, DV>(all, together, 0, n.keys, sums);
    write_few<DV, Undefined>(all, together, sums);
  }
}

}  // namespace aotbuild
#endif
