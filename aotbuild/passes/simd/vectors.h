// Vectors of 32-bit floats as wide as the registers of the CPU that is compiled for.
//
// Plain arithmetic on them is written with operators. The multiplication with addition is written as a
// function, since the compiler is told not to contract expressions.
#ifndef AOTBUILD_VECTORS_H
#define AOTBUILD_VECTORS_H

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define AOTBUILD_INLINE inline __attribute__((always_inline))

namespace aotbuild {

#if defined(__AVX512F__)
using Vec = __m512;
constexpr int LANES = 16;
AOTBUILD_INLINE Vec splat(float x) { return _mm512_set1_ps(x); }
AOTBUILD_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
AOTBUILD_INLINE void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__) && defined(__FMA__)
using Vec = __m256;
constexpr int LANES = 8;
AOTBUILD_INLINE Vec splat(float x) { return _mm256_set1_ps(x); }
AOTBUILD_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
AOTBUILD_INLINE void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
#else
typedef float Vec __attribute__((vector_size(16)));
constexpr int LANES = 4;
AOTBUILD_INLINE Vec splat(float x) { return Vec{x, x, x, x}; }
AOTBUILD_INLINE Vec load(const float* p) { Vec x; __builtin_memcpy(&x, p, sizeof x); return x; }
AOTBUILD_INLINE void store(float* p, Vec x) { __builtin_memcpy(p, &x, sizeof x); }
#if defined(__aarch64__)
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) {
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
AOTBUILD_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
#endif
#endif

}  // namespace aotbuild
#endif
