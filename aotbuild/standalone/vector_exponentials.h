// Exponential and hyperbolic functions, logarithms, and what follows from them.
//
// e^x = 2^n e^r, where n is the integer nearest to x / ln 2, and r lies within ln 2 / 2 of 0. Of
// x = m 2^n with m = 1 + f near 1, log x = n ln 2 + log(1 + f). Rests that one number cannot hold
// are added last. The polynomials were fitted for this code, for the smallest largest relative
// error over their intervals (Remez's algorithm).
//
// Float functions whose own rounding would take more than one unit in the last place are computed
// in double precision: that needs no care, and shorter polynomials than those of double functions.
#pragma once

#include <cmath>

#include "vector_lanes.h"

namespace aotbuild::standalone::lanes {

constexpr double kLn2 = 0.69314718055994530942, kLn2Rest = 2.3190468138462996e-17;
constexpr double kLog2E = 1.44269504088896340736;

// x = n ln 2 + r + rest.
template <class V>
struct Reduced {
  V shifted, n, r, rest;
};
template <class V>
inline Reduced<V> reduced(V x) {
  const V shifted = fma(x, splat<V>(kLog2E), splat<V>(kRounding<V>)), n = shifted - kRounding<V>;
  if constexpr (kFloat<V>) {
    const V r = fma(n, splat<V>(-0.693145751953125), x);  // the product is exact
    return {shifted, n, fma(n, splat<V>(-1.42860682030941723e-6), r), V{}};
  } else {
    const V high = fma(n, splat<V>(-kLn2), x);  // exact
    const V r = fma(n, splat<V>(-kLn2Rest), high);
    return {shifted, n, r, fma(n, splat<V>(-kLn2Rest), high - r)};
  }
}

// (e^r - 1 - r) / r^2, of which e^r is within 2^-27 for floats, 2^-60 for doubles.
template <class V>
inline V exponential_rest(V r) {
  if constexpr (kFloat<V>)
    return polynomial(r, 0.00138144591, 0.00836877991, 0.0416683927, 0.166665196, 0.49999994);
  else
    return polynomial(r, 2.101446251082477e-09, 2.5115407177206096e-08, 2.7556977807957066e-07,
                      2.755722492712434e-06, 2.4801587631418672e-05, 0.00019841269906585254,
                      0.0013888888888756285, 0.008333333333312818, 0.041666666666666845,
                      0.16666666666666688, 0.5);
}

// 2^n e^r.
template <class V>
inline V exponential(V n, V r) {
  const V more = r + Element<V>(1), rest = r - (more - Element<V>(1));
  return scaled(more + fma(exponential_rest(r), r * r, rest), n);
}

template <class V>
inline V exp(V x) {
  x = at_least(at_most(x, kFloat<V> ? 89 : 710), kFloat<V> ? -104 : -746);
  const Reduced<V> of = reduced(x);
  return exponential(of.n, of.r);
}

template <class V>
inline V exp2(V x) {
  x = at_least(at_most(x, kFloat<V> ? 129 : 1025), kFloat<V> ? -151 : -1076);
  const V n = (x + kRounding<V>)-kRounding<V>;
  return exponential(n, (x - n) * Element<V>(kLn2));
}

// e^r - 1 within 2^-31, which is enough for floats.
template <class V>
inline V short_exponential_less_one(V r) {
  return fma(r * r,
             polynomial(r, 0.00019962540952039499, 0.0013943316229991164, 0.008333219542535034,
                        0.04166632568711484, 0.1666666690359368, 0.5000000053354557),
             r);
}
// e^x - 1 for x of -700 to 700.
template <class V>
inline V short_expm1(V x) {
  const V shifted = fma(x, splat<V>(kLog2E), splat<V>(kRounding<V>)), n = shifted - kRounding<V>;
  const V power = power_of_two(shifted), r = fma(n, splat<V>(-kLn2), x);
  return fma(power, short_exponential_less_one(r), power - 1.0);
}
// 2^x for x of -1000 to 1000.
template <class V>
inline V short_exp2(V x) {
  const V shifted = x + kRounding<V>, power = power_of_two(shifted);
  const V r = (x - (shifted - kRounding<V>)) * kLn2;
  return fma(power, short_exponential_less_one(r), power);
}

// (e^x - 1) / 2, of doubles; the half does not overflow before its double does.
template <class V>
struct Sum {
  V high, low;
};
template <class V>
inline Sum<V> half_of_expm1(V x) {
  const Reduced<V> of = reduced(x);
  const V half = power_of_two(of.shifted - 1.0), less = half - 0.5;
  const V rest = exponential_rest(of.r) * (of.r * of.r), p = of.r + rest;
  const V p_low = (of.r - p) + rest + of.rest;
  const V high = fma(half, p, less), less_low = (half - less) - 0.5;
  return {high, fma(half, p, less - high) + fma(half, p_low, less_low)};
}

template <class V>
inline V expm1(V x) {
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto x) { return short_expm1(at_least(at_most(x, 90), -40)); };
    return with_sign_of(by_doubles(of_doubles, x), x);
  } else {
    const Sum<V> half = half_of_expm1(at_least(at_most(x, 710), -50));
    const V a = absolute(x);  // a half of what is denormal is less precise
    return with_sign_of(a < 0x1p-54 ? a : 2.0 * (half.high + half.low), x);
  }
}

