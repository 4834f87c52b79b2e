// Operators on each element, of which Inductor makes no code of its own: mainly of complex numbers.

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "dtypes.h"
#include "elementwise.h"
#include "layout.h"
#include "vector_trigonometry.h"

using namespace aotbuild::standalone;

namespace {

constexpr int64_t kThreaded = 1 << 15;  // elements from which on threads are worth it

// std::complex without what the C standard asks of the products of infinities, as in torch.
template <typename T>
struct Number {
  T re, im;
  std::complex<T> std() const { return {re, im}; }
};
template <typename T>
Number<T> operator+(Number<T> a, Number<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename T>
Number<T> operator*(Number<T> a, Number<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

template <typename T>
constexpr bool is_number = false;
template <typename T>
constexpr bool is_number<Number<T>> = true;
template <typename T>
Computed<T> from_double(double x) {
  if constexpr (is_number<T>)
    return {static_cast<decltype(T::re)>(x), 0};
  else
    return static_cast<Computed<T>>(x);
}

// Calls `use` with a value of the C++ type of a dtype.
enum Kinds { kAll, kNumbers, kIntegers };  // kNumbers: without bool
template <Kinds kinds, typename F>
void with_type(int32_t dtype, const char* name, F&& use) {
  if (with_integer(dtype, use)) return;
  if constexpr (kinds != kIntegers) {
    if (with_real(dtype, use)) return;
    if (dtype == kComplexFloat) return use(Number<float>());
    if (dtype == kComplexDouble) return use(Number<double>());
  }
  if constexpr (kinds == kAll)
    if (dtype == kBool) return use(bool());
  refuse(name, dtype);
}

template <typename F>
void each(int64_t count, F&& work) {
  if (count < kThreaded) {
    for (int64_t i = 0; i < count; i++) work(i);
    return;
  }
#pragma omp parallel for
  for (int64_t i = 0; i < count; i++) work(i);
}

template <typename R, typename T, typename F>
void map(Elements& all, int32_t dtype, F&& work) {
  all.convert(0, dtype);
  const T* a = all.values<T>(0);
  int64_t sa = all.step(0);
  R* to = all.results<R>();
  each(all.count(),
       [&](int64_t i) { to[i] = static_cast<R>(work(static_cast<Computed<T>>(a[i * sa]))); });
}

template <typename T, typename F>
void map_pairs(Elements& all, int32_t dtype, F&& work) {
  all.convert(0, dtype);
  all.convert(1, dtype);
  const T *a = all.values<T>(0), *b = all.values<T>(1);
  int64_t sa = all.step(0), sb = all.step(1);
  T* to = all.results<T>();
  auto loop = [&](auto step_a, auto step_b) {
    each(all.count(), [&](int64_t i) {
      to[i] = static_cast<T>(
          work(static_cast<Computed<T>>(a[i * step_a]), static_cast<Computed<T>>(b[i * step_b])));
    });
  };
  using One = std::integral_constant<int64_t, 1>;
  if (sa && sb)
    loop(One(), One());
  else
    loop(sa, sb);
}

template <typename T>
T sum(T a, T b, T alpha) {
  if constexpr (std::is_same_v<T, bool>) return a || (alpha && b);
  // Unsigned, where integers wrap.
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) +
                          static_cast<uint64_t>(alpha) * static_cast<uint64_t>(b));
  else if constexpr (is_number<T>)
    return {a.re + alpha.re * b.re, a.im + alpha.re * b.im};
  else
    return a + alpha * b;
}

template <typename T>
T product(T a, T b) {
  if constexpr (std::is_same_v<T, bool>)
    return a && b;
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  else
    return a * b;
}

template <typename T>
T power(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (std::is_signed_v<T> && b < T(0))
      return a == T(1) ? T(1) : a == T(-1) ? (b % 2 ? T(-1) : T(1)) : T(0);
    uint64_t result = 1, base = static_cast<uint64_t>(a);
    for (uint64_t rest = static_cast<uint64_t>(b); rest; rest >>= 1, base *= base)
      if (rest & 1) result *= base;
    return static_cast<T>(result);
  } else if constexpr (is_number<T>) {
    auto result = std::pow(a.std(), b.std());
    return {result.real(), result.imag()};
  } else {
    return std::pow(a, b);
  }
}

Tensor* added(const Tensor* self, const Tensor* other, double alpha) {
  int32_t dtype = promoted(self, other);
  if (!is_real(dtype) && !is_complex(dtype) && std::floor(alpha) != alpha)
    throw std::runtime_error("integers are added with a whole factor");
  Elements all({self, other}, dtype);
  with_type<kAll>(dtype, "add", [&](auto zero) {
    using T = decltype(zero);
    auto factor = from_double<T>(alpha);
    map_pairs<T>(all, dtype, [&](auto a, auto b) { return sum(a, b, factor); });
  });
  return all.take();
}

Tensor* raised(const Tensor* self, const Tensor* exponent, int32_t dtype) {
  Elements all({self, exponent}, dtype);
  with_type<kNumbers>(dtype, "pow", [&](auto zero) {
    map_pairs<decltype(zero)>(all, dtype, [](auto a, auto b) { return power(a, b); });
  });
  return all.take();
}

