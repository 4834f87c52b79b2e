// Activations of vectors: cheaper than calls of a library for mathematics, with errors of about one
// unit in the last place of the result or of what it is made of.
#ifndef AOTBUILD_ACTIVATIONS_H
#define AOTBUILD_ACTIVATIONS_H

namespace aotbuild {

typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

AOTBUILD_INLINE Ints bits(Vec x) { Ints y; __builtin_memcpy(&y, &x, sizeof y); return y; }
AOTBUILD_INLINE Vec from_bits(Ints x) { Vec y; __builtin_memcpy(&y, &x, sizeof y); return y; }
// x, but no less than the one and no more than the other; NaN stays NaN.
AOTBUILD_INLINE Vec within(Vec x, Vec least, Vec most) {
  const Vec y = x < least ? least : x;
  return y > most ? most : y;
}
AOTBUILD_INLINE Vec magnitude(Vec x) { return from_bits(bits(x) & 0x7fffffff); }

// Two to the power of x, for -126 <= x < 128.
AOTBUILD_INLINE Vec exp2_within(Vec x) {
  const Vec shift = splat(12582912.0f);  // in a sum with it, the last bits are those of the integer
  const Vec shifted = x + shift;
  const Vec r = x - (shifted - shift);
  // In this order less waits for one another than from the highest power down.
  const Vec r2 = r * r;
  const Vec low = fma(splat(0.6931470036506653f), r, splat(1.0f));
  const Vec middle = fma(splat(0.05550733581185341f), r, splat(0.24022242426872253f));
  const Vec high = fma(splat(0.001326472731307149f), r, splat(0.009671512991189957f));
  const Vec p = fma(fma(high, r2, middle), r2, low);
  return from_bits(bits(p) + (bits(shifted) << 23));
}

// 1 / (1 + exp(-x))
struct sigmoid {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec power = within(x * splat(-1.4426950408889634f), splat(-126.0f), splat(126.0f));
    const Vec y = splat(1.0f) / (splat(1.0f) + exp2_within(power));
    return x == x ? y : x;
  }
};

struct silu {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec power = within(x * splat(-1.4426950408889634f), splat(-126.0f), splat(126.0f));
    return x / (splat(1.0f) + exp2_within(power));
  }
};

// x Phi(x), where Phi is the distribution function of the normal distribution. The logarithm of its
// tail, Phi(-|x|), is smooth enough for one polynomial.
struct gelu {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec bounded = x < splat(-6.0f) ? splat(-6.0f) : x;
    const Vec a = magnitude(bounded) < splat(6.0f) ? magnitude(bounded) : splat(6.0f);
    const Vec a2 = a * a, a4 = a2 * a2;
    const Vec p0 = fma(splat(-0.45921483635902405f), a, splat(-1.1511048078536987f));
    const Vec p2 = fma(splat(0.0069776312448084354f), a, splat(-0.05246024578809738f));
    const Vec p4 = fma(splat(-0.00025809110957197845f), a, splat(-3.119517714367248e-05f));
    const Vec p6 = fma(splat(-8.10977871879004e-06f), a, splat(6.647557893302292e-05f));
    const Vec high = fma(fma(splat(4.119319214623829e-07f), a2, p6), a2, p4);
    const Vec p = fma(high, a4, fma(p2, a2, p0));
    const Vec tail = exp2_within(fma(p, a, splat(-1.0f)));
    return bounded * (x > splat(0.0f) ? splat(1.0f) - tail : tail);
  }
};

// x times the sigmoid of 2 sqrt(2 / pi) (x + 0.044715 x^3), which is gelu with a tangent.
struct gelu_tanh {
  static AOTBUILD_INLINE Vec of(Vec x) {
    const Vec slope = fma(x * x, splat(-0.10294324f), splat(-2.3022082f));
    const Vec power = within(x * slope, splat(-126.0f), splat(126.0f));
    return x / (splat(1.0f) + exp2_within(power));
  }
};

// Apply an activation to each element of a tile whose rows have room for whole vectors.
template <class F>
AOTBUILD_INLINE void activate(float* tile, int64_t rows, int64_t ld, int64_t columns) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c += LANES) store(tile + r * ld + c, F::of(load(tile + r * ld + c)));
}

}  // namespace aotbuild
#endif