// e^x / 2, also where that is no number but its half is.
template <class V>
inline V half_of_exp(V x) {
  const Reduced<V> of = reduced(x);
  return exponential(of.n - 1.0, of.r);
}

// Of doubles, m / (m k + 1).
template <class V>
inline Sum<V> quotient(Sum<V> m, double k) {
  const V product = m.high * k, below = product + 1.0, taken = below - product;
  const V below_low = (product - (below - taken)) + (1.0 - taken) + m.low * k;
  const V inverse = 1.0 / below, high = m.high * inverse;
  return {high, (fma(-high, below, m.high) + fma(-high, below_low, m.low)) * inverse};
}

// With m = e^(2 |x|) - 1: m / (m + 2).
template <class V>
inline V tanh(V x) {
  const V a = absolute(x);
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto a) {
      const auto m = short_expm1(at_most(a + a, 20));
      return m / (m + 2.0);
    };
    return with_sign_of(by_doubles(of_doubles, a), x);
  } else {
    const Sum<V> y = quotient(half_of_expm1(at_most(a + a, 44)), 1);
    return with_sign_of(y.high + y.low, x);
  }
}

// With m = e^|x| - 1: (m + m / (m + 1)) / 2.
template <class V>
inline V sinh(V x) {
  const V a = absolute(x);
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto a) {
      const auto m = short_expm1(at_most(a, 90));
      return (m + m / (m + 1.0)) * 0.5;
    };
    return with_sign_of(by_doubles(of_doubles, a), x);
  } else {
    const V within = at_most(a, 711);
    const Sum<V> m = half_of_expm1(within);
    const Sum<V> second = quotient(m, 2);
    const V high = m.high + second.high;
    const V y = high + ((m.high - high) + second.high + (m.low + second.low));
    return with_sign_of(a < 0x1p-54 ? a : (a < 50.0 ? y : half_of_exp(within)), x);
  }
}

// With h = e^|x| / 2: h + 1 / (4 h).
template <class V>
inline V cosh(V x) {
  const V a = absolute(x);
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto a) {
      const auto half = short_expm1(at_most(a, 90)) * 0.5 + 0.5;
      return half + 0.25 / half;
    };
    return by_doubles(of_doubles, a);
  } else {
    const V within = at_most(a, 711);
    const Sum<V> m = half_of_expm1(within);
    const V half = m.high + 0.5, inverse = 0.25 / half, y = half + inverse;
    const V low = (m.high < 0.5 ? (0.5 - half) + m.high : (m.high - half) + 0.5) + m.low;
    const V rest = (half - y) + inverse + low * fma(-4.0 * inverse, inverse, splat<V>(1));
    return a < 50.0 ? y + rest : half_of_exp(within);
  }
}

// `y` where it is the logarithm of a positive number; else as the limits of logarithms are.
template <class V>
inline V logarithm_or_limit(V x, V y) {
  y = x < kInfinity<V> ? y : x;
  return x > Element<V>(0) ? y : (x == Element<V>(0) ? splat<V>(-kInfinity<V>) : splat<V>(kNan<V>));
}

