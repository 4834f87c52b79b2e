// Sorting and selecting by order: sort, topk, kthvalue, median, mode.
//
// Torch's results for equal values depend on its algorithms: those of the C++ library, whose
// comparisons and moves are the same here, over keys instead of values.

#include "dtypes.h"
#include "layout.h"
#include "order.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

using namespace aotbuild::standalone;

namespace {

// Up to so many elements, comparing is faster than counting.
template <typename Item>
constexpr int64_t kShort = sizeof(Item) == 8 ? 256 : 2048;

struct ByKey {
  template <typename Item>
  bool operator()(const Item& a, const Item& b) const {
    return key_of(a) < key_of(b);
  }
};

struct ByKeyAndPosition {
  bool operator()(Narrow a, Narrow b) const { return a < b; }
  bool operator()(const Wide& a, const Wide& b) const {
    return a.key != b.key ? a.key < b.key : a.position < b.position;
  }
};

// How often each byte occurs at each place of the keys.
template <typename Item>
struct Counts {
  uint32_t of[8][256] = {};
  int64_t bytes;

  Counts(const Item* items, int64_t count, int64_t bytes) : bytes(bytes) {
    for (int64_t i = 0; i < count; i++)
      for (int64_t byte = 0; byte < bytes; byte++) of[byte][key_of(items[i]) >> 8 * byte & 255]++;
  }

