// Running sums, products, largest and smallest values.

#include "dtypes.h"
#include "layout.h"
#include "order.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <type_traits>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

using namespace aotbuild::standalone;

namespace {

// A contiguous tensor as torch scans it: lines along a dimension, of which `inner` lie side by
// side.
struct Shape {
  int64_t outer = 1, length = 1, inner = 1;

  Shape(const Tensor* tensor, int dim) {
    for (int i = 0; i < tensor->ndim; i++)
      (i < dim ? outer : i == dim ? length : inner) *= tensor->sizes()[i];
  }
};

constexpr int kLines = 4;        // lines in a row that are scanned together
constexpr int64_t kBlock = 256;  // lines side by side whose sums are kept at a time

template <typename T, typename Sum>
T narrowed(const Sum& sum) {
  if constexpr (std::is_class_v<T> && std::is_class_v<Sum>)
    return {static_cast<typename T::value_type>(sum.real()),
            static_cast<typename T::value_type>(sum.imag())};
  else
    return static_cast<T>(sum);
}

template <typename Sum, typename T, typename Step>
void scan(const T* from, T* to, const Shape& shape, Sum start, Step step) {
  auto lines = [&]<int kCount>(const T* source, T* target, std::integral_constant<int, kCount>) {
    Sum sums[kCount];
    std::fill(sums, sums + kCount, start);
    for (int64_t i = 0; i < shape.length; i++)
      for (int k = 0; k < kCount; k++) {
        int64_t at = k * shape.length + i;
        sums[k] = step(sums[k], Sum(source[at]));
        target[at] = narrowed<T>(sums[k]);
      }
  };
  auto block = [&](const T* source, T* target, int64_t width) {
    Sum sums[kBlock];
    std::fill(sums, sums + width, start);
    for (int64_t i = 0; i < shape.length; i++, source += shape.inner, target += shape.inner) {
#pragma omp simd
      for (int64_t j = 0; j < width; j++) sums[j] = step(sums[j], Sum(source[j]));
#pragma omp simd
      for (int64_t j = 0; j < width; j++) target[j] = narrowed<T>(sums[j]);
    }
  };
  bool last = shape.inner == 1;
  int64_t blocks = last ? (shape.outer + kLines - 1) / kLines : (shape.inner + kBlock - 1) / kBlock;
  int64_t parts = last ? blocks : shape.outer * blocks;
  auto part = [&](int64_t number) {
    if (last) {  // each sum waits for the one before: those of several lines do so together
      int64_t first = number * kLines, offset = first * shape.length;
      if (first + kLines <= shape.outer)
        return lines(from + offset, to + offset, std::integral_constant<int, kLines>());
      for (; first < shape.outer; first++, offset += shape.length)
        lines(from + offset, to + offset, std::integral_constant<int, 1>());
      return;
    }
    int64_t first = number % blocks * kBlock;
    int64_t offset = number / blocks * shape.length * shape.inner + first;
    block(from + offset, to + offset, std::min(kBlock, shape.inner - first));
  };
  int threads = workers(shape.outer * shape.length * shape.inner, parts);
  if (threads == 1) {
    for (int64_t i = 0; i < parts; i++) part(i);
    return;
  }
#pragma omp parallel for num_threads(threads)
  for (int64_t i = 0; i < parts; i++) part(i);
}

struct Add {
  static constexpr int start = 0;
  template <typename T>
  T operator()(const T& a, const T& b) const {
    return a + b;
  }
};

struct Multiply {
  static constexpr int start = 1;
  template <typename T>
  T operator()(const T& a, const T& b) const {
    return a * b;
  }
  std::complex<double> operator()(const std::complex<double>& a,
                                  const std::complex<double>& b) const {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
  }
};

// The logarithm of a sum of two numbers that are given by their logarithms.
struct AddExponentials {
  template <typename T>
  T operator()(T sum, T value) const {
    if (std::isnan(sum)) return sum;
    T low = std::min(value, sum), high = std::max(value, sum);
    if (low == high && !std::isfinite(low)) return value;
    return std::log1p(std::exp(low - high)) + high;
  }
};

template <typename Sum, typename T>
void scan_as(const Tensor* from, Tensor* to, const Shape& shape, auto step) {
  using Step = decltype(step);
  scan(from->as<T>(), to->as<T>(), shape, Sum(Step::start), step);
}

template <typename Step>
Tensor* scanned(const Tensor* self, int64_t given, const int32_t* wanted, const char* name) {
  int dim = dimension(self, given);
  int32_t dtype =
      wanted ? *wanted
      : is_real(self->dtype) || self->dtype == kComplexFloat || self->dtype == kComplexDouble
          ? self->dtype
          : kInt64;
  Owned from(contiguous(const_cast<Tensor*>(self), dtype));
  Owned to(new_tensor(dtype, self->ndim, self->sizes()));
  if (!to->numel) return to.take();
  Shape shape(to.tensor, dim);
  Step step;
  switch (dtype) {  // whole numbers wrap, with or without a sign
    case kUInt8:
    case kInt8:
      scan_as<uint8_t, uint8_t>(from.tensor, to.tensor, shape, step);
      break;
    case kInt16:
      scan_as<uint32_t, uint16_t>(from.tensor, to.tensor, shape, step);
      break;
    case kInt32:
      scan_as<uint32_t, uint32_t>(from.tensor, to.tensor, shape, step);
      break;
    case kInt64:
      scan_as<uint64_t, uint64_t>(from.tensor, to.tensor, shape, step);
      break;
    case kHalf:
      scan_as<float, c10::Half>(from.tensor, to.tensor, shape, step);
      break;
    case kBFloat16:
      scan_as<float, c10::BFloat16>(from.tensor, to.tensor, shape, step);
      break;
    case kFloat:
      scan_as<double, float>(from.tensor, to.tensor, shape, step);
      break;
    case kDouble:
      scan_as<double, double>(from.tensor, to.tensor, shape, step);
      break;
    case kComplexFloat:
      scan_as<std::complex<double>, std::complex<float>>(from.tensor, to.tensor, shape, step);
      break;
    case kComplexDouble:
      scan_as<std::complex<double>, std::complex<double>>(from.tensor, to.tensor, shape, step);
      break;
    default:
      refuse(name, dtype);
  }
  return to.take();
}

// A later one of equal values takes the place of an earlier one, and NaN that of any number.
template <bool kLargest, typename T>
void best_of_line(const T* from, int64_t from_step, int64_t length, T* values, int64_t value_step,
                  int64_t* indices, int64_t index_step) {
  using Number = std::conditional_t<std::is_arithmetic_v<T>, T, float>;
  T kept = from[0];
  Number best = kept;
  int64_t position = 0;
  for (int64_t i = 0; i < length; i++) {
    T value = from[i * from_step];
    Number number = value;
    if ((kLargest ? number >= best : number <= best) || number != number) [[unlikely]] {
      kept = value;
      best = number;
      position = i;
    }
    values[i * value_step] = kept;
    indices[i * index_step] = position;
  }
}

template <bool kLargest>
void running_best(const Tensor* self, int64_t given, const char* name, AtenTensorHandle* first,
                  AtenTensorHandle* second) {
  int dim = dimension(self, given);
  Owned values(new_tensor(self->dtype, self->ndim, self->sizes()));
  Owned indices(new_tensor(kInt64, self->ndim, self->sizes()));
  Lines<3> lines({self, values.tensor, indices.tensor}, dim);
  auto as = [&](auto sample) {
    using T = decltype(sample);
    if (!self->numel) return;
    lines.run([&](int, const auto& at) {
      best_of_line<kLargest>(self->as<T>() + at[0], lines.step(0), lines.length(),
                             values->as<T>() + at[1], lines.step(1), indices->as<int64_t>() + at[2],
                             lines.step(2));
    });
  };
  int32_t dtype = self->dtype == kBool ? static_cast<int32_t>(kUInt8) : self->dtype;
  if (!with_integer(dtype, as) && !with_real(dtype, as)) refuse(name, dtype);
  *first = values.take();
  *second = indices.take();
}

}  // namespace

