// Trigonometric functions and their inverses.
//
// Multiples of pi or pi / 2 are subtracted in three parts, of which the first difference is exact
// (Cody & Waite, "Software Manual for the Elementary Functions", 1980). Arguments that are too
// large for that are left to the C library, lane by lane. The polynomials were fitted as those of
// vector_exponentials.h.
#pragma once

#include <cmath>

#include "vector_lanes.h"

namespace aotbuild::standalone::lanes {

constexpr double kPi = 3.14159265358979323846, kPiRest = 1.2246467991473532e-16,
                 kPiRestOfRest = -2.9947698097183397e-33;

// Lanes of y, or of the C library's function where |x| is too large for it. Infinite and NaN x
// give NaN either way.
template <class V, class Function>
[[gnu::noinline, gnu::cold]] V by_library(V x, Bits<V> above, V y, Function function) {
  for (int i = 0; i < kLanes<V>; i++)
    if (above[i]) y[i] = static_cast<Element<V>>(function(double(x[i])));
  return y;
}
template <class V, class Function>
inline V unless_above(double limit, V x, V y, Function function) {
  const auto above = absolute(x) > Element<V>(limit);
  return any(above) ? by_library(x, above, y, function) : y;
}

// sin r of |r| up to pi / 2: within 2^-26 of floats, 2^-35 of doubles.
template <class V>
inline V short_sine(V r) {
  const V s = r * r;
  if constexpr (kFloat<V>)
    return fma(r * s, polynomial(s, 2.60563161e-6, -0.000198095397, 0.00833306555, -0.166666597),
               r);
  else
    return fma(r * s,
               polynomial(s, -2.3887790231196807e-08, 2.752532292117816e-06,
                          -0.00019840867053008498, 0.008333331100076082, -0.16666666625955015),
               r);
}

// x less `multiple` times pi, or pi by a power of two.
template <class V>
inline V less_multiple(V x, V multiple, double fraction) {
  if constexpr (kFloat<V>) {
    x = fma(multiple, splat<V>(-3.1415927410125732 * fraction), x);
    x = fma(multiple, splat<V>(8.742277657347586e-08 * fraction), x);
    return fma(multiple, splat<V>(3.4302490200117637e-15 * fraction), x);
  } else {
    x = fma(multiple, splat<V>(-kPi * fraction), x);
    return fma(multiple, splat<V>(-kPiRest * fraction), x);
  }
}

// The sign of a number that gets another one where the last bit of `shifted` is set.
template <class V>
inline V with_sign_of_last_bit(V x, V shifted) {
  return V(Bits<V>(x) ^ (Bits<V>(shifted) << (sizeof(Element<V>) * 8 - 1)));
}

// Up to about 2^15 as floats, and 2^31 as doubles.
template <class V>
inline V short_sin(V x) {
  const V shifted = fma(x, splat<V>(1 / kPi), splat<V>(kRounding<V>));
  const V r = less_multiple(x, shifted - kRounding<V>, 1);
  return with_sign_of_last_bit(short_sine(r), shifted);
}
// With odd multiples of pi / 2.
template <class V>
inline V short_cos(V x) {
  const V shifted = fma(x, splat<V>(1 / kPi), splat<V>(-0.5)) + kRounding<V>;
  const V n = shifted - kRounding<V>;
  const V r = less_multiple(x, n + n + Element<V>(1), 0.5);
  return with_sign_of_last_bit(-short_sine(r), shifted);
}

constexpr double kShortLimit = 0x1p31, kFloatLimit = 0x1p15;

// Of doubles, sin and cos of x less the nearest multiple n of pi / 2, and the bits of n.
template <class V>
struct Quadrant {
  V sine, cosine;
  Bits<V> n;
};
template <class V>
inline Quadrant<V> quadrant(V x) {
  const V shifted = fma(x, splat<V>(2 / kPi), splat<V>(kRounding<V>)), n = shifted - kRounding<V>;
  const V first = fma(n, splat<V>(-kPi / 2), x);  // exact
  const V product = n * (kPiRest / 2), r = first - product, taken = r - first;
  V rest = (first - (r - taken)) - (product + taken);
  rest = rest - fma(n, splat<V>(kPiRest / 2), -product);
  rest = fma(n, splat<V>(-kPiRestOfRest / 2), rest);

  const V s = r * r, half = 0.5 * s, one_less = 1.0 - half;
  const V p = polynomial(s, 1.5896082105018196e-10, -2.505074535037781e-08, 2.7557313606975286e-06,
                         -0.00019841269829551126, 0.008333333333322075, -0.1666666666666663);
  const V q =
      polynomial(s, -1.1359560764957464e-11, 2.0875721659609734e-09, -2.7557314341005404e-07,
                 2.480158728944507e-05, -0.0013888888888874068, 0.0416666666666666);
  return {r + fma(r * s, p, rest * one_less),
          one_less + (fma(s * s, q, (1.0 - one_less) - half) - r * rest), Bits<V>(shifted)};
}
constexpr double kQuadrantLimit = 0x1p24;

// -0 stays: elsewhere the sum of a zero and its multiple would be +0.
template <class V>
inline V sin(V x) {
  const V a = absolute(x);
  V y;
  if constexpr (kFloat<V>) {
    y = unless_above(kShortLimit, a, by_doubles([](auto x) { return short_sin(x); }, a),
                     [](double x) { return std::sin(x); });
  } else {
    const Quadrant<V> of = quadrant(a);
    y = (of.n & 1) != 0 ? of.cosine : of.sine;
    y = reversed(y, of.n << 62);
    y = unless_above(kQuadrantLimit, a, y, [](double x) { return std::sin(x); });
  }
  return reversed(y, Bits<V>(x));
}
template <class V>
inline V cos(V x) {
  if constexpr (kFloat<V>) {
    return unless_above(kShortLimit, x, by_doubles([](auto x) { return short_cos(x); }, x),
                        [](double x) { return std::cos(x); });
  } else {
    const Quadrant<V> of = quadrant(x);
    V y = (of.n & 1) != 0 ? of.sine : of.cosine;
    y = reversed(y, (of.n + 1) << 62);
    return unless_above(kQuadrantLimit, x, y, [](double x) { return std::cos(x); });
  }
}

// Within 1.8 units in the last place, and between -1 and 1.
template <class V>
inline V fast_sin(V x) {
  const V a = absolute(x);
  if (any(a > Element<V>(kFloatLimit))) [[unlikely]]
    return sin(x);
  const V y = at_least(at_most(short_sin(a), 1), -1);
  return reversed(y, Bits<V>(x));
}
template <class V>
inline V fast_cos(V x) {
  if (any(absolute(x) > Element<V>(kFloatLimit))) [[unlikely]]
    return cos(x);
  return at_least(at_most(short_cos(x), 1), -1);
}

// -1 / tan r after odd multiples of pi / 2.
template <class V>
inline V tan(V x) {
  const auto of_doubles = [](auto x) {
    typedef decltype(x) D;
    const D shifted = fma(x, splat<D>(2 / kPi), splat<D>(kRounding<D>));
    const D r = less_multiple(x, shifted - kRounding<D>, 0.5), s = r * r;
    const D p = polynomial(s, 0.0020423007736161637, -0.0005983594735906403, 0.00499496989916493,
                           0.008330367217199328, 0.02198492738610622, 0.05395459665413458,
                           0.13333410792131248, 0.3333333184163284);
    const D t = fma(r * s, p, r);
    const auto odd = (Bits<D>(shifted) & 1) != 0;
    return (odd ? splat<D>(-1) : t) / (odd ? t : splat<D>(1));
  };
  const V a = absolute(x);
  const V y =
      unless_above(kShortLimit, a, by_doubles(of_doubles, a), [](double x) { return std::tan(x); });
  return reversed(y, Bits<V>(x));
}

// atan t of t from 0 to 1, and asin t of t from 0 to 1/2, within 2^-33 and 2^-39, of doubles.
template <class V>
inline V short_atan(V t) {
  const V s = t * t;
  const V p = polynomial(s, -0.000697971519122109, 0.004926433056337827, -0.016299625119478404,
                         0.03447609848138532, -0.05451614181659431, 0.07259446859162152,
                         -0.08985441861378295, 0.11094504205326537, -0.14284167289320843,
                         0.19999927246559066, -0.3333333213380324);
  return fma(t * s, p, t);
}
template <class V>
inline V short_asin(V t, V s) {
  const V p = polynomial(s, 0.03290878794345657, 0.0019823889154802384, 0.02064490833087564,
                         0.021866053039087355, 0.030426482065354414, 0.04464071044548518,
                         0.07500004974296247, 0.1666666662740635);
  return fma(t * s, p, t);
}

// pi / 2 - 2 asin of the root of (1 - |x|) / 2, where |x| is above 1/2.
template <class V>
inline V asin(V x) {
  const auto of_doubles = [](auto a) {
    typedef decltype(a) D;
    const auto large = a > 0.5;
    const D s = large ? (1.0 - a) * 0.5 : a * a;
    const D y = short_asin(large ? square_root(s) : a, s);
    return large ? kPi / 2 - (y + y) : y;
  };
  return with_sign_of(by_doubles(of_doubles, absolute(x)), x);
}
template <class V>
inline V acos(V x) {
  const auto of_doubles = [](auto x) {
    typedef decltype(x) D;
    const D a = absolute(x);
    const auto large = a > 0.5;
    const D s = large ? (1.0 - a) * 0.5 : a * a;
    const D y = short_asin(large ? square_root(s) : a, s), twice = y + y;
    const D of_large = x < 0.0 ? kPi - twice : twice;
    return large ? of_large : kPi / 2 - with_sign_of(y, x);
  };
  return by_doubles(of_doubles, x);
}

// pi / 2 - atan of the inverse of what is above 1.
template <class V>
inline V atan(V x) {
  const auto of_doubles = [](auto a) {
    typedef decltype(a) D;
    const auto large = a > 1.0;
    const D y = short_atan((large ? splat<D>(1) : a) / (large ? at_most(a, 1e300) : splat<D>(1)));
    return large ? kPi / 2 - y : y;
  };
  return with_sign_of(by_doubles(of_doubles, absolute(x)), x);
}

// By the quotient of the smaller by the larger; limits make it one of numbers.
template <class V>
inline V atan2(V y, V x) {
  const auto of_doubles = [](auto y, auto x) {
    typedef decltype(x) D;
    const D up = at_most(absolute(y), 1e300), along = at_most(absolute(x), 1e300);
    const auto steep = up > along;
    const D larger = at_least(steep ? up : along, 1e-300);
    D angle = short_atan((steep ? along : up) / larger);
    angle = steep ? kPi / 2 - angle : angle;
    angle = Bits<D>(x) < 0 ? kPi - angle : angle;
    return with_sign_of(angle, y);
  };
  const V angle = by_doubles(of_doubles, y, x);
  return ((x != x) | (y != y)) ? x + y : angle;
}

}  // namespace aotbuild::standalone::lanes