  // Whether so many random keys of these bytes would have ties.
  bool suggest_ties(int64_t count) const {
    double keys = 1;
    for (int64_t byte = 0; byte < bytes; byte++)
      keys *= 256 - std::count(of[byte], of[byte] + 256, 0u);
    return keys < static_cast<double>(count) * static_cast<double>(count);
  }
};

// Sorts by the bytes of the keys, from the last one on; equal ones keep their order. The result
// lies in one of the two arrays.
template <typename Item>
Item* sort_by_bytes(Item* items, Item* other, int64_t count, Counts<Item>& counts) {
  for (int64_t byte = 0; byte < counts.bytes; byte++) {
    uint32_t* starts = counts.of[byte];
    if (starts[key_of(items[0]) >> 8 * byte & 255] == count) continue;
    uint32_t next = 0;
    for (int i = 0; i < 256; i++) {
      uint32_t some = starts[i];
      starts[i] = next;
      next += some;
    }
    for (int64_t i = 0; i < count; i++)
      other[starts[key_of(items[i]) >> 8 * byte & 255]++] = items[i];
    std::swap(items, other);
  }
  return items;
}

template <typename Item>
bool can_count(int64_t count) {
  return count > kShort<Item> && count < std::numeric_limits<uint32_t>::max();
}

template <typename Item>
Item* sort_stably(Item* items, Item* other, int64_t count, int64_t bytes) {
  if (can_count<Item>(count)) {
    Counts<Item> counts(items, count, bytes);
    return sort_by_bytes(items, other, count, counts);
  }
  std::sort(items, items + count, ByKeyAndPosition());
  return items;
}

template <typename Item>
bool has_ties(const Item* items, int64_t count) {
  for (int64_t i = 1; i < count; i++)
    if (key_of(items[i - 1]) == key_of(items[i])) return true;
  return false;
}

// Writes values and positions of a line's first elements in their new order.
template <typename Item>
void store(const Item* items, int64_t count, const Tensor* from, int64_t from_offset,
           int64_t from_step, Tensor* values, int64_t value_offset, int64_t value_step,
           Tensor* indices, int64_t index_offset, int64_t index_step) {
  int64_t* positions = indices->as<int64_t>() + index_offset;
  with_size(from->itemsize, [&](auto sample) {
    using T = decltype(sample);
    const T* source = from->as<T>() + from_offset;
    T* target = values->as<T>() + value_offset;
    for (int64_t i = 0; i < count; i++) {
      int64_t position = position_of(items[i]);
      target[i * value_step] = source[position * from_step];
      positions[i * index_step] = position;
    }
  });
}

// Calls `use(items, other)` with the keys of each line in an array, and stores how many elements of
// its order `use` gives, from the array that it returns.
template <typename Item, typename F>
void each_line(const Tensor* self, int dim, Order order, Tensor* values, Tensor* indices,
               int64_t arrays, F&& use) {
  Lines<3> lines({self, values, indices}, dim);
  int64_t length = lines.length();
  Scratch<Item> memory(length * arrays * lines.threads());
  int64_t kept = values->ndim ? values->sizes()[dim] : 1;
  lines.run([&](int thread, const auto& at) {
    Item* items = memory.items() + thread * length * arrays;
    auto reload = [&](Item* to) { load(self, at[0], lines.step(0), length, order, to); };
    reload(items);
    const Item* ordered = use(items, items + length * (arrays - 1), length, reload);
    store(ordered, kept, self, at[0], lines.step(0), values, at[1], lines.step(1), indices, at[2],
          lines.step(2));
  });
}

// Calls `use` with a value of the type that the lines of a tensor need.
template <typename F>
void with_item(const Tensor* self, int dim, F&& use) {
  if (needs_wide(self, self->ndim ? self->sizes()[dim] : 1))
    use(Wide{});
  else
    use(Narrow{});
}

void sort(const Tensor* self, int64_t given, bool stable, bool descending, AtenTensorHandle* first,
          AtenTensorHandle* second) {
  int dim = dimension(self, given);
  if (!has_order(self->dtype)) refuse("sort", self->dtype);
  Sizes strides = like(self);
  Owned values(new_tensor(self->dtype, self->ndim, self->sizes(), strides.data()));
  Owned indices(new_tensor(kInt64, self->ndim, self->sizes(), strides.data()));
  // Torch counts bytes for long lists of integers, which is stable.
  if (self->ndim == 1 && self->numel >= 32768 && !descending && !is_real(self->dtype) &&
      self->dtype != kBool)
    stable = true;
  Order order = descending ? Order::down : Order::up;
  int64_t bytes = self->itemsize;
  with_item(self, dim, [&](auto sample) {
    using Item = decltype(sample);
    each_line<Item>(self, dim, order, values.tensor, indices.tensor, 2,
                    [=](Item* items, Item* other, int64_t count, auto reload) -> const Item* {
                      if (stable) return sort_stably(items, other, count, bytes);
                      // Without ties there is one order only, however it is found.
                      if (can_count<Item>(count) && bytes >= 4) {
                        Counts<Item> counts(items, count, bytes);
                        if (!counts.suggest_ties(count)) {
                          Item* sorted = sort_by_bytes(items, other, count, counts);
                          if (!has_ties(sorted, count)) return sorted;
                          reload(items);
                        }
                      }
                      std::sort(items, items + count, ByKey());
                      return items;
                    });
  });
  *first = values.take();
  *second = indices.take();
}

bool has_topk(int32_t dtype) {
  return has_order(dtype) && dtype != kBool && dtype != kUInt16 && dtype != kUInt32 &&
         dtype != kUInt64;
}

// The element that would be at a position after sorting: by splitting around the median of three.
template <typename Item>
void select(Item* items, int64_t count, int64_t position) {
  auto above = [&](int64_t a, int64_t b) {
    if (key_of(items[a]) > key_of(items[b])) std::swap(items[a], items[b]);
  };
  int64_t low = 0, high = count - 1;
  while (low + 1 < high) {
    std::swap(items[low + (high - low) / 2], items[low + 1]);
    above(low + 1, high);
    above(low, high);
    above(low + 1, low);
    uint64_t pivot = key_of(items[low]);
    int64_t i = low + 1, j = high;
    while (true) {
      do i++;
      while (key_of(items[i]) < pivot);
      do j--;
      while (key_of(items[j]) > pivot);
      if (j < i) break;
      std::swap(items[i], items[j]);
    }
    std::swap(items[low], items[j]);
    if (j <= position) low = i;
    if (j >= position) high = j - 1;
  }
  if (high == low + 1) above(low, high);
}

// Drops a dimension of size 1.
Tensor* squeezed(Tensor* tensor, int dim) {
  Sizes sizes = without(sizes_of(tensor), dim), strides = without(strides_of(tensor), dim);
  return tensor_over(share(tensor->storage), tensor->offset, tensor->dtype, sizes.size(),
                     sizes.data(), strides.data());
}

// New tensors for `count` values of each line, and for their positions.
struct Results {
  Owned values, indices;
  int dim;

