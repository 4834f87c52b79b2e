// Activations of vectors of float32: cheaper than calls of a library for mathematics.
//
// The errors named below, in units in the last place (ULP), are those of CPUs that have a fused
// multiply-add, where results are no denormal numbers. Measured by
// tests/unit/passes/test_kernels.py.
#ifndef AOTBUILD_ACTIVATIONS_H
#define AOTBUILD_ACTIVATIONS_H

#include <cstdint>

#include "exponential.h"
#include "vectors.h"

namespace aotbuild {

// 1 / (1 + e^-x), within 2.1 ULP.
struct sigmoid {
  static AOTBUILD_INLINE Vec of(Vec x) { return logistic(x); }
};

// x / (1 + e^-x), within 2 ULP.
struct silu {
  static AOTBUILD_INLINE Vec of(Vec x) { return x * splat(0.5f) / half_of_one_plus_exponential(x); }
};

// x Phi(x), where Phi is the distribution function of the normal distribution (Hendrycks & Gimpel,
// "Gaussian Error Linear Units", 2016). With a = |x|, Phi(-a) = e^(-a^2 / 2) t P, where P is a
// polynomial of a t - 1, and t = 1 / (1 + 17 a / 64) (Shepherd & Laframboise, "Chebyshev
// approximation of (1 + 2x) exp(x^2) erfc x", 1981). What a^2 is rounded by is put right in the
// exponential. Within 3.7 ULP, and 70 without a fused multiply-add; 0 below -12.9, where Phi is a
// denormal number.
struct gelu {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec size = absolute(x), a = size < splat(12.9375f) ? size : splat(12.9375f);
    const Vec t = splat(1.0f) / fma(a, splat(0.265625f), splat(1.0f));
    const Vec half = a * splat(-0.5f), y = a * half, rounded_off = fma(a, half, -y);
    const SplitExponential e = split_exponential(y);
    const Vec f = fma(e.fraction + splat(1.0f), rounded_off, e.fraction);
    const Vec s = fma(a, t, splat(-1.0f));
    Vec p = fma(splat(7.495747240682249e-07f), s, splat(-3.490418748697266e-06f));
    p = fma(p, s, splat(-1.979730586754158e-05f));
    p = fma(p, s, splat(0.0001418387400917709f));
    p = fma(p, s, splat(0.00047789685777388513f));
    p = fma(p, s, splat(-0.008584631606936455f));
    p = fma(p, s, splat(0.04634273052215576f));
    p = fma(p, s, splat(-0.1465766578912735f));
    p = fma(p, s, splat(0.29817548394203186f));
    const Vec q = p * t * e.power, tail = fma(q, f, q);
    const Vec factor = x < splat(-12.9375f) ? zero() : x;
    return factor * (x > zero() ? splat(1.0f) - tail : tail);
  }
};

// x / (1 + e^-y) with y = 2 sqrt(2 / pi) (x + 0.044715 x^3), which is gelu with a tangent (the same
// paper). Within 2.5 ULP for x >= -1. Below, y is rounded, by which the exponential is off by |y| /
// 2 units: within 36 ULP for x >= -5, where eager torch, which adds 1 to a tangent of about -1, is
// off by millions.
struct gelu_tanh {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec slope = fma(x * x, splat(0.071354814f), splat(1.5957691f));
    return x * splat(0.5f) / half_of_one_plus_exponential(x * slope);
  }
};

// Apply an activation to each element of a tile whose rows have room for whole vectors.
template <class F>
AOTBUILD_INLINE void activate(float* tile, int64_t rows, int64_t ld, int64_t columns) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c += kLanes)
      store(tile + r * ld + c, F::of(load(tile + r * ld + c)));
}

}  // namespace aotbuild

#endif
