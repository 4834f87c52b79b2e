// Pooling: the largest or the mean value of windows in two or three dimensions.

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "dtypes.h"
#include "layout.h"
#include "memory_formats.h"

using namespace aotbuild::standalone;

namespace {

constexpr int kBlock = 64;     // channels at a time
constexpr int64_t kOften = 8;  // times that an element is read
constexpr int64_t kFew = 8;    // channels

// The windows along one dimension.
struct Axis {
  int64_t in, out, step = 1;
  std::vector<int64_t> first, last;  // of each window, inside of the tensor
  std::vector<int64_t> padded;       // elements of it, with those of the padding
};
using Axes = std::array<Axis, 3>;

struct Pool {
  const char* name;
  std::vector<int64_t> kernel, stride, padding, dilation;
  bool ceil, include_pad;
  int64_t divisor;  // 0: how many elements the window has
};

Axis sliding(const Pool& pool, int i, int64_t in) {
  int64_t kernel = pool.kernel[i], stride = pool.stride[i], padding = pool.padding[i];
  int64_t dilation = pool.dilation[i], reach = dilation * (kernel - 1) + 1;
  if (kernel < 1 || stride < 1 || dilation < 1)
    throw std::runtime_error(std::string(pool.name) +
                             ": kernel, stride, dilation must be positive");
  if (padding < 0 || padding > reach / 2)
    throw std::runtime_error(std::string(pool.name) + ": padding is at most half of the kernel");
  int64_t room = in + 2 * padding - reach + (pool.ceil ? stride - 1 : 0);
  Axis axis;
  axis.in = in;
  axis.out = room < 0 ? 0 : room / stride + 1;
  // A window does not begin in the padding at the end.
  if (pool.ceil && (axis.out - 1) * stride >= in + padding) axis.out--;
  if (axis.out < 1)
    throw std::runtime_error(std::string(pool.name) + ": the output would have no elements");
  axis.step = dilation;
  for (int64_t o = 0; o < axis.out; o++) {
    int64_t first = o * stride - padding, last = std::min(first + reach, in + padding);
    axis.padded.push_back(last - first);
    if (first < 0) first += (-first + dilation - 1) / dilation * dilation;
    axis.first.push_back(first);
    axis.last.push_back(std::min(last, in));
  }
  return axis;
}

Axis adaptive(int64_t in, int64_t out) {
  if (out < 0) throw std::runtime_error("a pool's output size is negative");
  Axis axis{in, out, 1, {}, {}, {}};
  for (int64_t o = 0; o < out; o++) {
    axis.first.push_back(o * in / out);
    axis.last.push_back(((o + 1) * in + out - 1) / out);
    axis.padded.push_back(axis.last.back() - axis.first.back());
  }
  return axis;
}

// A tensor as [batch, channels, depth, height, width].
struct Field {
  int64_t batch, channels;
  int64_t n, c;  // strides
  bool last;     // channels are innermost
};

// Whether a value takes the place of the largest one; NaN does.
template <typename T>
bool beats(T value, T most) {
  if constexpr (std::is_integral_v<T>) return value > most;
  return (value > most) | (value != value);
}

template <typename T>
constexpr T lowest() {
  if constexpr (std::is_integral_v<T>) return std::numeric_limits<T>::lowest();
  return -std::numeric_limits<T>::infinity();
}

// Calls `use(offset)` for the elements of a window, with the offset in a plane.
template <typename F>
void in_window(const Axes& axes, const std::array<int64_t, 3>& at, F&& use) {
  for (int64_t d = axes[0].first[at[0]]; d < axes[0].last[at[0]]; d += axes[0].step)
    for (int64_t h = axes[1].first[at[1]]; h < axes[1].last[at[1]]; h += axes[1].step)
      for (int64_t w = axes[2].first[at[2]]; w < axes[2].last[at[2]]; w += axes[2].step)
        use((d * axes[1].in + h) * axes[2].in + w);
}

int64_t first_of(const Axes& axes, const std::array<int64_t, 3>& at) {
  return (axes[0].first[at[0]] * axes[1].in + axes[1].first[at[1]]) * axes[2].in +
         axes[2].first[at[2]];
}

std::array<int64_t, 3> place(const Axes& axes, int64_t o) {
  return {o / axes[2].out / axes[1].out, o / axes[2].out % axes[1].out, o % axes[2].out};
}

// Runs over parts of the output: `use(n, c, count, at, o)` for `count` channels of one window.
template <typename F>
void each_window(const Field& field, const Axes& axes, F&& use) {
  int64_t windows = axes[0].out * axes[1].out * axes[2].out;
  int64_t elements = field.batch * field.channels * windows, blocks = 1;
  if (field.last) blocks = (field.channels + kBlock - 1) / kBlock;
  int64_t planes = field.last ? field.batch : field.batch * field.channels;
  int64_t rows = axes[0].out * axes[1].out, all = planes * rows;
#pragma omp parallel for num_threads(workers(elements * 8, all))
  for (int64_t i = 0; i < all; i++) {
    int64_t plane = i / rows, row = i % rows;
    for (int64_t o = row * axes[2].out; o < (row + 1) * axes[2].out; o++) {
      auto at = place(axes, o);
      if (!field.last) {
        use(plane / field.channels, plane % field.channels, 1, at, o);
        continue;
      }
      for (int64_t b = 0; b < blocks; b++)
        use(plane, b * kBlock, std::min<int64_t>(kBlock, field.channels - b * kBlock), at, o);
    }
  }
}

template <typename T>
void largest(const Tensor* from, Tensor* to, Tensor* indices, const Field& field,
             const Axes& axes) {
  const T* values = from->as<T>();
  T* best = to->as<T>();
  int64_t* found = indices->as<int64_t>();
  int64_t windows = axes[0].out * axes[1].out * axes[2].out;
  each_window(field, axes, [&](int64_t n, int64_t c, int64_t count, const auto& at, int64_t o) {
    const T* source = values + n * field.n + c * field.c;
    using W = Computed<T>;
    if (!field.last) {
      W most = lowest<W>();
      int64_t index = first_of(axes, at);
      in_window(axes, at, [&](int64_t i) {
        W value = source[i];
        if (beats(value, most)) most = value, index = i;
      });
      int64_t target = (n * field.channels + c) * windows + o;
      best[target] = static_cast<T>(most), found[target] = index;
      return;
    }
    // As wide as the values, so that a vector has as many of both; planes are not that large.
    using Index = std::conditional_t<sizeof(W) == 8, int64_t, int32_t>;
    W most[kBlock];
    Index index[kBlock];
    std::fill_n(most, count, lowest<W>());
    std::fill_n(index, count, static_cast<Index>(first_of(axes, at)));
    in_window(axes, at, [&](int64_t i) {
      const T* line = source + i * field.channels;
      Index here = static_cast<Index>(i);
#pragma omp simd
      for (int64_t k = 0; k < count; k++) {
        W value = line[k];
        bool better = beats(value, most[k]);
        most[k] = better ? value : most[k];
        index[k] = better ? here : index[k];
      }
    });
    int64_t target = (n * windows + o) * field.channels + c;
    for (int64_t k = 0; k < count; k++)
      best[target + k] = static_cast<T>(most[k]), found[target + k] = index[k];
  });
}

template <typename T>
void mean(const Tensor* from, Tensor* to, const Field& field, const Axes& axes, bool include_pad,
          int64_t divisor) {
  const T* values = from->as<T>();
  T* results = to->as<T>();
  int64_t windows = axes[0].out * axes[1].out * axes[2].out;
  each_window(field, axes, [&](int64_t n, int64_t c, int64_t count, const auto& at, int64_t o) {
    const T* source = values + n * field.n + c * field.c;
    using W = Computed<T>;
    int64_t inside = 1, padded = 1;
    for (int i = 0; i < 3; i++) {
      inside *= std::max<int64_t>(axes[i].last[at[i]] - axes[i].first[at[i]], 0);
      padded *= axes[i].padded[at[i]];
    }
    W share = static_cast<W>(divisor ? divisor : include_pad ? padded : inside);
    if (!inside) share = 1;
    if (!field.last) {
      W sum = 0;
      in_window(axes, at, [&](int64_t i) { sum += source[i]; });
      results[(n * field.channels + c) * windows + o] = static_cast<T>(sum / share);
      return;
    }
    W sum[kBlock];
    std::fill_n(sum, count, W(0));
    in_window(axes, at, [&](int64_t i) {
      const T* line = source + i * field.channels;
#pragma omp simd
      for (int64_t k = 0; k < count; k++) sum[k] += line[k];
    });
    int64_t target = (n * windows + o) * field.channels + c;
    for (int64_t k = 0; k < count; k++) results[target + k] = static_cast<T>(sum[k] / share);
  });
}

template <typename F>
void with_any(int32_t dtype, const char* name, F&& use) {
  if (!with_integer(dtype, use) && !with_real(dtype, use)) refuse(name, dtype);
}

// The tensor as it is read, its layout, and the result's.
struct Laid {
  Laid(Tensor* tensor, int spatial, bool keeps_channels_last, const char* name) : input(nullptr) {
    if (tensor->ndim != spatial + 1 && tensor->ndim != spatial + 2)
      throw std::runtime_error(std::string(name) + " takes tensors of " +
                               std::to_string(spatial + 1) + " or " + std::to_string(spatial + 2) +
                               " dimensions");
    batched = tensor->ndim == spatial + 2;
    for (int d = batched; d < tensor->ndim; d++)
      if (!tensor->sizes()[d])
        throw std::runtime_error(std::string(name) + ": only the batch can be empty");
    sizes = sizes_of(tensor);
    field.batch = batched ? sizes[0] : 1;
    field.channels = sizes[batched];
    field.last = last = keeps_channels_last && batched && is_channels_last(tensor);
    int64_t plane = 1;
    for (int d = 0; d < spatial; d++) plane *= sizes[batched + 1 + d];
    if (plane > INT32_MAX) throw std::runtime_error(std::string(name) + " of a plane that large");
    field.n = field.channels * plane;
    field.c = field.last ? 1 : plane;
    for (int d = 0; d < 3; d++)
      in[d] = d < 3 - spatial ? 1 : sizes[batched + 1 + d - (3 - spatial)];
    if (field.last)
      turn(tensor);
    else
      input.tensor = contiguous(tensor, tensor->dtype);
  }