// log(1 + f) - f, for f of the root of 1/2 less 1 to that of 2 less 1.
template <class V>
inline V logarithm_rest(V f) {
  if constexpr (kFloat<V>) {
    const V p = polynomial(f, 0.0674691424, -0.116761073, 0.11888285, -0.124055207, 0.142195269,
                           -0.166679993, 0.200021192, -0.250000089, 0.333333135);
    return fma(Element<V>(-0.5) * f, f, (f * f) * (f * p));
  } else {  // with s = f / (2 + f), it is s^2 (2 f + s ...) in powers of s^2
    const V s = f / (f + 2.0), z = s * s, half = 0.5 * f * f;
    const V p = polynomial(z, 0.1479590406546701, 0.15314058813481649, 0.18183563849999554,
                           0.22222198585344485, 0.28571428742241656, 0.3999999999941543,
                           0.6666666666666734);
    return fma(-0.5 * f, f, s * fma(z, p, half));
  }
}

// Logarithms as n `two` + (f + rest) `unit`: each constant in two parts, `two` such that its
// product with n is exact.
struct Base {
  double two, two_low, unit, unit_low;
};
constexpr Base kNaturalFloat{0.693145751953125, 1.42860682030941723e-6, 1, 0};
constexpr Base kNatural{0.6931471805592082, 7.371002565167799e-13, 1, 0};
constexpr Base kBinaryFloat{1, 0, 1.4426950216293335, 1.9259629911266175e-08};
constexpr Base kBinary{1, 0, kLog2E, 2.0355273740931033e-17};
constexpr Base kDecimalFloat{0.30103302001953125, -3.0243555500547862e-06, 0.4342944920063019,
                             -1.0103050052231683e-08};
constexpr Base kDecimal{0.30102999566361177, 3.694239077158931e-13, 0.43429448190325182765,
                        1.098319650216765e-17};
template <class V>
inline V logarithm(const Base& base, V n, V f, V rest) {
  V first = f, low{};
  if (base.unit != 1) {
    first = f * Element<V>(base.unit);
    low = fma(f, splat<V>(base.unit), -first) + f * Element<V>(base.unit_low);
    rest = rest * Element<V>(base.unit);
  }
  const V whole = n * Element<V>(base.two), high = whole + first;
  return high + (fma(n, splat<V>(base.two_low), rest) + (low + ((whole - high) + first)));
}
template <class V>
inline V logarithm(const Base& base, V x) {
  const auto small = x < std::numeric_limits<Element<V>>::min();
  const Split<V> of = split(small ? x * Element<V>(0x1p60) : x);
  const V n = of.n - (small ? splat<V>(60) : V{}), f = of.m - Element<V>(1);
  return logarithm_or_limit(x, logarithm(base, n, f, logarithm_rest(f)));
}

// log x within 2^-34, of positive normal doubles.
template <class V>
inline V short_log(V x) {
  const Split<V> of = split(x);
  const V f = of.m - 1.0;
  const V p = polynomial(f, 0.02970849326939736, -0.08232953946272162, 0.10395844939920192,
                         -0.10337799881466414, 0.11000773625762263, -0.1245916383246287,
                         0.1428948024495951, -0.16668531995042152, 0.19999952612204822,
                         -0.24999966412972854, 0.3333333346937444, -0.5000000016808998);
  return fma(of.n, splat<V>(kLn2), fma(p, f * f, f));
}
// log(1 + x); what is lost of x in 1 + x is added.
template <class V>
inline V short_log1p(V x) {
  const V more = x + 1.0;
  return short_log(more) + (x - (more - 1.0));
}

template <class V>
inline V log(V x) {
  return logarithm(kFloat<V> ? kNaturalFloat : kNatural, x);
}
template <class V>
inline V log2(V x) {
  return logarithm(kFloat<V> ? kBinaryFloat : kBinary, x);
}
template <class V>
inline V log10(V x) {
  return logarithm(kFloat<V> ? kDecimalFloat : kDecimal, x);
}

