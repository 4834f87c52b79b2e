// Values written to, or combined with, elements at given positions of a dimension.

#include "dtypes.h"
#include "layout.h"
#include "order.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

using namespace aotbuild::standalone;

namespace {

enum class Way { put, sum, mean, prod, amax, amin };

Way way_of(const std::string& name, bool with_sum) {
  if (name == "sum" && with_sum) return Way::sum;
  if (name == "mean") return Way::mean;
  if (name == "prod") return Way::prod;
  if (name == "amax") return Way::amax;
  if (name == "amin") return Way::amin;
  throw std::runtime_error(
      with_sum ? "reduce argument must be either sum, prod, mean, amax or amin, got " + name
               : "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got " +
                     name + ".");
}

// A scatter: values of `source` go to `out`, at positions of one dimension.
struct Scatter {
  Tensor* out;
  const Tensor* index;  // of int64
  const Tensor* source;
  int dim;

  // The part of one thread: its rows, and where they start in the three tensors.
  struct Piece {
    Walk<3> walk;
    std::array<int64_t, 3> start;
  };

  // Elements that go to one place do so in the order of the dimension: threads share out another
  // one.
  std::vector<Piece> pieces() const {
    Sizes sizes = sizes_of(index);
    std::array<Sizes, 3> strides = {strides_of(out), strides_of(index), strides_of(source)};
    strides[0][dim] = 0;
    int shared = -1;
    for (int i = 0; i < index->ndim; i++)
      if (i != dim && (shared < 0 || sizes[i] > sizes[shared])) shared = i;
    int64_t parts = shared < 0 ? 1 : sizes[shared];
    int threads = workers(index->numel, parts);
    std::vector<Piece> made;
    for (int i = 0; i < threads; i++) {
      int64_t first = parts * i / threads, last = parts * (i + 1) / threads;
      Sizes some = sizes;
      std::array<int64_t, 3> start = {};
      if (shared >= 0) {
        some[shared] = last - first;
        for (int k = 0; k < 3; k++) start[k] = first * strides[k][shared];
      }
      made.push_back(
          {Walk<3>(some, {strides[0].data(), strides[1].data(), strides[2].data()}), start});
    }
    return made;
  }

  template <typename T, typename From = T, typename F>
  void each(F&& use) const {
    std::vector<Piece> all = pieces();  // nothing may be thrown within the region below
    int threads = static_cast<int>(all.size());
    int64_t step = out->strides()[dim];
#pragma omp parallel for num_threads(threads)
    for (int i = 0; i < threads; i++) {
      const Walk<3>& walk = all[i].walk;
      T* to = out->as<T>() + all[i].start[0];
      const int64_t* at = index->as<int64_t>() + all[i].start[1];
      const From* from = source->as<From>() + all[i].start[2];
      int64_t count = walk.inner();
      auto [a, b, c] = walk.step();
      walk.run([=, a = a, b = b, c = c](const auto& offsets) {
        row(to + offsets[0], at + offsets[1], from + offsets[2], count, a, b, c, step, use);
      });
    }
  }

