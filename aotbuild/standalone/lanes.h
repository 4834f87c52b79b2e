// Vectors of numbers, as wide as the registers of the CPU that is compiled for.
#pragma once

#include <cstdint>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace aotbuild::standalone {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
  typedef T four __attribute__((vector_size(4 * sizeof(T))));
};
template <typename T>
using Vec = typename VectorOf<T>::type;
template <typename T>
using Four = typename VectorOf<T>::four;
template <typename T>
constexpr int kLanes = kVectorBytes / sizeof(T);

template <typename V, typename T>
INLINE V load_as(const T* from) {
  V x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}
template <typename T>
INLINE Vec<T> load(const T* from) {
  return load_as<Vec<T>>(from);
}
template <typename V, typename T>
INLINE void store(T* to, V x) {
  __builtin_memcpy(to, &x, sizeof x);
}

template <typename T>
INLINE Vec<T> splat(T x) {
  return Vec<T>{} + x;
}
template <typename T>
INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return a * b + c;
}

// Floats: zero plus a number is not the number if that is -0, and the compiler is told not to
// contract expressions.
#if defined(__AVX512F__)
template <>
INLINE Vec<float> splat(float x) {
  return _mm512_set1_ps(x);
}
template <>
INLINE Vec<double> splat(double x) {
  return _mm512_set1_pd(x);
}
template <>
INLINE Vec<float> fma<float>(Vec<float> a, Vec<float> b, Vec<float> c) {
  return _mm512_fmadd_ps(a, b, c);
}
template <>
INLINE Vec<double> fma<double>(Vec<double> a, Vec<double> b, Vec<double> c) {
  return _mm512_fmadd_pd(a, b, c);
}
#elif defined(__AVX2__) && defined(__FMA__)
template <>
INLINE Vec<float> splat(float x) {
  return _mm256_set1_ps(x);
}
template <>
INLINE Vec<double> splat(double x) {
  return _mm256_set1_pd(x);
}
template <>
INLINE Vec<float> fma<float>(Vec<float> a, Vec<float> b, Vec<float> c) {
  return _mm256_fmadd_ps(a, b, c);
}
template <>
INLINE Vec<double> fma<double>(Vec<double> a, Vec<double> b, Vec<double> c) {
  return _mm256_fmadd_pd(a, b, c);
}
#else
template <>
INLINE Vec<float> splat(float x) {
  return Vec<float>{x, x, x, x};
}
template <>
INLINE Vec<double> splat(double x) {
  return Vec<double>{x, x};
}
#if defined(__aarch64__)
template <>
INLINE Vec<float> fma<float>(Vec<float> a, Vec<float> b, Vec<float> c) {
  return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
template <>
INLINE Vec<double> fma<double>(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#endif
#endif

// sum += a b. On x86 the instruction is spelled out: left to choose one, the compiler overwrites a
// factor now and then, and copies registers to make up for it.
template <typename T>
INLINE void add_product(Vec<T>& sum, Vec<T> a, Vec<T> b) {
#if defined(__FMA__)
  if constexpr (std::is_same_v<T, float>)
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  else if constexpr (std::is_same_v<T, double>)
    asm("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  else
#endif
    sum = fma<T>(a, b, sum);
}

// The first elements of a vector in memory, where there are not as many as it has lanes.
template <typename T>
INLINE Vec<T> load_some(const T* from, int64_t count) {
#if defined(__AVX512F__)
  const unsigned first = (1u << count) - 1;
  if constexpr (sizeof(T) == 4)
    return (Vec<T>)_mm512_maskz_loadu_epi32(first, from);
  else
    return (Vec<T>)_mm512_maskz_loadu_epi64(first, from);
#else
  alignas(kVectorBytes) T values[kLanes<T>] = {};
  for (int64_t i = 0; i < count; i++) values[i] = from[i];
  return load(values);
#endif
}
template <typename T>
INLINE void store_some(T* to, Vec<T> x, int64_t count) {
#if defined(__AVX512F__)
  const unsigned first = (1u << count) - 1;
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_epi32(to, first, (__m512i)x);
  else
    _mm512_mask_storeu_epi64(to, first, (__m512i)x);
#else
  alignas(kVectorBytes) T values[kLanes<T>];
  store(values, x);
  for (int64_t i = 0; i < count; i++) to[i] = values[i];
#endif
}

// Four rows of four numbers become columns.
template <typename T>
INLINE void transpose(Four<T> (&x)[4]) {
  const Four<T> a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
  const Four<T> b = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
  const Four<T> c = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
  const Four<T> d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
  x[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  x[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  x[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  x[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

}  // namespace aotbuild::standalone
