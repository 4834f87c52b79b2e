// Vectors of float or double of any width, by the compiler's vector types: what the functions of
// vector_exponentials.h and vector_trigonometry.h are made of.
#pragma once

#include <bit>
#include <cfloat>
#include <cstdint>
#include <limits>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace aotbuild::standalone::lanes {

template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using Vector = typename VectorOf<T, N>::type;

template <class V>
using Element = std::remove_cvref_t<decltype(V{}[0])>;
template <class V>
constexpr int kLanes = sizeof(V) / sizeof(Element<V>);
template <class V>
constexpr bool kFloat = std::is_same_v<Element<V>, float>;
template <class V>
using Integer = std::conditional_t<sizeof(Element<V>) == 4, int32_t, int64_t>;
template <class V>
using Bits = Vector<Integer<V>, kLanes<V>>;

// The same vector as another type: those of NEON's functions are types of their own.
template <class V>
inline Vector<Element<V>, kLanes<V>> plain(V x) {
  return x;
}

template <class V>
constexpr int kMantissa = kFloat<V> ? 23 : 52;
template <class V>
constexpr Element<V> kInfinity = std::numeric_limits<Element<V>>::infinity();
template <class V>
constexpr Element<V> kNan = std::numeric_limits<Element<V>>::quiet_NaN();

// In a sum with it, the last bits of a number are those of the nearest integer: 1.5 * 2^mantissa.
template <class V>
constexpr Element<V> kRounding = kFloat<V> ? 12582912.0 : 6755399441055744.0;

// Not by 0 + x, which is no negative zero.
template <class V>
inline V splat(double x) {
  return Element<V>(x) - V{};
}

// Floats that are computed at once, as vectors of as many doubles where by_doubles() does that.
#if defined(__x86_64__)
constexpr int kFloatsAtOnce = 8;
#else
constexpr int kFloatsAtOnce = 4;
#endif

// `lesser` and `greater` give NaN where the second number is.
#if defined(__x86_64__)
#define AOTBUILD_OPERATIONS(V, fma_, sqrt_, trunc_, min_, max_) \
  inline V fma(V a, V b, V c) { return fma_(a, b, c); }         \
  inline V square_root(V a) { return sqrt_(a); }                \
  inline V truncated(V a) { return trunc_(a, 11); }             \
  inline V lesser(V a, V b) { return min_(a, b); }              \
  inline V greater(V a, V b) { return max_(a, b); }
AOTBUILD_OPERATIONS(__m256, _mm256_fmadd_ps, _mm256_sqrt_ps, _mm256_round_ps, _mm256_min_ps,
                    _mm256_max_ps)
AOTBUILD_OPERATIONS(__m256d, _mm256_fmadd_pd, _mm256_sqrt_pd, _mm256_round_pd, _mm256_min_pd,
                    _mm256_max_pd)
#if defined(__AVX512F__)
// With a mask of all lanes: g++ 12 warns of the others, whose masked lanes are undefined.
#define AOTBUILD_ALL(function) [](auto... values) { return function(-1, values...); }
AOTBUILD_OPERATIONS(__m512, _mm512_fmadd_ps, AOTBUILD_ALL(_mm512_maskz_sqrt_ps),
                    AOTBUILD_ALL(_mm512_maskz_roundscale_ps), AOTBUILD_ALL(_mm512_maskz_min_ps),
                    AOTBUILD_ALL(_mm512_maskz_max_ps))
AOTBUILD_OPERATIONS(__m512d, _mm512_fmadd_pd, AOTBUILD_ALL(_mm512_maskz_sqrt_pd),
                    AOTBUILD_ALL(_mm512_maskz_roundscale_pd), AOTBUILD_ALL(_mm512_maskz_min_pd),
                    AOTBUILD_ALL(_mm512_maskz_max_pd))