 private:
  // The strides are those of the target without the dimension, of its positions, and of values.
  template <typename T, typename From, typename F>
  static void row(T* to, const int64_t* at, const From* from, int64_t count, int64_t a, int64_t b,
                  int64_t c, int64_t step, F& use) {
    if (b == 0 && a == 1 && c == 1) {  // one position for the whole row
      to += *at * step;
#pragma omp simd
      for (int64_t i = 0; i < count; i++) use(to[i], from[i]);
    } else if (a == 0 && b == 1 && c == 1 && step == 1) {
      for (int64_t i = 0; i < count; i++) use(to[at[i]], from[i]);
    } else {
      for (int64_t i = 0; i < count; i++) use(to[i * a + at[i * b] * step], from[i * c]);
    }
  }
};

template <typename T>
constexpr bool is_complex = false;
template <typename T>
constexpr bool is_complex<std::complex<T>> = true;

template <typename T>
T product(const T& a, const T& b) {
  if constexpr (is_complex<T>)
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
  else
    return static_cast<T>(a * b);
}

template <typename T>
bool is_nan(T value) {
  if constexpr (std::is_integral_v<T>)
    return false;
  else
    return std::isnan(static_cast<float>(value));
}

template <>
bool is_nan(double value) {
  return std::isnan(value);
}

// What does not change a result.
template <typename T>
T neutral(Way way) {
  if (way == Way::prod) return T(1);
  if constexpr (!is_complex<T>) {
    using Limits = std::numeric_limits<T>;
    if (way == Way::amax)
      return Limits::has_infinity ? static_cast<T>(-Limits::infinity()) : Limits::lowest();
    if (way == Way::amin) return Limits::has_infinity ? Limits::infinity() : Limits::max();
  }
  return T(0);
}

// The values may be of a narrower type.
template <typename T, typename From = T>
void combine(const Scatter& all, Way way, bool start_anew) {
  if (start_anew) {
    T start = neutral<T>(way);
    all.each<T, From>([=](T& to, const From&) { to = start; });
  }
  if constexpr (!is_complex<T>) {
    if (way == Way::amax)
      return all.each<T, From>([](T& to, From given) {
        T from = given;
        to = is_nan(from) ? from : std::max(to, from);
      });
    if (way == Way::amin)
      return all.each<T, From>([](T& to, From given) {
        T from = given;
        to = is_nan(from) ? from : std::min(to, from);
      });
  }
  if (way == Way::prod)
    all.each<T, From>([](T& to, const From& from) { to = product<T>(to, from); });
  else
    all.each<T, From>([](T& to, const From& from) { to = static_cast<T>(to + from); });
}

// Calls `use` with a value of the tensor's type; `name` is the operator's.
template <typename F>
void with_number(int32_t dtype, const char* name, bool complex, F&& use) {
  if (with_integer(dtype, use) || with_real(dtype, use)) return;
  if (complex && dtype == kComplexFloat) return use(std::complex<float>{});
  if (complex && dtype == kComplexDouble) return use(std::complex<double>{});
  refuse(name, dtype);
}

template <typename T>
T divided(T sum, T count) {
  if constexpr (std::is_integral_v<T>) {
    T quotient = static_cast<T>(sum / count);
    return static_cast<T>(quotient - (sum % count != 0 && (sum < 0) != (count < 0)));
  } else {
    return sum / count;
  }
}

// Divides by how many values there were, counted in the same type as torch counts them.
void divide(Tensor* out, const Tensor* counts) {
  Walk<2> walk(sizes_of(out), {out->strides(), counts->strides()});
  with_number(out->dtype, "a mean", true, [&](auto sample) {
    using T = decltype(sample);
    walk.run([&](const auto& at) {
      T* sums = out->as<T>() + at[0];
      const T* numbers = counts->as<T>() + at[1];
      for (int64_t i = 0; i < walk.inner(); i++) {
        T count = numbers[i * walk.step()[1]];
        T& sum = sums[i * walk.step()[0]];
        sum = divided(sum, count == T(0) ? T(1) : count);
      }
    });
  });
}

// A tensor of one number, of the sizes of another one.
Tensor* filled(const Tensor* like, int32_t dtype, double value, bool single) {
  Owned one(new_tensor(kDouble, 0, nullptr));
  *one->as<double>() = value;
  Owned number(contiguous(one.tensor, dtype));
  Owned whole(expand(number.tensor, sizes_of(like), ""));
  if (single) return whole.take();
  Owned made(new_tensor(dtype, like->ndim, like->sizes()));
  copy(made.tensor, whole.tensor);
  return made.take();
}

// Sums of 16-bit floats are kept in 32 bits until the last one.
void reduce(Tensor* out, const Tensor* index, const Tensor* source, int dim, Way way,
            bool include_self) {
  if (out->dtype == kHalf || out->dtype == kBFloat16) {
    Owned wide(contiguous(out, kFloat));
    Scatter all{wide.tensor, index, source, dim};
    if (out->dtype == kHalf)
      combine<float, c10::Half>(all, way, !include_self);
    else
      combine<float, c10::BFloat16>(all, way, !include_self);
    copy(out, wide.tensor);
    return;
  }
  Scatter all{out, index, source, dim};
  if (out->dtype == kBool && way != Way::mean) {
    // Sums and largest values are "or", products and smallest ones "and".
    if (way == Way::sum || way == Way::amax)
      way = Way::amax;
    else
      way = Way::amin;
    if (!include_self) all.each<bool>([=](bool& to, bool) { to = way == Way::amin; });
    combine<uint8_t>(all, way, false);
    return;
  }
  with_number(out->dtype, "scatter_reduce", way == Way::sum || way == Way::prod || way == Way::mean,
              [&](auto sample) { combine<decltype(sample)>(all, way, !include_self); });
}

// Checks what torch checks, and gives the positions as int64.
Tensor* checked(const Tensor* self, int dim, const Tensor* index, const Tensor* source) {
  if (index->dtype != kInt64 && index->dtype != kInt32)
    throw std::runtime_error("scatter(): Expected dtype int32/int64 for index");
  if (source && source->dtype != self->dtype)
    throw std::runtime_error("scatter(): Expected self.dtype to be equal to src.dtype");
  Owned positions(contiguous(const_cast<Tensor*>(index), kInt64));
  if (!index->numel) return positions.take();
  if (index->ndim != self->ndim && std::max(index->ndim, 1) != std::max(self->ndim, 1))
    throw std::runtime_error("Index tensor must have the same number of dimensions as self tensor");
  if (source && std::max(index->ndim, 1) != std::max(source->ndim, 1))
    throw std::runtime_error("Index tensor must have the same number of dimensions as src tensor");
  bool fits = true, covered = true;
  for (int i = 0; i < index->ndim; i++) {
    int64_t size = index->sizes()[i];
    fits &= i == dim || size <= (self->ndim ? self->sizes()[i] : 1);
    covered &= !source || size <= (source->ndim ? source->sizes()[i] : 1);
  }
  if (!fits || !covered)
    throw std::runtime_error(
        "Expected index " + text_of(sizes_of(index)) + " to be no larger than self " +
        text_of(sizes_of(self)) + " apart from dimension " + std::to_string(dim) +
        (source ? " and to be no larger size than src " + text_of(sizes_of(source)) : ""));
  int64_t size = self->ndim ? self->sizes()[dim] : 1;
  const int64_t* values = positions->as<int64_t>();
  int64_t wrong = first_outside(values, positions->numel, size);
  if (wrong < positions->numel) out_of_bounds(values[wrong], dim, size);
  return positions.take();
}

// A tensor without dimensions as a list of one element.
Tensor* listed(const Tensor* tensor) {
  int64_t one = 1;
  if (tensor->ndim)
    return tensor_over(share(tensor->storage), tensor->offset, tensor->dtype, tensor->ndim,
                       tensor->sizes(), tensor->strides());
  return tensor_over(share(tensor->storage), tensor->offset, tensor->dtype, 1, &one, &one);
}

void scatter(Tensor* given_out, const Tensor* self, int64_t given, const Tensor* given_index,
             const Tensor* given_source, Way way, bool include_self) {
  int dim = dimension(self, given);
  Owned positions(checked(self, dim, given_index, given_source));
  if (way == Way::mean && self->dtype == kBool) refuse("scatter_reduce", self->dtype);
  if (given_out->data() != self->data()) copy(given_out, self);
  if (!positions->numel) return;
  Owned out(listed(given_out)), index(listed(positions.tensor)), source(listed(given_source));
  if (way == Way::put) {
    Scatter all{out.tensor, index.tensor, source.tensor, dim};
    with_size(self->itemsize, [&](auto sample) {
      using T = decltype(sample);
      all.each<T>([](T& to, const T& from) { to = from; });
    });
    return;
  }
  reduce(out.tensor, index.tensor, source.tensor, dim, way, include_self);
  if (way != Way::mean) return;
  Owned counts(filled(out.tensor, self->dtype, include_self, false));
  Owned ones(filled(source.tensor, self->dtype, 1, true));
  reduce(counts.tensor, index.tensor, ones.tensor, dim, Way::sum, true);
  divide(out.tensor, counts.tensor);
}

}  // namespace

