// Functions of vectors by the names of the Sleef library, which the vectors of torch's headers call
// and which torch itself contains. Names end in the element, the number of lanes, and the error
// that is allowed in tenths of a unit in the last place; sleef.h, of torch too, declares them.
//
// Rare functions of doubles are the C library's, lane by lane.
#include <sleef.h>

#include <cmath>

#include "vector_exponentials.h"
#include "vector_lanes.h"
#include "vector_trigonometry.h"

namespace aotbuild::standalone::lanes {
namespace {

template <class V>
inline V copysign(V x, V sign) {
  return with_sign_of(x, sign);
}

// The quotient is exact but for its last unit, and so is the remainder; larger quotients are left
// to the C library.
template <class V>
inline V fmod(V x, V y) {
  const V a = absolute(x), b = absolute(y), quotient = truncated(a / b);
  V rest = fma(-quotient, b, a);
  rest = rest < Element<V>(0) ? rest + b : rest;
  const auto simple = quotient < Element<V>(kFloat<V> ? 0x1p23 : 0x1p52);
  if (any(~simple)) [[unlikely]]
    for (int i = 0; i < kLanes<V>; i++)
      if (!simple[i]) rest[i] = std::fmod(a[i], b[i]);
  rest = b == kInfinity<V> && a < kInfinity<V> ? a : rest;
  return reversed(rest, Bits<V>(x));
}

template <class V>
inline V nextafter(V x, V y) {
  const V zero{};
  const Bits<V> away = (x < y) == (x > zero);  // all bits set: -1
  V next = V(Bits<V>(x) - (away | 1));
  next = x == zero ? V(sign(y) | 1) : next;
  next = x == y ? y : next;
  return ((x != x) | (y != y)) ? x + y : next;
}

template <class V>
inline V hypot(V x, V y) {
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto x, auto y) { return square_root(fma(x, x, y * y)); };
    const V a = absolute(x), b = absolute(y), infinity = splat<V>(kInfinity<V>);
    return ((a == infinity) | (b == infinity)) ? infinity : by_doubles(of_doubles, a, b);
  } else {
    // With a fused multiply-add, that of doubles takes a shorter way, which is less exact.
    using T = std::conditional_t<LDBL_MANT_DIG == 113, long double, double>;
    return by_lanes<T>([](T x, T y) { return std::hypot(x, y); }, x, y);
  }
}

template <class V>
inline V erfc(V x) {
  return by_lanes<Wider<V>>([](auto x) { return std::erfc(x); }, x);
}
// std::lgamma sets a global.
template <class V>
inline V lgamma(V x) {
  return by_lanes<Wider<V>>(
      [](auto x) {
        int sign;
        if constexpr (std::is_same_v<decltype(x), double>)
          return ::lgamma_r(x, &sign);
        else
          return ::lgammal_r(x, &sign);
      },
      x);
}

}  // namespace
}  // namespace aotbuild::standalone::lanes

namespace lanes = aotbuild::standalone::lanes;

#define ONE(V, name, called) \
  extern "C" V Sleef_##name(V x) { return lanes::called(lanes::plain(x)); }
#define TWO(V, name, called) \
  extern "C" V Sleef_##name(V x, V y) { return lanes::called(lanes::plain(x), lanes::plain(y)); }
#define LIBRARY_ONE(V, name, called)                                                          \
  extern "C" V Sleef_##name(V x) {                                                            \
    return lanes::by_lanes<double>([](double x) { return std::called(x); }, lanes::plain(x)); \
  }
#define LIBRARY_TWO(V, name, called)                                                     \
  extern "C" V Sleef_##name(V x, V y) {                                                  \
    return lanes::by_lanes<double>([](double x, double y) { return std::called(x, y); }, \
                                   lanes::plain(x), lanes::plain(y));                    \
  }

// Functions of F, floats, and D, doubles, of lanes f and d.
#define BOTH(F, f, D, d, called, error) \
  ONE(F, called##f##error, called)      \
  ONE(D, called##d##error, called)
#define BOTH_OF_TWO(F, f, D, d, called, error) \
  TWO(F, called##f##error, called)             \
  TWO(D, called##d##error, called)
#define RARE(F, f, D, d, called)  \
  ONE(F, called##f##_u10, called) \
  LIBRARY_ONE(D, called##d##_u10, called)
#define RARE_OF_TWO(F, f, D, d, called) \
  TWO(F, called##f##_u10, called)       \
  LIBRARY_TWO(D, called##d##_u10, called)
// clang-format off
#define FUNCTIONS(F, f, D, d) \
  BOTH(F, f, D, d, exp, _u10) \
  BOTH(F, f, D, d, exp2, _u10) \
  BOTH(F, f, D, d, expm1, _u10) \
  BOTH(F, f, D, d, log, _u10) \
  BOTH(F, f, D, d, log2, _u10) \
  BOTH(F, f, D, d, log10, _u10) \
  BOTH(F, f, D, d, log1p, _u10) \
  BOTH(F, f, D, d, sin, _u10) \
  BOTH(F, f, D, d, cos, _u10) \
  BOTH(F, f, D, d, sinh, _u10) \
  BOTH(F, f, D, d, cosh, _u10) \
  BOTH(F, f, D, d, tanh, _u10) \
  BOTH(F, f, D, d, asinh, _u10) \
  BOTH(F, f, D, d, acosh, _u10) \
  BOTH(F, f, D, d, atanh, _u10) \
  BOTH(F, f, D, d, lgamma, _u10) \
  BOTH(F, f, D, d, erfc, _u15) \
  RARE(F, f, D, d, tan) \
  RARE(F, f, D, d, asin) \
  RARE(F, f, D, d, acos) \
  RARE(F, f, D, d, atan) \
  RARE(F, f, D, d, erf) \
  ONE(F, sin##f##_u35, fast_sin) \
  ONE(F, cos##f##_u35, fast_cos) \
  RARE_OF_TWO(F, f, D, d, pow) \
  RARE_OF_TWO(F, f, D, d, atan2) \
  BOTH_OF_TWO(F, f, D, d, hypot, _u05) \
  BOTH_OF_TWO(F, f, D, d, fmod, ) \
  BOTH_OF_TWO(F, f, D, d, nextafter, ) \
  BOTH_OF_TWO(F, f, D, d, copysign, )
// clang-format on

#if defined(__x86_64__)
FUNCTIONS(__m256, f8, __m256d, d4)
#if defined(__AVX512F__)
FUNCTIONS(__m512, f16, __m512d, d8)
#endif
#elif defined(__ARM_NEON)
FUNCTIONS(float32x4_t, f4, float64x2_t, d2)
#endif