  // Takes the channels innermost where windows overlap so much that it pays for the copies: the
  // loops over them are over vectors.
  void suit(const Axes& axes) {
    int64_t work = 1, plane = 1;
    for (const Axis& axis : axes) {
      int64_t all = 0;
      for (int64_t o = 0; o < axis.out; o++) all += (axis.last[o] - axis.first[o]) / axis.step;
      work *= all;
      plane *= axis.in;
    }
    if (field.last || !batched || work < kOften * plane || field.channels < kFew) return;
    Owned plain(input.take());
    turn(plain.tensor);
  }

  // The result as it is given away.
  Tensor* finished(Owned& result) const {
    return field.last == last ? result.take() : contiguous(result.tensor, result->dtype);
  }

  void turn(Tensor* tensor) {
    field.last = true;
    field.c = 1;
    Sizes strides = channels_last(sizes);
    if (std::equal(strides.begin(), strides.end(), tensor->strides())) {
      input.tensor = tensor_over(share(tensor->storage), tensor->offset, tensor->dtype,
                                 tensor->ndim, sizes.data(), strides.data());
    } else {
      input.tensor = new_tensor(tensor->dtype, tensor->ndim, sizes.data(), strides.data());
      copy(input.tensor, tensor);
    }
  }

  Tensor* result(const Axes& axes, int spatial, int32_t dtype) const {
    Sizes out = sizes;
    for (int d = 0; d < spatial; d++) out[out.size() - spatial + d] = axes[3 - spatial + d].out;
    Sizes strides = field.last ? channels_last(out) : Sizes();
    return new_tensor(dtype, static_cast<int64_t>(out.size()), out.data(),
                      field.last ? strides.data() : nullptr);
  }