AOTITorchError aoti_torch_scatter_out(AtenTensorHandle out, AtenTensorHandle self, int64_t dim,
                                      AtenTensorHandle index, AtenTensorHandle source) {
  scatter(out, self, dim, index, source, Way::put, true);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_scatter_src_out(AtenTensorHandle out, AtenTensorHandle self,
                                              int64_t dim, AtenTensorHandle index,
                                              AtenTensorHandle source) {
  return aoti_torch_scatter_out(out, self, dim, index, source);
}

AOTITorchError aoti_torch_cpu_scatter_value_out(AtenTensorHandle out, AtenTensorHandle self,
                                                int64_t dim, AtenTensorHandle index, double value) {
  Owned values(filled(index, self->dtype, value, true));
  return aoti_torch_scatter_out(out, self, dim, index, values.tensor);
}

AOTITorchError aoti_torch_scatter_reduce_out(AtenTensorHandle out, AtenTensorHandle self,
                                             int64_t dim, AtenTensorHandle index,
                                             AtenTensorHandle source, const char* name,
                                             int32_t include_self) {
  scatter(out, self, dim, index, source, way_of(name, true), include_self);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_scatter_reduce_two_out(AtenTensorHandle out, AtenTensorHandle self,
                                                     int64_t dim, AtenTensorHandle index,
                                                     AtenTensorHandle source, const char* name,
                                                     int32_t include_self) {
  return aoti_torch_scatter_reduce_out(out, self, dim, index, source, name, include_self);
}

AOTITorchError aoti_torch_cpu_index_reduce(AtenTensorHandle self, int64_t given,
                                           AtenTensorHandle index, AtenTensorHandle source,
                                           const char* name, int32_t include_self,
                                           AtenTensorHandle* result) {
  int dim = dimension(self, given);
  Way way = way_of(name, false);
  if (index->ndim > 1)
    throw std::runtime_error("index_reduce_(): Index is supposed to be a vector");
  if (index->dtype != kInt64 && index->dtype != kInt32)
    throw std::runtime_error("index_reduce_(): Expected dtype int32/int64 for index");
  if (self->dtype != source->dtype)
    throw std::runtime_error("index_reduce_(): self and source expected to have the same dtype");
  int64_t count = source->ndim ? source->sizes()[dim] : 1;
  if (index->numel != count)
    throw std::runtime_error("index_reduce_(): Number of indices (" + std::to_string(index->numel) +
                             ") should be equal to source.size(dim): (" + std::to_string(count) +
                             "), for dim: " + std::to_string(dim));
  if (without(sizes_of(self), dim) != without(sizes_of(source), dim))
    throw std::runtime_error(
        "source tensor shape must match self tensor shape, excluding the specified dimension. Got "
        "self.shape = " +
        text_of(sizes_of(self)) + " source.shape = " + text_of(sizes_of(source)));
  Owned made(new_tensor(self->dtype, self->ndim, self->sizes()));
  copy(made.tensor, self);
  Owned positions(contiguous(index, kInt64));
  int64_t size = self->ndim ? self->sizes()[dim] : 1;
  if (first_outside(positions->as<int64_t>(), positions->numel, size) < positions->numel)
    throw std::runtime_error("index out of range in self");
  Owned out(listed(made.tensor)), values(listed(source));
  // The index of a slice counts for each of its elements.
  Sizes strides(out->ndim, 0);
  strides[dim] = 1;
  Owned wide(tensor_over(share(positions->storage), positions->offset, kInt64, values->ndim,
                         values->sizes(), strides.data()));
  // Torch takes further dtypes where it works with slices instead of single elements.
  bool slices = self->ndim > 1;
  if (self->dtype == kBool && slices && way != Way::mean && include_self) {
    if (wide->numel) reduce(out.tensor, wide.tensor, values.tensor, dim, way, true);
  } else if (wide->numel) {
    bool complex = slices && include_self && (way == Way::prod || way == Way::mean);
    with_number(self->dtype, "index_reduce", complex, [&](auto sample) {
      using T = decltype(sample);
      combine<T>({out.tensor, wide.tensor, values.tensor, dim}, way, !include_self);
      if (way != Way::mean) return;
      Owned counts(filled(out.tensor, self->dtype, include_self, false));
      Owned ones(filled(values.tensor, self->dtype, 1, true));
      combine<T>({counts.tensor, wide.tensor, ones.tensor, dim}, Way::sum, false);
      divide(out.tensor, counts.tensor);
    });
  }
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}
