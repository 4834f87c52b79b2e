// Elements that fulfil a condition, and their positions; positions in sorted lists.

#include "layout.h"

#include <algorithm>
#include <complex>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

using namespace aotbuild::standalone;

namespace {

// Whether numbers are other than zero, of which the sign does not count for floats.
template <typename T>
void differ_from_zero(const Tensor* tensor, bool* answers, uint64_t counted) {
  const T* values = tensor->as<T>();
  T bits = static_cast<T>(counted);
#pragma omp simd
  for (int64_t i = 0; i < tensor->numel; i++) answers[i] = (values[i] & bits) != 0;
}

// A contiguous tensor of bool.
Tensor* truth(const Tensor* given, const char* name) {
  Owned self(contiguous(const_cast<Tensor*>(given), given->dtype));
  if (self->dtype == kBool) return self.take();
  Owned made(new_tensor(kBool, self->ndim, self->sizes()));
  bool* answers = made->as<bool>();
  constexpr uint64_t all = ~uint64_t{0};
  switch (self->dtype) {
    case kUInt8:
    case kInt8:
      differ_from_zero<uint8_t>(self.tensor, answers, all);
      break;
    case kInt16:
      differ_from_zero<uint16_t>(self.tensor, answers, all);
      break;
    case kInt32:
      differ_from_zero<uint32_t>(self.tensor, answers, all);
      break;
    case kInt64:
      differ_from_zero<uint64_t>(self.tensor, answers, all);
      break;
    case kHalf:
    case kBFloat16:
      differ_from_zero<uint16_t>(self.tensor, answers, all >> 49);
      break;
    case kFloat:
      differ_from_zero<uint32_t>(self.tensor, answers, all >> 33);
      break;
    case kDouble:
      differ_from_zero<uint64_t>(self.tensor, answers, all >> 1);
      break;
    case kComplexFloat:
      differ_from_zero<uint64_t>(self.tensor, answers, 0x7FFFFFFF7FFFFFFF);
      break;
    case kComplexDouble: {
      const auto* values = self->as<std::complex<double>>();
      for (int64_t i = 0; i < self->numel; i++) answers[i] = values[i] != 0.0;
      break;
    }
    default:
      refuse(name, self->dtype);
  }
  return made.take();
}

int64_t count_of(const Tensor* mask) {  // a contiguous one
  const bool* values = mask->as<bool>();
  int64_t count = 0;
#pragma omp simd reduction(+ : count)
  for (int64_t i = 0; i < mask->numel; i++) count += values[i];
  return count;
}

// Writes the positions of the first true elements, each dimension in a column of its own.
void positions(const Tensor* mask, int64_t most, Tensor* result) {
  const bool* values = mask->as<bool>();
  int ndim = mask->ndim;
  if (!ndim || !most || !mask->numel) return;
  int64_t length = mask->sizes()[ndim - 1], rows = mask->numel / length, found = 0;
  int64_t row_step = result->strides()[0], column_step = result->strides()[1];
  int64_t* to = result->as<int64_t>();
  std::vector<int64_t> hits(length), at(ndim, 0);
  for (int64_t row = 0; row < rows && found < most; row++, values += length) {
    int64_t count = 0;
    for (int64_t i = 0; i < length; i++) {
      hits[count] = i;
      count += values[i];
    }
    count = std::min(count, most - found);
    int64_t* first = to + found * row_step;
    for (int dim = 0; dim + 1 < ndim; dim++)
      for (int64_t i = 0; i < count; i++) first[i * row_step + dim * column_step] = at[dim];
    int64_t* last = first + (ndim - 1) * column_step;
    for (int64_t i = 0; i < count; i++) last[i * row_step] = hits[i];
    found += count;
    for (int dim = ndim - 2; dim >= 0 && ++at[dim] == mask->sizes()[dim]; dim--) at[dim] = 0;
  }
}

[[noreturn]] void wrong(const std::string& message) { throw std::runtime_error(message); }

// A mask and a tensor, both of the sizes that they have together, the mask contiguous.
struct Masked {
  Sizes sizes;
  Owned self, mask;