// A number as a tensor without dimensions.
struct Scalar : Owned {
  Scalar(double value, int32_t dtype) : Owned(new_tensor(dtype, 0, nullptr)) {
    Owned exact(new_tensor(kDouble, 0, nullptr));
    *exact->as<double>() = value;
    copy(tensor, exact.tensor);
  }
};

// Powers that torch computes without a logarithm: they are exact, also of negative numbers.
template <typename T>
bool easy_power(Elements& all, int32_t dtype, double exponent) {
  auto run = [&](auto&& work) {
    map<T, T>(all, dtype, work);
    return true;
  };
  if constexpr (is_number<T>) {
    using P = decltype(T::re);
    auto inverse = [](auto a) {
      auto result = P(1) / a.std();
      return T{result.real(), result.imag()};
    };
    if (exponent == 0.5)
      return run([](auto a) {
        auto result = std::sqrt(a.std());
        return T{result.real(), result.imag()};
      });
    if (exponent == 2) return run([](auto a) { return a * a; });
    if (exponent == 3) return run([](auto a) { return a * a * a; });
    if (exponent == -1) return run(inverse);
    if (exponent == -2) return run([&](auto a) { return inverse(a * a); });
  } else if constexpr (!std::is_integral_v<T>) {
    if (exponent == 0.5) return run([](auto a) { return std::sqrt(a); });
    if (exponent == 2) return run([](auto a) { return a * a; });
    if (exponent == 3) return run([](auto a) { return a * a * a; });
    if (exponent == -0.5) return run([](auto a) { return decltype(a)(1) / std::sqrt(a); });
    if (exponent == -1) return run([](auto a) { return decltype(a)(1) / a; });
    if (exponent == -2) return run([](auto a) { return decltype(a)(1) / (a * a); });
  }
  return false;
}

template <typename T>
void angles(Elements& all, int32_t dtype) {
  using P = decltype(T::re);
  if constexpr (std::is_same_v<P, double>) {
    map<P, T>(all, dtype, [](auto a) { return std::atan2(a.im, a.re); });
  } else {
    constexpr int64_t kBlock = lanes::kFloatsAtOnce;
    using V = lanes::Vector<float, kBlock>;
    all.convert(0, dtype);
    const T* from = all.values<T>(0);
    P* to = all.results<P>();
    int64_t count = all.count(), blocks = (count + kBlock - 1) / kBlock;
    each(blocks, [&](int64_t block) {
      int64_t first = block * kBlock, some = std::min(kBlock, count - first);
      V re{}, im{};
      for (int64_t i = 0; i < some; i++) re[i] = from[first + i].re, im[i] = from[first + i].im;
      V angle = lanes::atan2(im, re);
      std::memcpy(to + first, &angle, some * sizeof(P));
    });
  }
}

int32_t real_of(int32_t dtype) { return dtype == kComplexFloat ? kFloat : kDouble; }

template <typename T>
T greatest_divisor(T a, T b) {
  // Unsigned, for the smallest number has no positive counterpart.
  using U = std::make_unsigned_t<T>;
  U x = a < 0 ? U(0) - static_cast<U>(a) : static_cast<U>(a);
  U y = b < 0 ? U(0) - static_cast<U>(b) : static_cast<U>(b);
  while (y) x %= y, std::swap(x, y);
  return static_cast<T>(x);
}

}  // namespace