AOTITorchError aoti_torch_cpu_cumsum(AtenTensorHandle self, int64_t dim, int32_t* dtype,
                                     AtenTensorHandle* result) {
  *result = scanned<Add>(self, dim, dtype, "cumsum");
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_cumprod(AtenTensorHandle self, int64_t dim, int32_t* dtype,
                                      AtenTensorHandle* result) {
  *result = scanned<Multiply>(self, dim, dtype, "cumprod");
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_cummax(AtenTensorHandle self, int64_t dim, AtenTensorHandle* values,
                                     AtenTensorHandle* indices) {
  running_best<true>(self, dim, "cummax", values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_cummin(AtenTensorHandle self, int64_t dim, AtenTensorHandle* values,
                                     AtenTensorHandle* indices) {
  running_best<false>(self, dim, "cummin", values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_logcumsumexp(AtenTensorHandle self, int64_t given,
                                           AtenTensorHandle* result) {
  int dim = dimension(self, given);
  if (!is_real(self->dtype)) refuse("logcumsumexp", self->dtype);
  Owned from(contiguous(self, self->dtype));
  Owned to(new_tensor(self->dtype, self->ndim, self->sizes()));
  Shape shape(to.tensor, dim);
  AddExponentials step;
  const double start = -std::numeric_limits<double>::infinity();
  auto as = [&](auto sum, auto value) {
    using T = decltype(value);
    scan(from->as<T>(), to->as<T>(), shape, static_cast<decltype(sum)>(start), step);
  };
  if (!to->numel) {
  } else if (self->dtype == kHalf) {
    as(float{}, c10::Half{});
  } else if (self->dtype == kBFloat16) {
    as(float{}, c10::BFloat16{});
  } else if (self->dtype == kFloat) {
    as(double{}, float{});
  } else {
    as(double{}, double{});
  }
  *result = to.take();
  return AOTI_TORCH_SUCCESS;
}
