// Tensors: made, copied, converted.

#include "layout.h"
#include "tensor.h"

#include <algorithm>
#include <complex>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

namespace aotbuild::standalone {

int64_t size_of(int32_t dtype) {
  switch (dtype) {
    case kUInt8:
    case kInt8:
    case kBool:
    case kFloat8E5M2:
    case kFloat8E4M3:
    case kFloat8E5M2Fnuz:
    case kFloat8E4M3Fnuz:
    case kFloat8E8M0:
      return 1;
    case kInt16:
    case kUInt16:
    case kHalf:
    case kBFloat16:
      return 2;
    case kInt32:
    case kUInt32:
    case kFloat:
    case kComplexHalf:
      return 4;
    case kInt64:
    case kUInt64:
    case kDouble:
    case kComplexFloat:
      return 8;
    case kComplexDouble:
      return 16;
  }
  throw std::runtime_error("there is no dtype with the number " + std::to_string(dtype));
}

Tensor* tensor_over(Storage* storage, int64_t offset, int32_t dtype, int64_t ndim,
                    const int64_t* sizes, const int64_t* strides) {
  void* memory = std::malloc(sizeof(Tensor) + 2 * ndim * sizeof(int64_t));
  if (!memory) {  // the reference was taken over
    release(storage);
    throw std::bad_alloc();
  }
  Tensor* tensor =
      new (memory) Tensor{storage, offset, 1, size_of(dtype), dtype, static_cast<int32_t>(ndim)};
  for (int64_t i = 0; i < ndim; i++) tensor->numel *= tensor->sizes()[i] = sizes[i];
  int64_t next = 1;
  for (int64_t i = ndim - 1; i >= 0; i--) {
    tensor->strides()[i] = strides ? strides[i] : next;
    next *= sizes[i] > 1 ? sizes[i] : 1;
  }
  return tensor;
}

Tensor* new_tensor(int32_t dtype, int64_t ndim, const int64_t* sizes, const int64_t* strides) {
  int64_t last = 0, count = 1, next = 1;  // the last element, and how many there are
  for (int64_t i = ndim - 1; i >= 0; i--) {
    last += (sizes[i] - 1) * (strides ? strides[i] : next);
    count *= sizes[i];
    next *= sizes[i] > 1 ? sizes[i] : 1;
  }
  Storage* storage = allocate(count ? (last + 1) * size_of(dtype) : 0);
  return tensor_over(storage, 0, dtype, ndim, sizes, strides);
}

void destroy(Tensor* tensor) {
  release(tensor->storage);
  std::free(tensor);
}

Tensor* contiguous(Tensor* tensor, int32_t dtype) {
  if (tensor->dtype == dtype && is_contiguous(tensor))
    return tensor_over(share(tensor->storage), tensor->offset, dtype, tensor->ndim, tensor->sizes(),
                       tensor->strides());
  Owned made(new_tensor(dtype, tensor->ndim, tensor->sizes()));
  copy(made.tensor, tensor);
  return made.take();
}

bool is_contiguous(const Tensor* tensor) {
  int64_t expected = 1;
  for (int i = tensor->ndim - 1; i >= 0; i--) {
    int64_t size = tensor->sizes()[i];
    if (size == 1) continue;
    if (tensor->strides()[i] != expected) return tensor->numel == 0;
    expected *= size;
  }
  return true;
}

namespace {

// A conversion goes through a wider type, which holds each value exactly.
enum class Wide { integer, natural, real, complex };

Wide wide(int32_t dtype) {
  switch (dtype) {
    case kUInt64:
      return Wide::natural;
    case kHalf:
    case kBFloat16:
    case kFloat:
    case kDouble:
      return Wide::real;
    case kComplexFloat:
    case kComplexDouble:
      return Wide::complex;
    default:
      return Wide::integer;
  }
}

template <typename T>
constexpr bool is_complex = false;
template <typename T>
constexpr bool is_complex<std::complex<T>> = true;

template <typename To, typename From>
To converted(From value) {
  if constexpr (is_complex<To> && is_complex<From>)
    return To(value);
  else if constexpr (is_complex<To>)
    return To(static_cast<typename To::value_type>(value));
  else if constexpr (std::is_same_v<To, bool>)
    return value != From(0);
  else if constexpr (is_complex<From>)
    return converted<To>(value.real());
  else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>)
    // By way of int64, as torch does: negative values wrap.
    return static_cast<To>(static_cast<int64_t>(value));
  else if constexpr (std::is_arithmetic_v<To>)
    return static_cast<To>(value);
  else
    return To(static_cast<float>(value));  // 16-bit floats
}

template <typename W, typename T>
void load(const T* from, int64_t stride, int64_t count, W* to) {
  for (int64_t i = 0; i < count; i++) to[i] = converted<W>(from[i * stride]);
}

template <typename W, typename T>
void store(const W* from, int64_t count, T* to, int64_t stride) {
  for (int64_t i = 0; i < count; i++) to[i * stride] = converted<T>(from[i]);
}

// Calls `use` with the first element of a tensor's memory, as a pointer to the tensor's type.
template <typename F>
void with_type(const Tensor* tensor, F&& use) {
  switch (tensor->dtype) {
    case kUInt8:
      return use(tensor->as<uint8_t>());
    case kInt8:
      return use(tensor->as<int8_t>());
    case kInt16:
      return use(tensor->as<int16_t>());
    case kInt32:
      return use(tensor->as<int32_t>());
    case kInt64:
      return use(tensor->as<int64_t>());
    case kUInt16:
      return use(tensor->as<uint16_t>());
    case kUInt32:
      return use(tensor->as<uint32_t>());
    case kUInt64:
      return use(tensor->as<uint64_t>());
    case kBool:
      return use(tensor->as<bool>());
    case kHalf:
      return use(tensor->as<c10::Half>());
    case kBFloat16:
      return use(tensor->as<c10::BFloat16>());
    case kFloat:
      return use(tensor->as<float>());
    case kDouble:
      return use(tensor->as<double>());
    case kComplexFloat:
      return use(tensor->as<std::complex<float>>());
    case kComplexDouble:
      return use(tensor->as<std::complex<double>>());
  }
  throw std::runtime_error("dtype number " + std::to_string(tensor->dtype) +
                           " cannot be converted");
}

// Calls `use(to, from, count, to_stride, from_stride)` for each row.
template <typename F>
void each_row(const Tensor* to, const Tensor* from, F&& use) {
  Walk<2> walk(sizes_of(to), {to->strides(), from->strides()});
  walk.run(
      [&](const auto& at) { use(at[0], at[1], walk.inner(), walk.step()[0], walk.step()[1]); });
}

template <typename W>
void convert(Tensor* to, const Tensor* from) {
  W values[256];
  each_row(to, from, [&](int64_t a, int64_t b, int64_t count, int64_t sa, int64_t sb) {
    for (int64_t done = 0; done < count; done += std::size(values)) {
      int64_t some = std::min<int64_t>(count - done, std::size(values));
      with_type(from, [&](const auto* all) {
        using T = std::remove_const_t<std::remove_pointer_t<decltype(all)>>;
        if constexpr (is_complex<W> == is_complex<T>) load(all + b + done * sb, sb, some, values);
      });
      with_type(to, [&](auto* all) { store(values, some, all + a + done * sa, sa); });
    }
  });
}

}  // namespace