  Owned input;
  Sizes sizes;
  Field field;
  bool batched, last;  // whether the channels are innermost in the result
  std::array<int64_t, 3> in;
};

// One number stands for all dimensions.
std::vector<int64_t> expanded(const int64_t* given, int64_t count, int spatial,
                              std::vector<int64_t> missing, const char* name) {
  if (!count && !missing.empty()) return missing;
  if (count == 1) return std::vector<int64_t>(spatial, given[0]);
  if (count != spatial)
    throw std::runtime_error(std::string(name) + " takes one number, or one per dimension");
  return {given, given + count};
}

Axes sliding_axes(const Pool& pool, Laid& laid, int spatial) {
  Axes axes{adaptive(1, 1), adaptive(1, 1), adaptive(1, 1)};
  for (int d = 0; d < spatial; d++)
    axes[3 - spatial + d] = sliding(pool, d, laid.in[3 - spatial + d]);
  laid.suit(axes);
  return axes;
}

Axes adaptive_axes(const int64_t* out, int64_t count, Laid& laid, int spatial) {
  if (count != spatial) throw std::runtime_error("a pool needs an output size per dimension");
  Axes axes{adaptive(1, 1), adaptive(1, 1), adaptive(1, 1)};
  for (int d = 0; d < spatial; d++)
    axes[3 - spatial + d] = adaptive(laid.in[3 - spatial + d], out[d]);
  laid.suit(axes);
  return axes;
}

template <bool integers>
void store_largest(const Laid& laid, const Axes& axes, int spatial, const char* name,
                   AtenTensorHandle* values, AtenTensorHandle* places) {
  const Tensor* input = laid.input.tensor;
  Owned best(laid.result(axes, spatial, input->dtype));
  Owned found(laid.result(axes, spatial, kInt64));
  auto run = [&](auto zero) {
    largest<decltype(zero)>(input, best.tensor, found.tensor, laid.field, axes);
  };
  if constexpr (integers)
    with_any(input->dtype, name, run);
  else if (!with_real(input->dtype, run))
    refuse(name, input->dtype);
  *values = laid.finished(best);
  *places = laid.finished(found);
}

void max_pool(Tensor* self, int spatial, const Pool& pool, AtenTensorHandle* values,
              AtenTensorHandle* places) {
  Laid laid(self, spatial, true, pool.name);
  store_largest<true>(laid, sliding_axes(pool, laid, spatial), spatial, pool.name, values, places);
}

void adaptive_max_pool(Tensor* self, int spatial, const int64_t* out, int64_t count,
                       const char* name, AtenTensorHandle* values, AtenTensorHandle* places) {
  Laid laid(self, spatial, spatial == 2, name);
  store_largest<false>(laid, adaptive_axes(out, count, laid, spatial), spatial, name, values,
                       places);
}

Tensor* average(const Laid& laid, const Axes& axes, int spatial, const char* name, bool include_pad,
                int64_t divisor) {
  const Tensor* input = laid.input.tensor;
  Owned made(laid.result(axes, spatial, input->dtype));
  auto run = [&](auto zero) {
    mean<decltype(zero)>(input, made.tensor, laid.field, axes, include_pad, divisor);
  };
  if (input->dtype == kInt64)
    run(int64_t());
  else if (!with_real(input->dtype, run))
    refuse(name, input->dtype);
  return laid.finished(made);
}

Tensor* avg_pool(Tensor* self, int spatial, const Pool& pool) {
  Laid laid(self, spatial, spatial == 2, pool.name);
  return average(laid, sliding_axes(pool, laid, spatial), spatial, pool.name, pool.include_pad,
                 pool.divisor);
}

Tensor* adaptive_avg_pool(Tensor* self, int spatial, const int64_t* out, int64_t count,
                          const char* name) {
  if (self->dtype == kInt64) refuse(name, self->dtype);
  Laid laid(self, spatial, spatial == 2, name);
  return average(laid, adaptive_axes(out, count, laid, spatial), spatial, name, false, 0);
}

int64_t divisor_of(const int64_t* given) {
  if (given && !*given) throw std::runtime_error("a mean is divided by zero");
  return given ? *given : 0;
}

}  // namespace