  Masked(const Tensor* given, const Tensor* given_mask)
      : sizes(broadcast(given, given_mask)),
        self(expand(given, sizes, "")),
        mask(contiguous(Owned(expand(given_mask, sizes, "")).tensor, kBool)) {}
};

Tensor* selected(const Tensor* given, const Tensor* mask) {
  if (mask->dtype != kBool) wrong("masked_select: expected BoolTensor for mask");
  Masked both(given, mask);
  Owned self(contiguous(both.self.tensor, given->dtype));
  int64_t count = count_of(both.mask.tensor);
  Owned result(new_tensor(given->dtype, 1, &count));
  const bool* wanted = both.mask->as<bool>();
  with_size(given->itemsize, [&](auto sample) {
    using T = decltype(sample);
    const T* from = self->as<T>();
    T* to = result->as<T>();
    for (int64_t i = 0, found = 0; found < count; i++) {
      to[found] = from[i];
      found += wanted[i];
    }
  });
  return result.take();
}

// ---- Sorted lists ----

int rank_of(int32_t dtype) {
  switch (dtype) {
    case kBool:
      return 0;
    case kUInt8:
    case kInt8:
    case kInt16:
    case kInt32:
    case kInt64:
      return 1;
    case kHalf:
    case kBFloat16:
    case kFloat:
    case kDouble:
      return 2;
    default:
      refuse("searchsorted", dtype);
  }
}

int32_t promoted(int32_t a, int32_t b) {
  if (a == b) return a;
  if (rank_of(a) != rank_of(b)) return rank_of(a) > rank_of(b) ? a : b;
  if (rank_of(a) == 2) {
    if (size_of(a) == 2 && size_of(b) == 2) return kFloat;
    return size_of(a) > size_of(b) ? a : b;
  }
  if (a == kUInt8 || b == kUInt8) return a + b == kUInt8 + kInt8 ? kInt16 : a == kUInt8 ? b : a;
  return std::max(a, b);
}

// The dtype in which two tensors are compared: one without dimensions counts by its kind only.
int32_t common(const Tensor* a, const Tensor* b) {
  if ((a->ndim == 0) == (b->ndim == 0)) return promoted(a->dtype, b->dtype);
  const Tensor *wide = a->ndim ? a : b, *single = a->ndim ? b : a;
  return rank_of(single->dtype) > rank_of(wide->dtype) ? promoted(a->dtype, b->dtype) : wide->dtype;
}

struct Search {
  const Tensor *values, *bounds;  // contiguous, of one type
  const int64_t* sorter;
  bool right;
  int64_t lists, per_list;  // sorted lists, and values for each of them
};

constexpr int64_t kSearches = 16;  // side by side

// Whether each bound is at least the one before: NaN is not.
template <typename T>
bool in_order(const T* bounds, int64_t count) {
  bool order = bounds[0] == bounds[0];
  for (int64_t i = 1; i < count; i++) order &= bounds[i - 1] <= bounds[i];
  return order;
}

// Several searches at a time, since each of them waits for memory.
template <bool kRight, typename T, typename Index>
void search_together(const T* values, const T* bounds, int64_t length, Index* result) {
  int64_t base[kSearches] = {};
  auto before = [](T bound, T value) { return kRight ? !(bound > value) : !(bound >= value); };
  int64_t left = length;
  for (; left > 1; left -= left / 2) {
    int64_t half = left / 2;
    for (int64_t k = 0; k < kSearches; k++)
      base[k] += before(bounds[base[k] + half - 1], values[k]) ? half : 0;
  }
  for (int64_t k = 0; k < kSearches; k++)
    result[k] = static_cast<Index>(base[k] + before(bounds[base[k]], values[k]));
}

template <typename T, typename Index>
void search(const Search& all, Index* result) {
  const T *values = all.values->as<T>(), *bounds = all.bounds->as<T>();
  int64_t length = all.bounds->sizes()[all.bounds->ndim - 1], count = all.values->numel;
  // Torch's steps: they fix what is found among bounds that are not in order, such as NaN.
  auto one = [&](int64_t i) {
    int64_t first = all.lists == 1 ? 0 : i / all.per_list * length, low = 0, high = length;
    while (low < high) {
      int64_t middle = low + (high - low) / 2;
      T bound = bounds[first + (all.sorter ? all.sorter[first + middle] : middle)];
      if (all.right ? bound > values[i] : bound >= values[i])
        high = middle;
      else
        low = middle + 1;
    }
    result[i] = static_cast<Index>(low);
  };
  bool together = all.lists == 1 && !all.sorter && length && count >= kSearches &&
                  count > length / 16 && in_order(bounds, length);
  int64_t parts = (count + kSearches - 1) / kSearches;
  auto part = [&](int64_t number) {
    int64_t from = number * kSearches, to = std::min(from + kSearches, count);
    if (together && to - from == kSearches) {
      if (all.right)
        search_together<true>(values + from, bounds, length, result + from);
      else
        search_together<false>(values + from, bounds, length, result + from);
      return;
    }
    for (int64_t i = from; i < to; i++) one(i);
  };
  int threads = workers(count * 8, parts);
  if (threads == 1) {
    for (int64_t i = 0; i < parts; i++) part(i);
    return;
  }
#pragma omp parallel for num_threads(threads)
  for (int64_t i = 0; i < parts; i++) part(i);
}

Tensor* searched(const Tensor* bounds, const Tensor* values, int32_t dtype, bool int32, bool right,
                 const Tensor* sorter) {
  const std::string name = "torch.searchsorted(): ";
  if (!bounds->ndim)
    wrong(name + "boundaries tensor should have positive dimension, but got 0 dimension");
  if (!values->ndim && bounds->ndim != 1)
    wrong(name +
          "input value can be a scalar only when boundaries tensor dimension is 1, but we "
          "got boundaries tensor dim(" +
          std::to_string(bounds->ndim) +
          ") and input value's dim(0)"
          " numel(1)");
  Sizes outer = without(sizes_of(bounds), bounds->ndim - 1);
  if (bounds->ndim != 1 &&
      (values->ndim != bounds->ndim || outer != without(sizes_of(values), values->ndim - 1)))
    wrong(name +
          "boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
          "tensor and input value tensor must match, but we got boundaries tensor " +
          text_of(sizes_of(bounds)) + " and input value tensor " + text_of(sizes_of(values)));
  int64_t length = bounds->sizes()[bounds->ndim - 1];
  if (int32 && length > std::numeric_limits<int32_t>::max())
    wrong(name + "the size of boundaries' last dimension should be less than " +
          std::to_string(std::numeric_limits<int32_t>::max()) + ", but we got " +
          std::to_string(length));
  Owned order(nullptr);
  if (sorter) {
    if (!same_sizes(sorter, bounds))
      wrong(name + "boundary and sorter must have the same size, but got boundary tensor " +
            text_of(sizes_of(bounds)) + "and got sorter tensor " + text_of(sizes_of(sorter)));
    if (sorter->dtype != kInt64)
      wrong(name + "sorter must be a tensor of long dtype but got dtype " + name_of(sorter->dtype));
    order.tensor = contiguous(const_cast<Tensor*>(sorter), kInt64);
    const int64_t* positions = order->as<int64_t>();
    if (first_outside(positions, order->numel, length) < order->numel)
      wrong(name + "sorter index out of range");
  }
  // First to the dtype of the comparison, then to a wider one that holds each of its values.
  int32_t wide = rank_of(dtype) < 2 ? kInt64 : dtype == kDouble ? kDouble : kFloat;
  if (dtype == kBool) refuse("searchsorted", dtype);
  Owned value(contiguous(const_cast<Tensor*>(values), dtype));
  Owned bound(contiguous(const_cast<Tensor*>(bounds), dtype));
  Owned wide_value(contiguous(value.tensor, wide)), wide_bound(contiguous(bound.tensor, wide));
  Owned result(new_tensor(int32 ? kInt32 : kInt64, values->ndim, values->sizes()));
  if (!result->numel) return result.take();
  int64_t lists = bounds->ndim == 1 ? 1 : values->numel / values->sizes()[values->ndim - 1];
  Search all{wide_value.tensor,
             wide_bound.tensor,
             sorter ? order->as<int64_t>() : nullptr,
             right,
             lists,
             values->numel / lists};
  auto as = [&](auto* to) {
    if (wide == kInt64)
      search<int64_t>(all, to);
    else if (wide == kFloat)
      search<float>(all, to);
    else
      search<double>(all, to);
  };
  if (int32)
    as(result->as<int32_t>());
  else
    as(result->as<int64_t>());
  return result.take();
}

bool from_right(int32_t right, const char** side) {
  if (!side) return right;
  std::string given = *side;
  if (given != "left" && given != "right")
    wrong("torch.searchsorted(): side can only be 'left' or 'right' but got " + given);
  if (right && given == "left")
    wrong(
        "torch.searchsorted(): side and right can't be set to opposites, got side of left while "
        "right was True");
  return given == "right";
}

}  // namespace

