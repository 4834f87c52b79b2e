// Elementary functions of Inductor's vectors, exact where those that it would call are not.
//
// Inductor's own lose small arguments (expm1, erf, atanh), overflow inside (acosh), or take
// multiples of a rounded quotient away (remainder). Errors here are at most 4 units in the last
// place; what is left unsaid (infinities, NaN, signed zeros) is as in eager torch.
#ifndef AOTBUILD_ELEMENTARY_H
#define AOTBUILD_ELEMENTARY_H

#include <ATen/cpu/vec/vec.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace aotbuild {
namespace exact {

using at::vec::Vectorized;
using Floats = Vectorized<float>;

// Polynomial of the coefficients, the highest first.
inline Floats polynomial(Floats, Floats first) { return first; }
template <class... Rest>
inline Floats polynomial(Floats x, Floats first, float second, Rest... rest) {
  return polynomial(x, at::vec::fmadd(first, x, Floats(second)), rest...);
}

inline Floats with_sign_of(Floats x, Floats sign) {
  typedef int32_t Bits __attribute__((vector_size(sizeof(Floats))));
  Bits a, b;
  std::memcpy(&a, &x, sizeof x);
  std::memcpy(&b, &sign, sizeof b);
  a = (a & 0x7fffffff) | (b & ~0x7fffffff);
  std::memcpy(static_cast<void*>(&x), &a, sizeof x);
  return x;
}

// x times two to the power of the integer in the last bits of `shifted`.
inline Floats scaled(Floats x, Floats shifted) {
  typedef int32_t Bits __attribute__((vector_size(sizeof(Floats))));
  Bits a, b;
  std::memcpy(&a, &x, sizeof x);
  std::memcpy(&b, &shifted, sizeof b);
  a += b << 23;
  std::memcpy(static_cast<void*>(&x), &a, sizeof x);
  return x;
}

// In a sum with it, the last bits of a float are those of the nearest integer.
constexpr float ROUNDING = 12582912.0f;

// A value that the compiler knows nothing about. With -funsafe-math-optimizations it would take
// what was added for rounding away again.
inline Floats opaque(Floats x) {
  typedef float Lanes __attribute__((vector_size(sizeof(Floats))));
  Lanes lanes;
  std::memcpy(&lanes, &x, sizeof x);
#if defined(__x86_64__)
  asm("" : "+x"(lanes));
#elif defined(__aarch64__)
  asm("" : "+m"(lanes));
#endif
  std::memcpy(static_cast<void*>(&x), &lanes, sizeof x);
  return x;
}

// With x = n ln 2 + r: 2^n expm1(r) + (2^n - 1), where the second term is exact. Halves of the
// powers of two are added up, since 2^128 is none.
inline Floats expm1(Floats x) {
  const Floats most(89.0f), least(-18.0f);
  Floats within = Floats::blendv(x, most, x > most);
  within = Floats::blendv(within, least, x < least);
  const Floats shifted =
      opaque(at::vec::fmadd(within, Floats(1.44269504088896341f), Floats(ROUNDING)));
  const Floats n = opaque(shifted - Floats(ROUNDING));
  Floats r = at::vec::fmadd(n, Floats(-0.693145751953125f), within);  // the product is exact
  r = at::vec::fmadd(n, Floats(-1.42860682030941723e-6f), r);
  const Floats q =
      polynomial(r, Floats(0.00019914198492188007f), 0.0013941028155386448f, 0.008333273231983185f,
                 0.04166635498404503f, 0.1666666716337204f, 0.5f);
  const Floats p = at::vec::fmadd(q * r, r, r);
  const Floats half = scaled(Floats(0.5f), shifted);
  const Floats y = at::vec::fmadd(half, p, half - Floats(0.5f));
  return with_sign_of(y + y, x);
}

// Near zero x + x P(x^2); beyond, 1 - 2^Q(|x|), the logarithm of erfc being almost a parabola.
inline Floats erf(Floats x) {
  const Floats a = x.abs(), s = a * a, one(1.0f);
  const Floats small = polynomial(
      s, Floats(8.397803321713582e-05f), -0.0008149809690642774f, 0.0052017164416611195f,
      -0.026859702542424202f, 0.11283701658248901f, -0.37612634897232056f, 0.12837916612625122f);
  const Floats most(4.0f);
  const Floats b = Floats::blendv(a, most, a > most);
  const Floats power =
      polynomial(b, Floats(-3.056232162634842e-05f), 0.0006282608374021947f, -0.006024548318237066f,
                 0.036257728934288025f, -0.15624256432056427f, -0.9137020111083984f,
                 -1.629557490348816f, 0.000254435115493834f);
  const Floats shifted = opaque(power + Floats(ROUNDING));
  const Floats r = power - opaque(shifted - Floats(ROUNDING));
  const Floats exp2 =
      polynomial(r, Floats(0.001326472731307149f), 0.009671512991189957f, 0.05550733581185341f,
                 0.24022242426872253f, 0.6931470036506653f, 1.0f);
  const Floats large = one - scaled(exp2, shifted);
  const Floats y = Floats::blendv(at::vec::fmadd(a, small, a), large, a > Floats(0.921875f));
  return with_sign_of(y, x);  // NaN fails the comparison, and stays
}

// x f(w) with w = -log(1 - x^2), and f a polynomial of w, or far from zero of its square root
// (M. B. Giles, Approximating the erfinv function, 2010).
inline Floats erfinv(Floats x) {
  const Floats one(1.0f);
  const Floats w = ((one - x) * (one + x)).log().neg();
  const Floats near =
      polynomial(w - Floats(2.5f), Floats(-8.59037818656816e-09f), 2.3184345110394133e-08f,
                 4.6338055881278706e-07f, -3.4621157128314443e-06f, -4.95046242576791e-06f,
                 0.00021834221843164414f, -0.001252763788215816f, -0.004177384078502655f,
                 0.24664029479026794f, 1.5014094114303589f);
  const Floats far = polynomial(
      w.sqrt() - Floats(3.0f), Floats(-0.0001487229746999219f), 6.617576582357287e-05f,
      0.0012820987030863762f, -0.003638065652921796f, 0.005768331699073315f, -0.007632327266037464f,
      0.009434733539819717f, 1.001674771308899f, 2.832977056503296f);
  Floats f = Floats::blendv(near, far, w > Floats(5.0f));
  f = Floats::blendv(f, Floats(std::numeric_limits<float>::infinity()), x.abs() == one);
  return f * x;
}

// log1p(2 |x| / (1 - |x|)) / 2
template <class T>
inline Vectorized<T> atanh(Vectorized<T> x) {
  using V = Vectorized<T>;
  const V a = x.abs();
  return (((a + a) / (V(1) - a)).log1p() * V(0.5)).copysign(x);
}

// log1p(t + sqrt(t (t + 2))) with t = x - 1; where that would overflow, log(x) + log(2).
template <class T>
inline Vectorized<T> acosh(Vectorized<T> x) {
  using V = Vectorized<T>;
  const V t = x - V(1), large(1.152921504606847e18);
  const V is_large = x > large;
  const V argument = t + t.sqrt() * (t + V(2)).sqrt();
  const V more = V::blendv(V(0), V(0.69314718055994530942), is_large);
  return V::blendv(argument, x, is_large).log1p() + more;
}

// Of the sign of b. No multiple of a rounded quotient is taken away.
template <class T>
inline Vectorized<T> remainder(Vectorized<T> a, Vectorized<T> b) {
  using V = Vectorized<T>;
  const V zero(0);
  // An infinite quotient is beyond Sleef's fmod; an infinite a gives NaN.
  const V mod = a.fmod(b) + (a - a);
  return V::blendv(mod, mod + b, (mod != zero) & ((b < zero) ^ (mod < zero)));
}

// Sleef's are exact for doubles.
inline Vectorized<double> expm1(Vectorized<double> x) { return x.expm1(); }
inline Vectorized<double> erf(Vectorized<double> x) { return x.erf(); }

// ATen corrects its first value by erf, which is 1 in the tail. Here Halley's steps take erfc,
// which keeps its digits there: 1 - |x| is exact.
inline double erfinv(double x) {
  const double tail = 1 - std::abs(x), first = calc_erfinv(x);
  double y = std::abs(first);
  if (!(tail < 0.5 && tail > 0)) return first;
  for (int i = 0; i < 2; i++) {
    const double step = (tail - std::erfc(y)) / (1.1283791670955126 * std::exp(-y * y));
    y -= step / (1 + y * step);
  }
  return std::copysign(y, x);
}
inline Vectorized<double> erfinv(Vectorized<double> x) {
  double values[Vectorized<double>::size()];
  x.store(values);
  for (double& each : values) each = erfinv(each);
  return Vectorized<double>::loadu(values);
}

#define AOTBUILD_PARTS(function)                                                  \
  template <class T, int N, class... Rest>                                        \
  inline at::vec::VectorizedN<T, N> function(const at::vec::VectorizedN<T, N>& x, \
                                             const Rest&... rest) {               \
    at::vec::VectorizedN<T, N> y;                                                 \
    for (int i = 0; i < N; i++) y[i] = function(x[i], rest[i]...);                \
    return y;                                                                     \
  }
AOTBUILD_PARTS(expm1)
AOTBUILD_PARTS(erf)
AOTBUILD_PARTS(erfinv)
AOTBUILD_PARTS(atanh)
AOTBUILD_PARTS(acosh)
AOTBUILD_PARTS(remainder)
#undef AOTBUILD_PARTS

}  // namespace exact
}  // namespace aotbuild
#endif
