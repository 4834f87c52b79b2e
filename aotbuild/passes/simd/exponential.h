// The exponential function, as softmax and recurrent layers need it. Used after activations.h.
#ifndef AOTBUILD_EXPONENTIAL_H
#define AOTBUILD_EXPONENTIAL_H

namespace aotbuild {

AOTBUILD_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

constexpr float INFINITE = __builtin_inff();

// e to the power of numbers up to 88, with an error of about one unit in the last place; 0 where the
// result would be denormal, NaN of NaN.
AOTBUILD_INLINE Vec exponential(Vec x) {
  constexpr float ROUNDING = 12582912.f;  // in a sum with it, the last bits are those of the integer
  Vec n = fma(x, splat(1.44269504088896341f), splat(ROUNDING));
  Ints power = (bits(n) << 23) + bits(splat(1.f));
  n = n - splat(ROUNDING);
  Vec f = fma(n, splat(-0.693145751953125f), x);  // x - n ln 2; the first product is exact
  f = fma(n, splat(-1.42860682030941723e-6f), f);
  Vec p = fma(splat(0.0013814320554956794f), f, splat(0.008368851616978645f));
  p = fma(p, f, splat(0.041668400168418884f));
  p = fma(p, f, splat(0.1666651964187622f));
  p = fma(p, f, splat(0.4999999403953552f));
  p = fma(p, f * f, f) + splat(1.f);
  Vec result = p * from_bits(power);
  return x < splat(-87.33654f) ? splat(0.f) : result;
}

}  // namespace aotbuild
#endif
