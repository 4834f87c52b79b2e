// Activations of vectors of float32: cheaper than calls of a library for mathematics.
//
// Each is off by no more than 1e-7 times the larger of 1 and |x|. Near 0 that is a few units in the
// last place (ULP); far below 0, where results are tiny, it is more of them. Measured by
// tests/unit/passes/test_kernels.py.
#ifndef AOTBUILD_ACTIVATIONS_H
#define AOTBUILD_ACTIVATIONS_H

#include <cstdint>

#include "exponential.h"
#include "vectors.h"

namespace aotbuild {

// 1 / (1 + e^-x), within 5.3 ULP for |x| <= 4 and 63 for all: x / ln 2 is rounded before 2^x.
struct sigmoid {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec power = clamp(x * splat(-kLog2E), splat(-126.0f), splat(126.0f));
    const Vec y = splat(1.0f) / (splat(1.0f) + exponential2(power));
    return x == x ? y : x;
  }
};

// x / (1 + e^-x), within 5.3 ULP for |x| <= 4 and 63 for all.
struct silu {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec power = clamp(x * splat(-kLog2E), splat(-126.0f), splat(126.0f));
    return x / (splat(1.0f) + exponential2(power));
  }
};

// x Phi(x), where Phi is the distribution function of the normal distribution (Hendrycks & Gimpel,
// "Gaussian Error Linear Units", 2016). The tail is Phi(-|x|) = 2^(p(|x|) |x| - 1): its logarithm
// is smooth enough for one polynomial p of degree 7 up to |x| = 6, beyond which the result is about
// 0 or x. Within 4.1 ULP for x >= -1, and 1e-7 below.
struct gelu {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec bounded = x < splat(-6.0f) ? splat(-6.0f) : x;
    const Vec a = absolute(bounded) < splat(6.0f) ? absolute(bounded) : splat(6.0f);
    const Vec a2 = a * a, a4 = a2 * a2;
    const Vec p0 = fma(splat(-0.45921483635902405f), a, splat(-1.1511048078536987f));
    const Vec p2 = fma(splat(0.0069776312448084354f), a, splat(-0.05246024578809738f));
    const Vec p4 = fma(splat(-0.00025809110957197845f), a, splat(-3.119517714367248e-05f));
    const Vec p6 = fma(splat(-8.10977871879004e-06f), a, splat(6.647557893302292e-05f));
    const Vec high = fma(fma(splat(4.119319214623829e-07f), a2, p6), a2, p4);
    const Vec p = fma(high, a4, fma(p2, a2, p0));
    const Vec tail = exponential2(fma(p, a, splat(-1.0f)));
    return bounded * (x > zero() ? splat(1.0f) - tail : tail);
  }
};

// x / (1 + e^-y) with y = 2 sqrt(2 / pi) (x + 0.044715 x^3), which is gelu with a tangent (the same
// paper). The two factors below are -2 sqrt(2 / pi) / ln 2, once times 0.044715. Within 3.2
// ULP for x >= -1, and 1e-7 below.
struct gelu_tanh {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec slope = fma(x * x, splat(-0.10294324f), splat(-2.3022082f));
    const Vec power = clamp(x * slope, splat(-126.0f), splat(126.0f));
    return x / (splat(1.0f) + exponential2(power));
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