#endif
#elif defined(__ARM_NEON)
#define AOTBUILD_OPERATIONS(V, type)                            \
  inline V fma(V a, V b, V c) { return vfmaq_##type(c, a, b); } \
  inline V square_root(V a) { return vsqrtq_##type(a); }        \
  inline V truncated(V a) { return vrndq_##type(a); }           \
  inline V lesser(V a, V b) { return vminq_##type(a, b); }      \
  inline V greater(V a, V b) { return vmaxq_##type(a, b); }
typedef Vector<float, 4> Floats;
typedef Vector<double, 2> Doubles;
AOTBUILD_OPERATIONS(Floats, f32)
AOTBUILD_OPERATIONS(Doubles, f64)
#endif
#undef AOTBUILD_OPERATIONS

template <class Mask>
inline bool any(Mask mask) {
#if defined(__ARM_NEON)
  return vmaxvq_u32(uint32x4_t(mask));
#else
#if defined(__AVX512F__)
  if constexpr (sizeof(Mask) == 64) return _mm512_test_epi32_mask(__m512i(mask), __m512i(mask));
#endif
  if constexpr (sizeof(Mask) == 32) return !_mm256_testz_si256(__m256i(mask), __m256i(mask));
#endif
}

// Polynomial of the coefficients, the highest first. No loop, which g++ would keep as one.
template <class V, class... Rest>
inline V polynomial(V x, double first, Rest... rest) {
  V sum = splat<V>(first);
  ((sum = fma(sum, x, splat<V>(rest))), ...);
  return sum;
}

// The bits of a number as a constant: g++ loads those, but makes integers by several instructions.
template <class V>
inline Bits<V> bits_of(double number) {
  return Bits<V>(splat<V>(number));
}
template <class V>
inline V absolute(V x) {
  return V(Bits<V>(x) & ~bits_of<V>(-0.0));
}
template <class V>
inline Bits<V> sign(V x) {
  return Bits<V>(x) & bits_of<V>(-0.0);
}
// The sign is reversed where that of the other bits is set.
template <class V>
inline V reversed(V x, Bits<V> by) {
  return V(Bits<V>(x) ^ (by & bits_of<V>(-0.0)));
}
template <class V>
inline V with_sign_of(V x, V from) {
  return V(Bits<V>(absolute(x)) | sign(from));
}

// NaN stays NaN.
template <class V>
inline V at_most(V x, double limit) {
  return lesser(splat<V>(limit), x);
}
template <class V>
inline V at_least(V x, double limit) {
  return greater(splat<V>(limit), x);
}

// 2^n, by n + kRounding, where it is a normal number.
template <class V>
inline V power_of_two(V shifted) {
  return V((Bits<V>(shifted) << kMantissa<V>)+bits_of<V>(1));
}

// x 2^n with one rounding, for x about 1 and an n whose power is near the range of all numbers.
template <class V>
inline V scaled(V x, V n) {
#if defined(__AVX512F__) && defined(__AVX512VL__)
  if constexpr (sizeof(V) == 32 && kFloat<V>) return _mm256_maskz_scalef_ps(-1, x, n);
  if constexpr (sizeof(V) == 32 && !kFloat<V>) return _mm256_maskz_scalef_pd(-1, x, n);
  if constexpr (sizeof(V) == 64 && kFloat<V>) return _mm512_maskz_scalef_ps(-1, x, n);
  if constexpr (sizeof(V) == 64 && !kFloat<V>) return _mm512_maskz_scalef_pd(-1, x, n);
#endif
  // The bits of 2^64 less those of 1, for what would be denormal before the last product.
  const Bits<V> more =
      (n < Element<V>(kFloat<V> ? -120 : -1000)) & bits_of<V>(kFloat<V> ? 0x1p-63 : 0x1p-959);
  const Bits<V> whole = Bits<V>(n + kRounding<V>) << kMantissa<V>;
  return x * V(whole + more + bits_of<V>(0.5)) * V(bits_of<V>(2) - more);
}

// x = m 2^n, with m between the roots of 1/2 and of 2, of a normal positive x.
template <class V>
struct Split {
  V n, m;
};
template <class V>
inline Split<V> split(V x) {
  const Bits<V> above = Bits<V>(x) - bits_of<V>(0.70710678118654752440);
  const V m = V(Bits<V>(x) - (above & bits_of<V>(-kInfinity<V>)));  // without the mantissa
  if constexpr (kFloat<V>) {
    return {__builtin_convertvector(above >> 23, V), m};
  } else {  // no shift of signed 64 bits before AVX-512: a bias makes them positive
    typedef Vector<uint64_t, kLanes<V>> Unsigned;
    const Unsigned biased = (Unsigned(above) + Unsigned(bits_of<V>(2))) >> 52;
    return {V(biased | Unsigned(bits_of<V>(0x1p52))) - (0x1p52 + 1024), m};
  }
}

// A function of vectors of doubles, of floats: each half is converted.
template <class Function, class V, class... Rest>
inline V by_doubles(Function function, V x, Rest... rest) {
  constexpr int half = kLanes<V> / 2;
  typedef Vector<float, half> Floats;
  typedef Vector<double, half> Doubles;
  struct Halves {
    Floats low, high;
  };
  const auto low = [](V v) {
    return __builtin_convertvector(std::bit_cast<Halves>(v).low, Doubles);
  };
  const auto high = [](V v) {
    return __builtin_convertvector(std::bit_cast<Halves>(v).high, Doubles);
  };
  const Halves results{__builtin_convertvector(function(low(x), low(rest)...), Floats),
                       __builtin_convertvector(function(high(x), high(rest)...), Floats)};
  return std::bit_cast<V>(results);
}

// A function of the C library, of each lane: of the next higher precision, since some double
// functions are off by up to 5 units in the last place. ARM has none in hardware, and is slow
// there.
template <class V>
using Wider = std::conditional_t<!kFloat<V> && (LDBL_MANT_DIG > DBL_MANT_DIG), long double, double>;
template <class T, class Function, class V, class... Rest>
inline V by_lanes(Function function, V x, Rest... rest) {
  V results;
  for (int i = 0; i < kLanes<V>; i++)
    results[i] = static_cast<Element<V>>(function(T(x[i]), T(rest[i])...));
  return results;
}

}  // namespace aotbuild::standalone::lanes
