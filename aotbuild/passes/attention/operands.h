// What attention reads and writes: heads and masks in memory.
#ifndef AOTBUILD_OPERANDS_H
#define AOTBUILD_OPERANDS_H

#include <cstdint>

#include "../simd/bfloat16.h"
#include "../simd/vectors.h"

namespace aotbuild {

struct NoMask {};

// What is additive to the scores: [batch][head][query][key] with distances of any size, also 0.
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

// What is subtracted from scores before e^x is taken: the largest of them. Where all are masked it
// is 0: e^(-inf - 0) is 0, and not e^(-inf + inf).
AOTBUILD_INLINE Vec top_of(Vec largest) { return largest == splat(-kInfinity) ? zero() : largest; }

template <class M>
AOTBUILD_INLINE auto first_of(const M& mask, int64_t batch, int64_t head) {
  return mask.data + batch * mask.batch + head * mask.head;
}
AOTBUILD_INLINE const float* first_of(const NoMask&, int64_t, int64_t) { return nullptr; }

// A mask of numbers is additive, one of bytes tells which scores stay: the others become a number.
template <class T>
AOTBUILD_INLINE Vec masked_score(Vec score, Vec mask, const T*, float) {
  return score + mask;
}
AOTBUILD_INLINE Vec masked_score(Vec score, Vec mask, const unsigned char*, float fill) {
  return mask == splat(0.f) ? score : splat(fill);
}
AOTBUILD_INLINE float additive(float x) { return x; }
AOTBUILD_INLINE float additive(uint16_t x) { return widen(x); }
AOTBUILD_INLINE float additive(unsigned char x) { return x ? 0.f : -kInfinity; }
template <class T>
AOTBUILD_INLINE Vec additive(const T* p) {
  return load(p);
}
AOTBUILD_INLINE Vec additive(const unsigned char* p) {
  typedef unsigned char Bytes __attribute__((vector_size(kLanes)));
  Bytes x;
  __builtin_memcpy(&x, p, sizeof x);
  return __builtin_convertvector(x, Ints) == 0 ? splat(-kInfinity) : splat(0.f);
}

template <class M>
constexpr int kDependsOn = 0;  // 1: keys, 2: queries and keys
template <class T>
constexpr int kDependsOn<KeyMask<T>> = 1;
template <class T>
constexpr int kDependsOn<Mask<T>> = 2;

// A tensor [batch][head][row][column] by its distances, in elements.
template <class T>
struct Heads {
  T* data;
  int64_t batch, head, row, column;
};

struct AttentionSizes {
  int64_t batch, heads, key_heads, queries, keys;
};

}  // namespace aotbuild
#endif