AOTITorchError aoti_torch_cpu_add_Tensor(AtenTensorHandle self, AtenTensorHandle other,
                                         double alpha, AtenTensorHandle* ret0) {
  *ret0 = added(self, other, alpha);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_add_Scalar(AtenTensorHandle self, double other, double alpha,
                                         AtenTensorHandle* ret0) {
  int32_t dtype = promoted(self->dtype, other);
  Elements all({self}, dtype);
  with_type<kAll>(dtype, "add", [&](auto zero) {
    using T = decltype(zero);
    auto number = from_double<T>(other), factor = from_double<T>(alpha);
    // As torch has it: the number is one of the tensor's dtype, the factor is not.
    if constexpr (is_small<T>) number = static_cast<T>(number);
    map<T, T>(all, dtype, [&](auto a) { return sum(a, number, factor); });
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_subtract_Tensor(AtenTensorHandle self, AtenTensorHandle other,
                                               double alpha, AtenTensorHandle* ret0) {
  if (self->dtype == kBool || other->dtype == kBool)
    throw std::runtime_error("subtraction does not take bool");
  *ret0 = added(self, other, -alpha);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_mul_Tensor(AtenTensorHandle self, AtenTensorHandle other,
                                         AtenTensorHandle* ret0) {
  int32_t dtype = promoted(self, other);
  Elements all({self, other}, dtype);
  with_type<kAll>(dtype, "mul", [&](auto zero) {
    map_pairs<decltype(zero)>(all, dtype, [](auto a, auto b) { return product(a, b); });
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_mul_Scalar(AtenTensorHandle self, double other,
                                         AtenTensorHandle* ret0) {
  int32_t dtype = promoted(self->dtype, other);
  Elements all({self}, dtype);
  with_type<kAll>(dtype, "mul", [&](auto zero) {
    using T = decltype(zero);
    auto factor = from_double<T>(other);
    map<T, T>(all, dtype, [&](auto a) { return product(a, factor); });
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_pow_Tensor_Tensor(AtenTensorHandle self, AtenTensorHandle exponent,
                                                AtenTensorHandle* ret0) {
  *ret0 = raised(self, exponent, promoted(self, exponent));
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_pow_Scalar(double self, AtenTensorHandle exponent,
                                         AtenTensorHandle* ret0) {
  int32_t dtype = promoted(exponent->dtype, self);
  Scalar base(self, dtype);
  *ret0 = raised(base.tensor, exponent, dtype);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_pow_Tensor_Scalar(AtenTensorHandle self, double exponent,
                                                AtenTensorHandle* ret0) {
  int32_t dtype = promoted(self->dtype, exponent);
  bool integral = !is_real(dtype) && !is_complex(dtype);
  if (integral && exponent < 0) throw std::runtime_error("an integer to a negative power");
  Elements all({self}, dtype);
  with_type<kNumbers>(dtype, "pow", [&](auto zero) {
    using T = decltype(zero);
    if (easy_power<T>(all, dtype, exponent)) return;
    auto number = from_double<T>(exponent);
    if constexpr (std::is_integral_v<T>) {
      auto whole = static_cast<int64_t>(exponent);
      map<T, T>(all, dtype, [&](auto a) { return static_cast<T>(power<int64_t>(a, whole)); });
    } else {
      map<T, T>(all, dtype, [&](auto a) { return power(a, number); });
    }
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_abs(AtenTensorHandle self, AtenTensorHandle* ret0) {
  int32_t dtype = self->dtype;
  Elements all({self}, is_complex(dtype) ? real_of(dtype) : dtype);
  with_type<kNumbers>(dtype, "abs", [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_same_v<T, Number<float>>) {
      // Squares of a double: none of them overflows.
      map<float, T>(all, dtype, [](auto a) {
        double re = a.re, im = a.im;
        if (std::isinf(re) || std::isinf(im)) return std::numeric_limits<double>::infinity();
        return std::sqrt(re * re + im * im);
      });
    } else if constexpr (std::is_same_v<T, Number<double>>) {
      map<double, T>(all, dtype, [](auto a) { return std::hypot(a.re, a.im); });
    } else if constexpr (std::is_integral_v<T>) {
      map<T, T>(all, dtype, [](auto a) {
        return a < T(0) ? static_cast<T>(uint64_t(0) - static_cast<uint64_t>(a)) : a;
      });
    } else {
      map<T, T>(all, dtype, [](auto a) { return std::abs(a); });
    }
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_angle(AtenTensorHandle self, AtenTensorHandle* ret0) {
  int32_t dtype = self->dtype;
  bool complex = is_complex(dtype);
  int32_t result = complex ? real_of(dtype) : is_real(dtype) ? dtype : static_cast<int32_t>(kFloat);
  Elements all({self}, result);
  with_type<kNumbers>(complex ? dtype : result, "angle", [&](auto zero) {
    using T = decltype(zero);
    if constexpr (is_number<T>) {
      angles<T>(all, dtype);
    } else if constexpr (!std::is_integral_v<T>) {
      map<T, T>(all, result, [](auto a) {
        using W = decltype(a);
        return std::isnan(a) ? a : a < W(0) ? static_cast<W>(M_PI) : W(0);
      });
    }
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_polar(AtenTensorHandle abs, AtenTensorHandle angle,
                                    AtenTensorHandle* ret0) {
  if (abs->dtype != angle->dtype || (abs->dtype != kFloat && abs->dtype != kDouble))
    throw std::runtime_error("polar takes float32 and float64, both the same");
  Elements all({abs, angle}, abs->dtype == kFloat ? kComplexFloat : kComplexDouble);
  all.convert(0, abs->dtype);
  all.convert(1, abs->dtype);
  auto run = [&](auto zero) {
    using T = decltype(zero);
    const T *r = all.values<T>(0), *phi = all.values<T>(1);
    int64_t sr = all.step(0), sp = all.step(1);
    Number<T>* to = all.results<Number<T>>();
    each(all.count(), [&](int64_t i) {
      T length = r[i * sr], turn = phi[i * sp];
      to[i] = {length * std::cos(turn), length * std::sin(turn)};
    });
  };
  if (abs->dtype == kFloat)
    run(float());
  else
    run(double());
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_gcd(AtenTensorHandle self, AtenTensorHandle other,
                                  AtenTensorHandle* ret0) {
  int32_t dtype = promoted(self, other);
  Elements all({self, other}, dtype);
  with_type<kIntegers>(dtype, "gcd", [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_integral_v<T>)
      map_pairs<T>(all, dtype, [](auto a, auto b) { return greatest_divisor(a, b); });
  });
  *ret0 = all.take();
  return AOTI_TORCH_SUCCESS;
}