AOTITorchError aoti_torch_cpu_nonzero(AtenTensorHandle self, AtenTensorHandle* result) {
  Owned mask(truth(self, "nonzero"));
  int64_t count = count_of(mask.tensor);
  const int64_t sizes[] = {count, self->ndim}, strides[] = {1, count};
  Owned made(new_tensor(kInt64, 2, sizes, strides));
  positions(mask.tensor, count, made.tensor);
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_nonzero_static(AtenTensorHandle self, int64_t size, int64_t fill,
                                             AtenTensorHandle* result) {
  if (size < 0) wrong("nonzero_static: 'size' must be an non-negative integer");
  Owned mask(truth(self, "nonzero_static"));
  const int64_t sizes[] = {size, self->ndim};
  Owned made(new_tensor(kInt64, 2, sizes));
  std::fill_n(made->as<int64_t>(), made->numel, fill);
  positions(mask.tensor, size, made.tensor);
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_masked_select(AtenTensorHandle self, AtenTensorHandle mask,
                                            AtenTensorHandle* result) {
  *result = selected(self, mask);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_masked_scatter(AtenTensorHandle given, AtenTensorHandle mask,
                                             AtenTensorHandle source, AtenTensorHandle* result) {
  if (given->dtype != source->dtype)
    wrong("masked_scatter: expected self and source to have same dtypes but got " +
          name_of(given->dtype) + " and " + name_of(source->dtype));
  if (mask->dtype != kBool)
    wrong("masked_scatter_ only supports boolean masks, but got mask with dtype " +
          name_of(mask->dtype));
  Masked both(given, mask);
  Owned values(contiguous(source, source->dtype));
  if (count_of(both.mask.tensor) > values->numel)
    wrong("Number of elements of source < number of ones in mask");
  Owned made(new_tensor(given->dtype, both.sizes.size(), both.sizes.data()));
  copy(made.tensor, both.self.tensor);
  const bool* wanted = both.mask->as<bool>();
  with_size(given->itemsize, [&](auto sample) {
    using T = decltype(sample);
    T* to = made->as<T>();
    const T* from = values->as<T>();
    for (int64_t i = 0; i < made->numel; i++)
      if (wanted[i]) to[i] = *from++;
  });
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_masked_scatter_backward(AtenTensorHandle grad, AtenTensorHandle mask,
                                                      const int64_t* sizes, int64_t ndim,
                                                      AtenTensorHandle* result) {
  Owned values(selected(grad, mask));
  Owned made(new_tensor(grad->dtype, ndim, sizes));
  if (values->numel > made->numel)
    wrong("masked_scatter_backward: more elements are selected than the result has");
  int64_t size = made->itemsize, taken = values->numel * size;
  if (taken) std::memcpy(made->data(), values->data(), taken);
  if (made->numel) std::memset(made->data() + taken, 0, made->numel * size - taken);
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_repeat_interleave_Tensor(AtenTensorHandle given, int64_t* output_size,
                                                       AtenTensorHandle* result) {
  if (given->ndim != 1) wrong("repeat_interleave only accept 1D vector as repeat");
  if (given->dtype != kInt64 && given->dtype != kInt32) refuse("repeat_interleave", given->dtype);
  Owned repeats(contiguous(given, kInt64));
  const int64_t* counts = repeats->as<int64_t>();
  int64_t total = 0;
  for (int64_t i = 0; i < repeats->numel; i++) {
    if (counts[i] < 0) wrong("repeats can not be negative");
    total += counts[i];
  }
  if (output_size && *output_size != total) wrong("allocated size does not match required size");
  Owned made(new_tensor(given->dtype, 1, &total));
  auto fill = [&](auto* to) {
    for (int64_t i = 0; i < repeats->numel; i++) to = std::fill_n(to, counts[i], i);
  };
  if (given->dtype == kInt64)
    fill(made->as<int64_t>());
  else
    fill(made->as<int32_t>());
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_bucketize_Tensor(AtenTensorHandle self, AtenTensorHandle boundaries,
                                               int32_t out_int32, int32_t right,
                                               AtenTensorHandle* result) {
  if (boundaries->ndim != 1)
    wrong("boundaries tensor must be 1 dimension, but got dim(" + std::to_string(boundaries->ndim) +
          ")");
  *result = searched(boundaries, self, common(boundaries, self), out_int32, right, nullptr);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_searchsorted_Tensor(AtenTensorHandle sorted, AtenTensorHandle self,
                                                  int32_t out_int32, int32_t right,
                                                  const char** side, AtenTensorHandle* sorter,
                                                  AtenTensorHandle* result) {
  *result = searched(sorted, self, common(sorted, self), out_int32, from_right(right, side),
                     sorter ? *sorter : nullptr);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_searchsorted_Scalar(AtenTensorHandle sorted, double self,
                                                  int32_t out_int32, int32_t right,
                                                  const char** side, AtenTensorHandle* sorter,
                                                  AtenTensorHandle* result) {
  Owned value(new_tensor(kDouble, 0, nullptr));
  *value->as<double>() = self;
  // Torch compares whole numbers with a Python number as float32.
  int32_t dtype = rank_of(sorted->dtype) == 2 ? sorted->dtype : kFloat;
  *result = searched(sorted, value.tensor, dtype, out_int32, from_right(right, side),
                     sorter ? *sorter : nullptr);
  return AOTI_TORCH_SUCCESS;
}