void copy(Tensor* to, const Tensor* from) {
  if (to->ndim != from->ndim || std::memcmp(to->sizes(), from->sizes(), to->ndim * sizeof(int64_t)))
    throw std::runtime_error("a tensor is copied into one of another shape");
  if (!to->numel) return;
  if (to->dtype == from->dtype) {
    with_size(to->itemsize, [&](auto sample) {
      constexpr int64_t size = sizeof sample;  // of an element, which may lie at any address
      each_row(to, from, [&](int64_t a, int64_t b, int64_t count, int64_t sa, int64_t sb) {
        char *target = to->data() + a * size, *source = from->data() + b * size;
        if (sa == 1 && sb == 1) {
          std::memmove(target, source, count * size);
          return;
        }
        for (int64_t i = 0; i < count; i++)
          std::memcpy(target + i * sa * size, source + i * sb * size, size);
      });
    });
    return;
  }
  switch (wide(from->dtype)) {
    case Wide::integer:
      return convert<int64_t>(to, from);
    case Wide::natural:
      return convert<uint64_t>(to, from);
    case Wide::real:
      return convert<double>(to, from);
    case Wide::complex:
      return convert<std::complex<double>>(to, from);
  }
}

void fill(Tensor* tensor, const Tensor* number) {
  std::vector<int64_t> still(tensor->ndim, 0);
  Owned same(tensor_over(share(number->storage), number->offset, number->dtype, tensor->ndim,
                         tensor->sizes(), still.data()));
  copy(tensor, same.tensor);
}

}  // namespace aotbuild::standalone