#define MAX_POOL(spatial)                                                                        \
  AOTITorchError aoti_torch_cpu_max_pool##spatial##d_with_indices(                               \
      AtenTensorHandle self, const int64_t* kernel_size, int64_t kernel_size_len_,               \
      const int64_t* stride, int64_t stride_len_, const int64_t* padding, int64_t padding_len_,  \
      const int64_t* dilation, int64_t dilation_len_, int32_t ceil_mode, AtenTensorHandle* ret0, \
      AtenTensorHandle* ret1) {                                                                  \
    const char* name = "max_pool" #spatial "d";                                                  \
    auto kernel = expanded(kernel_size, kernel_size_len_, spatial, {}, name);                    \
    max_pool(self, spatial,                                                                      \
             {name, kernel, expanded(stride, stride_len_, spatial, kernel, name),                \
              expanded(padding, padding_len_, spatial, {}, name),                                \
              expanded(dilation, dilation_len_, spatial, {}, name), ceil_mode != 0, false, 0},   \
             ret0, ret1);                                                                        \
    return AOTI_TORCH_SUCCESS;                                                                   \
  }                                                                                              \
  AOTITorchError aoti_torch_cpu_adaptive_max_pool##spatial##d(                                   \
      AtenTensorHandle self, const int64_t* output_size, int64_t output_size_len_,               \
      AtenTensorHandle* ret0, AtenTensorHandle* ret1) {                                          \
    adaptive_max_pool(self, spatial, output_size, output_size_len_,                              \
                      "adaptive_max_pool" #spatial "d", ret0, ret1);                             \
    return AOTI_TORCH_SUCCESS;                                                                   \
  }

#define AVG_POOL(spatial)                                                                       \
  AOTITorchError aoti_torch_cpu_avg_pool##spatial##d(                                           \
      AtenTensorHandle self, const int64_t* kernel_size, int64_t kernel_size_len_,              \
      const int64_t* stride, int64_t stride_len_, const int64_t* padding, int64_t padding_len_, \
      int32_t ceil_mode, int32_t count_include_pad, int64_t* divisor_override,                  \
      AtenTensorHandle* ret0) {                                                                 \
    const char* name = "avg_pool" #spatial "d";                                                 \
    auto kernel = expanded(kernel_size, kernel_size_len_, spatial, {}, name);                   \
    *ret0 = avg_pool(                                                                           \
        self, spatial,                                                                          \
        {name, kernel, expanded(stride, stride_len_, spatial, kernel, name),                    \
         expanded(padding, padding_len_, spatial, {}, name), std::vector<int64_t>(spatial, 1),  \
         ceil_mode != 0, count_include_pad != 0, divisor_of(divisor_override)});                \
    return AOTI_TORCH_SUCCESS;                                                                  \
  }                                                                                             \
  AOTITorchError aoti_torch_cpu__adaptive_avg_pool##spatial##d(                                 \
      AtenTensorHandle self, const int64_t* output_size, int64_t output_size_len_,              \
      AtenTensorHandle* ret0) {                                                                 \
    *ret0 = adaptive_avg_pool(self, spatial, output_size, output_size_len_,                     \
                              "adaptive_avg_pool" #spatial "d");                                \
    return AOTI_TORCH_SUCCESS;                                                                  \
  }

MAX_POOL(2)
MAX_POOL(3)
AVG_POOL(2)
AVG_POOL(3)
