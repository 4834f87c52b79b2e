// Exponential functions and what follows from them, in float32, without calls of a library.
//
// e^x = 2^n e^f, where n is the integer nearest to x / ln 2, and f = x - n ln 2 lies within
// ln 2 / 2 of 0. ln 2 is subtracted in two parts, of which the first has so few bits that its
// product with n is exact (Cody & Waite, "Software Manual for the Elementary Functions", 1980).
// e^f is a polynomial that was fitted for this code, for the smallest largest relative error over
// its interval (minimax), with coefficients rounded to float32: by itself it is off by less than
// 0.1 times 2^-24.
//
// The errors named below, in units in the last place (ULP), are measured: see
// tests/unit/passes/test_kernels.py.
#ifndef AOTBUILD_EXPONENTIAL_H
#define AOTBUILD_EXPONENTIAL_H

#include <cstdint>

#include "vectors.h"

namespace aotbuild {

constexpr float kLog2E = 1.44269504088896341f;

// In a sum with it, the last bits of a float are those of the nearest integer: 1.5 * 2^23.
constexpr float kRounding = 12582912.0f;

// scale e^x as power * (1 + fraction), where power is 2^n times the scale, a power of two: while
// power is a normal number, or infinite.
struct SplitExponential {
  Vec power, fraction;
};
AOTBUILD_INLINE SplitExponential split_exponential(Vec x, float scale = 1.0f) {
  const Vec shifted = opaque(fma(x, splat(kLog2E), splat(kRounding)));
  const Vec power = from_bits((bits(shifted) << 23) + bits(splat(scale)));
  const Vec n = opaque(shifted - splat(kRounding));
  Vec f = fma(n, splat(-0.693145751953125f), x);
  f = fma(n, splat(-1.42860682030941723e-6f), f);
  Vec p = fma(splat(0.0013814320554956794f), f, splat(0.008368851616978645f));
  p = fma(p, f, splat(0.041668400168418884f));
  p = fma(p, f, splat(0.1666651964187622f));
  p = fma(p, f, splat(0.4999999403953552f));
  return {power, fma(p, f * f, f)};
}

// e^x for x up to 88, within 1.0 ULP; 0 where the result would be denormal, NaN of NaN.
AOTBUILD_INLINE Vec exponential(Vec x) {
  const SplitExponential e = split_exponential(x);
  const Vec result = (e.fraction + splat(1.0f)) * e.power;
  return x < splat(-87.33654f) ? zero() : result;
}

// tanh x = m / (m + 2) with m = e^(2 |x|) - 1, which is exact also near 0; within 2.4
// ULP. NaN stays NaN.
AOTBUILD_INLINE Vec hyperbolic_tangent(Vec x) {
  const Vec size = absolute(x);
  const Vec doubled = size > splat(10.0f) ? splat(20.0f) : size + size;
  const SplitExponential e = split_exponential(doubled);
  const Vec m = fma(e.fraction, e.power, e.power - splat(1.0f));
  const Vec result = m / (m + splat(2.0f));
  return from_bits(bits(result) | (bits(x) & ~0x7fffffff));
}

// (1 + e^-x) / 2, up to where it would overflow: infinite below -89.4. The half reaches farther
// than 1 + e^-x, which eager torch computes. NaN stays NaN.
AOTBUILD_INLINE Vec half_of_one_plus_exponential(Vec x) {
  const SplitExponential e = split_exponential(-clamp(x, splat(-89.5f), splat(86.0f)), 0.5f);
  return fma(e.fraction + splat(1.0f), e.power, splat(0.5f));
}

// 1 / (1 + e^-x), within 2.1 ULP.
AOTBUILD_INLINE Vec logistic(Vec x) { return splat(0.5f) / half_of_one_plus_exponential(x); }

}  // namespace aotbuild

#endif