  Results(const Tensor* self, int dim, int64_t count)
      : values(made(self, dim, count, self->dtype)),
        indices(made(self, dim, count, kInt64)),
        dim(dim) {}

  void give(bool keep, AtenTensorHandle* first, AtenTensorHandle* second) {
    if (keep || !values->ndim) {
      *first = values.take();
      *second = indices.take();
      return;
    }
    Owned left(squeezed(values.tensor, dim));
    *second = squeezed(indices.tensor, dim);
    *first = left.take();
  }

 private:
  static Tensor* made(const Tensor* self, int dim, int64_t count, int32_t dtype) {
    Sizes sizes = sizes_of(self);
    if (!sizes.empty()) sizes[dim] = count;
    return new_tensor(dtype, self->ndim, sizes.data());
  }
};

void need_elements(const Tensor* self, int dim, const char* function) {
  if (self->ndim && !self->sizes()[dim])
    throw std::runtime_error(std::string(function) + "(): Expected reduction dim " +
                             std::to_string(dim) + " to have non-zero size.");
}

// The last of the most frequent values, of which the smallest counts, as the first element.
template <typename Item>
void find_mode(Item* items, int64_t count, bool nans, uint64_t nan) {
  if (nans)  // which are neither smaller nor larger than anything
    std::sort(items, items + count, [=](const Item& a, const Item& b) {
      return key_of(a) < key_of(b) && key_of(b) != nan;
    });
  else
    std::sort(items, items + count, ByKey());
  int64_t most = 0, run = 0;
  Item found = items[0];
  for (int64_t i = 0; i < count; i++) {
    run++;
    uint64_t key = key_of(items[i]);
    if (i + 1 < count && key == key_of(items[i + 1]) && !(nans && key == nan)) continue;
    if (run > most) {
      most = run;
      found = items[i];
    }
    run = 0;
  }
  items[0] = found;
}

// One number of all elements: the lower one of the middle.
Tensor* median(const Tensor* self, const char* name, bool ignore_nan) {
  if (!has_topk(self->dtype)) refuse(name, self->dtype);
  Owned result(new_tensor(self->dtype, 0, nullptr));
  if (!self->numel) {
    Owned nan(new_tensor(kDouble, 0, nullptr));
    *nan->as<double>() = std::numeric_limits<double>::quiet_NaN();
    copy(result.tensor, nan.tensor);
    return result.take();
  }
  Owned dense(clone(self));
  int64_t count = dense->numel, one = 1;
  Owned flat(tensor_over(share(dense->storage), dense->offset, dense->dtype, 1, &count, &one));
  Owned position(new_tensor(kInt64, 0, nullptr));
  bool floats = is_real(self->dtype);
  uint64_t nan = nan_key(self);
  with_item(flat.tensor, 0, [&](auto sample) {
    using Item = decltype(sample);
    Scratch<Item> items(count);
    load(flat.tensor, 0, 1, count, Order::up, items.items());
    Item *begin = items.items(), *end = begin + count, *middle = begin;
    auto is_nan = [=](const Item& item) { return floats && key_of(item) == nan; };
    Item* first_nan = std::find_if(begin, end, is_nan);
    if (first_nan != end && !ignore_nan) {
      middle = first_nan;
    } else {
      int64_t numbers = count - std::count_if(first_nan, end, is_nan);
      if (numbers) middle += (numbers - 1) / 2;
      std::nth_element(begin, middle, end, ByKey());
    }
    store(middle, 1, flat.tensor, 0, 1, result.tensor, 0, 1, position.tensor, 0, 1);
  });
  return result.take();
}

}  // namespace