// f + rest = (1 + x) / 2^n - 1, where the powers of two are applied first.
template <class V>
inline V log1p(V x) {
  constexpr Element<V> one = 1;
  const V n = split(x + one).n;
  const V first = V(Bits<V>(x) - (Bits<V>(n + kRounding<V>) << kMantissa<V>));
  const V second = power_of_two(kRounding<V> - at_most(n, 100)) - one;
  const V f = first + second, taken = f - second;
  const V rest = (second - (f - taken)) + (first - taken);
  V y = logarithm(kFloat<V> ? kNaturalFloat : kNatural, n, f,
                  logarithm_rest(f) + fma(-f, rest, rest));
  y = x < kInfinity<V> ? y : x;
  y = x > -one ? y : (x == -one ? splat<V>(-kInfinity<V>) : splat<V>(kNan<V>));
  return x == Element<V>(0) ? x : y;
}

// log(a + sqrt(a^2 + 1)) of a = |x|, log(x + sqrt(x^2 - 1)), and log((1 + a) / (1 - a)) / 2.
template <class V>
inline V asinh(V x) {
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto a) {
      const auto square = a * a;
      return short_log1p(a + square / (square_root(square + 1.0) + 1.0));
    };
    const V a = absolute(x), y = by_doubles(of_doubles, a);
    return with_sign_of(a < kInfinity<V> ? y : a, x);
  } else {
    return by_lanes<Wider<V>>([](auto x) { return std::asinh(x); }, x);
  }
}
template <class V>
inline V acosh(V x) {
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto x) {
      const auto t = x - 1.0;
      return short_log1p(t + square_root(t * (t + 2.0)));
    };
    const V y = x < kInfinity<V> ? by_doubles(of_doubles, x) : x;
    return x < 1.0f ? splat<V>(kNan<V>) : y;
  } else {
    return by_lanes<Wider<V>>([](auto x) { return std::acosh(x); }, x);
  }
}
template <class V>
inline V atanh(V x) {
  if constexpr (kFloat<V>) {
    const auto of_doubles = [](auto a) { return short_log1p((a + a) / (1.0 - a)) * 0.5; };
    const V a = absolute(x), y = by_doubles(of_doubles, a);
    const V limit = a == 1.0f ? splat<V>(kInfinity<V>) : splat<V>(kNan<V>);
    return with_sign_of(a < 1.0f ? y : limit, x);
  } else {
    return by_lanes<Wider<V>>([](auto x) { return std::atanh(x); }, x);
  }
}

// 2^(y log2 |x|).
template <class V>
inline V pow(V x, V y) {
  static_assert(kFloat<V>);
  const auto of_doubles = [](auto x, auto y) {
    return short_exp2(at_least(at_most(y * (short_log(x) * kLog2E), 200), -200));
  };
  const V a = absolute(x), zero = V{}, one = splat<V>(1), infinity = splat<V>(kInfinity<V>);
  V power = by_doubles(of_doubles, a, y);
  const auto of_zero = a == zero, of_limit = of_zero | (a == infinity);
  power = of_limit ? ((of_zero == (y > zero)) ? zero : infinity) : power;
  power = ((a == one) & (absolute(y) == infinity)) ? one : power;
  const V half = 0.5f * y;
  const auto whole = truncated(y) == y, odd = whole & (truncated(half) != half);
  power = reversed(power, odd & Bits<V>(x));
  power = ((x < zero) & (x > -infinity) & ~whole) ? splat<V>(kNan<V>) : power;
  power = ((x != x) | (y != y)) ? x + y : power;
  return ((y == zero) | (x == one)) ? one : power;
}

// Near zero x P(x^2); beyond, 1 - 2^Q(|x|), the logarithm of 1 - erf being almost a parabola.
template <class V>
inline V erf(V x) {
  const auto of_doubles = [](auto x) {
    const auto a = at_most(x, 4);
    const auto small =
        a * polynomial(a * a, -9.641458485202794e-06, 0.0001125693895652276, -0.0008482829465721151,
                       0.005220945631792797, -0.02686540018262608, 0.11283781978027677,
                       -0.3761263843502734, 1.128379167058099);
    const auto power =
        polynomial(a, -9.566268359917023e-07, -1.7783125045476414e-05, 0.0005550979667279202,
                   -0.005790011943751641, 0.03579711403946841, -0.15567480909454662,
                   -0.9141311404235692, -1.6293754802923466, 0.00022127299100137824);
    return a < 0.95 ? small : 1.0 - short_exp2(power);
  };
  return with_sign_of(by_doubles(of_doubles, absolute(x)), x);
}

}  // namespace aotbuild::standalone::lanes
