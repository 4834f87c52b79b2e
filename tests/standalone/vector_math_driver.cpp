// Calls the functions of vectors by their addresses on arrays, and compares what they give with the
// C library's functions of a higher precision.
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>

namespace {

// What a function of float must give is known as a double, of double as a long double.
template <class T>
using Precise = std::conditional_t<std::is_same_v<T, float>, double, long double>;

template <class T>
using Reference = Precise<T> (*)(Precise<T>, Precise<T>, T, T);

template <class T>
const std::map<std::string, Reference<T>>& references() {
  typedef Precise<T> P;
#define ONE(f)                                      \
  {                                                 \
    #f, [](P x, P, T, T) -> P { return std::f(x); } \
  }
#define TWO(f)                                           \
  {                                                      \
    #f, [](P x, P y, T, T) -> P { return std::f(x, y); } \
  }
  static const std::map<std::string, Reference<T>> all{
      ONE(exp),      ONE(exp2),
      ONE(expm1),    ONE(log),
      ONE(log2),     ONE(log10),
      ONE(log1p),    ONE(sin),
      ONE(cos),      ONE(tan),
      ONE(asin),     ONE(acos),
      ONE(atan),     ONE(sinh),
      ONE(cosh),     ONE(tanh),
      ONE(asinh),    ONE(acosh),
      ONE(atanh),    ONE(erf),
      ONE(erfc),     ONE(lgamma),
      TWO(pow),      TWO(atan2),
      TWO(hypot),    TWO(fmod),
      TWO(copysign), {"nextafter", [](P, P, T x, T y) -> P { return std::nextafter(x, y); }}};
  return all;
}

// The distance in units of the last place that what is right has; infinite where a NaN, an
// infinity, or the sign of a zero is wrong. An infinity counts as the next power of two.
template <class T>
double distance(T got, Precise<T> right) {
  constexpr Precise<T> most = std::numeric_limits<T>::max();
  if (std::isnan(right) || std::isnan(got))
    return std::isnan(right) && std::isnan(got) ? 0 : INFINITY;
  if (std::signbit(right) != std::signbit(got)) return INFINITY;
  if (std::isinf(got) && std::fabs(right) > most) return 0;
  if (std::isinf(right)) return INFINITY;
  int exponent;
  std::frexp(std::fabs(right), &exponent);
  constexpr int digits = std::numeric_limits<T>::digits;
  constexpr int least = std::numeric_limits<T>::min_exponent - digits;
  const Precise<T> unit = std::ldexp(Precise<T>(1), std::max(exponent - digits, least));
  Precise<T> value = got;
  if (std::isinf(got)) value = std::copysign(most + unit, right);
  return static_cast<double>(std::fabs(value - right) / unit);
}

template <class V, class T, class... Arrays>
void apply(const void* function, T* results, long count, const Arrays*... arrays) {
  for (long i = 0; i + long(sizeof(V) / sizeof(T)) <= count; i += sizeof(V) / sizeof(T)) {
    const auto part = [i](const T* from) {
      V vector;
      std::memcpy(&vector, from + i, sizeof vector);
      return vector;
    };
    const V result = reinterpret_cast<V (*)(decltype(part(arrays))...)>(function)(part(arrays)...);
    std::memcpy(results + i, &result, sizeof result);
  }
}

// The largest distance, and the place of it.
template <class T>
double worst(const char* name, const T* x, const T* y, const T* results, long count, long* place) {
  const Reference<T> reference = references<T>().at(name);
  double most = 0;
  *place = 0;
  for (long i = 0; i < count; i++) {
    const double each = distance<T>(results[i], reference(x[i], y[i], x[i], y[i]));
    if (each > most) {
      most = each;
      *place = i;
    }
  }
  return most;
}

}  // namespace

extern "C" {
#define APPLY(name, V, T)                                                                        \
  void apply_##name(const void* function, int two, const T* x, const T* y, T* results, long n) { \
    if (two)                                                                                     \
      apply<V>(function, results, n, x, y);                                                      \
    else                                                                                         \
      apply<V>(function, results, n, x);                                                         \
  }
#if defined(__x86_64__)
APPLY(f8, __m256, float)
APPLY(d4, __m256d, double)
#elif defined(__aarch64__)
APPLY(f4, float32x4_t, float)
APPLY(d2, float64x2_t, double)
#endif
#if defined(__AVX512F__)
APPLY(f16, __m512, float)
APPLY(d8, __m512d, double)
#endif
double worst_float(const char* name, const float* x, const float* y, const float* results, long n,
                   long* place) {
  return worst<float>(name, x, y, results, n, place);
}
double worst_double(const char* name, const double* x, const double* y, const double* results,
                    long n, long* place) {
  return worst<double>(name, x, y, results, n, place);
}
}