AOTITorchError aoti_torch_cpu_sort(AtenTensorHandle self, int64_t dim, int32_t descending,
                                   AtenTensorHandle* values, AtenTensorHandle* indices) {
  sort(self, dim, false, descending, values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_sort_stable(AtenTensorHandle self, int32_t* stable, int64_t dim,
                                          int32_t descending, AtenTensorHandle* values,
                                          AtenTensorHandle* indices) {
  sort(self, dim, stable && *stable, descending, values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_topk(AtenTensorHandle self, int64_t k, int64_t given, int32_t largest,
                                   int32_t sorted, AtenTensorHandle* values,
                                   AtenTensorHandle* indices) {
  int dim = dimension(self, given);
  if (k < 0 || k > (self->ndim ? self->sizes()[dim] : 1))
    throw std::runtime_error("selected index k out of range");
  if (!has_topk(self->dtype)) refuse("topk", self->dtype);
  Results results(self, dim, k);
  if (results.values->numel) {
    with_item(self, dim, [&](auto sample) {
      using Item = decltype(sample);
      each_line<Item>(self, dim, largest ? Order::down : Order::up, results.values.tensor,
                      results.indices.tensor, 1,
                      [=](Item* items, Item*, int64_t count, auto) -> const Item* {
                        if (k * 64 <= count) {
                          std::partial_sort(items, items + k, items + count, ByKey());
                        } else {
                          std::nth_element(items, items + k - 1, items + count, ByKey());
                          if (sorted) std::sort(items, items + k - 1, ByKey());
                        }
                        return items;
                      });
    });
  }
  results.give(true, values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_kthvalue(AtenTensorHandle self, int64_t k, int64_t given,
                                       int32_t keepdim, AtenTensorHandle* values,
                                       AtenTensorHandle* indices) {
  int dim = dimension(self, given);
  need_elements(self, dim, "kthvalue");
  if (k < 1 || k > (self->ndim ? self->sizes()[dim] : 1))
    throw std::runtime_error("kthvalue(): selected number k out of range for dimension " +
                             std::to_string(dim));
  if (!has_topk(self->dtype)) refuse("kthvalue", self->dtype);
  Results results(self, dim, 1);
  with_item(self, dim, [&](auto sample) {
    using Item = decltype(sample);
    each_line<Item>(self, dim, Order::up, results.values.tensor, results.indices.tensor, 1,
                    [=](Item* items, Item*, int64_t count, auto) -> const Item* {
                      select(items, count, k - 1);
                      return items + k - 1;
                    });
  });
  results.give(keepdim, values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_mode(AtenTensorHandle self, int64_t given, int32_t keepdim,
                                   AtenTensorHandle* values, AtenTensorHandle* indices) {
  int dim = dimension(self, given);
  need_elements(self, dim, "mode");
  if (!has_topk(self->dtype) && self->dtype != kBool) refuse("mode", self->dtype);
  Results results(self, dim, 1);
  bool floats = is_real(self->dtype);
  uint64_t nan = nan_key(self);
  with_item(self, dim, [&](auto sample) {
    using Item = decltype(sample);
    each_line<Item>(self, dim, Order::up, results.values.tensor, results.indices.tensor, 2,
                    [=](Item*, Item* items, int64_t count, auto reload) -> const Item* {
                      reload(items);
                      const Item* first_nan =
                          std::find_if(items, items + (floats ? count : 0),
                                       [=](const Item& item) { return key_of(item) == nan; });
                      bool nans = floats && first_nan != items + count;
                      // With NaN, sorting may look at one element before the first.
                      if (nans) items[-1] = *first_nan;
                      find_mode(items, count, nans, nan);
                      return items;
                    });
  });
  results.give(keepdim, values, indices);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_median(AtenTensorHandle self, AtenTensorHandle* result) {
  *result = median(self, "median", false);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_nanmedian(AtenTensorHandle self, AtenTensorHandle* result) {
  *result = median(self, "nanmedian", true);
  return AOTI_TORCH_SUCCESS;
}
