// Vectors of 32-bit floats as wide as the registers of the CPU that is compiled for.
//
// Plain arithmetic on them is written with operators. The fused multiply-add is written as a
// function, since the compiler is told not to contract expressions.
#ifndef AOTBUILD_VECTORS_H
#define AOTBUILD_VECTORS_H

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define AOTBUILD_INLINE inline __attribute__((always_inline))

namespace aotbuild {

#if defined(__AVX512F__)
using Vec = __m512;
constexpr int kLanes = 16;
AOTBUILD_INLINE Vec splat(float x) { return _mm512_set1_ps(x); }
AOTBUILD_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
AOTBUILD_INLINE void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__) && defined(__FMA__)
using Vec = __m256;
constexpr int kLanes = 8;
AOTBUILD_INLINE Vec splat(float x) { return _mm256_set1_ps(x); }
AOTBUILD_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
AOTBUILD_INLINE void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
#else
typedef float Vec __attribute__((vector_size(16)));
constexpr int kLanes = 4;
AOTBUILD_INLINE Vec splat(float x) { return Vec{x, x, x, x}; }
AOTBUILD_INLINE Vec load(const float* p) {
  Vec x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
AOTBUILD_INLINE void store(float* p, Vec x) { __builtin_memcpy(p, &x, sizeof x); }
#if defined(__aarch64__)
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) {
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
#endif
#endif

// The bits of the elements of a vector, as integers.
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));

AOTBUILD_INLINE Ints bits(Vec x) {
  Ints y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}
AOTBUILD_INLINE Vec from_bits(Ints x) {
  Vec y;
  __builtin_memcpy(&y, &x, sizeof y);
  return y;
}

// A value that the compiler knows nothing about. With -funsafe-math-optimizations it would take
// what was added for rounding away again.
AOTBUILD_INLINE Vec opaque(Vec x) {
#if defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
  return x;
}

constexpr float kInfinity = __builtin_inff();

AOTBUILD_INLINE Vec zero() { return splat(0.0f); }
AOTBUILD_INLINE Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
AOTBUILD_INLINE Vec absolute(Vec x) { return from_bits(bits(x) & 0x7fffffff); }

// x between two bounds. NaN stays NaN, as in eager code: x86 returns the second operand then.
AOTBUILD_INLINE Vec clamp(Vec x, Vec low, Vec high) {
#if defined(__AVX512F__)
  return _mm512_min_ps(high, _mm512_max_ps(low, x));
#elif defined(__AVX2__) && defined(__FMA__)
  return _mm256_min_ps(high, _mm256_max_ps(low, x));
#else
  const Vec y = x < low ? low : x;
  return y > high ? high : y;
#endif
}

// The first `count` elements in memory, fewer than a vector has; the others are zeros.
AOTBUILD_INLINE Vec load_partial(const float* from, int64_t count) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps((1u << count) - 1, from);
#else
  alignas(64) float values[kLanes] = {};
  std::memcpy(values, from, sizeof(float) * count);
  return load(values);
#endif
}
AOTBUILD_INLINE void store_partial(float* to, Vec x, int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (1u << count) - 1, x);
#else
  alignas(64) float values[kLanes];
  store(values, x);
  int64_t done = 0;
  for (int64_t part = kLanes / 2; part; part /= 2)
    if (count & part) {
      std::memcpy(to + done, values + done, sizeof(float) * part);
      done += part;
    }
#endif
}

// The same for any count: a whole vector where there are as many elements or more.
AOTBUILD_INLINE Vec load_up_to(const float* from, int64_t count) {
  return count >= kLanes ? load(from) : load_partial(from, count);
}
AOTBUILD_INLINE void store_up_to(float* to, Vec x, int64_t count) {
  if (count >= kLanes)
    store(to, x);
  else
    store_partial(to, x, count);
}

}  // namespace aotbuild

#endif
