// Elements by lists of positions: x[i, j] and x[i, j] = values.

#include "layout.h"

#include <algorithm>
#include <complex>
#include <cstring>
#include <memory>
#include <stdexcept>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

using namespace aotbuild::standalone;

namespace {

// The indices of a call, by dimension; masks are one list for each of their dimensions.
class Indices {
 public:
  Indices(const Tensor* self, const std::vector<const Tensor*>& given) {
    for (size_t i = 0; i < given.size(); i++) {
      const Tensor* index = given[i];
      if (!index) {
        kept_.push_back(std::make_unique<Owned>(nullptr));
      } else if (index->dtype == kBool || index->dtype == kUInt8) {
        add_mask(self, index, static_cast<int64_t>(i));
      } else if (index->dtype == kInt64 || index->dtype == kInt32) {
        kept_.push_back(std::make_unique<Owned>(contiguous(const_cast<Tensor*>(index), kInt64)));
      } else {
        throw std::runtime_error("tensors used as indices must be long, int, byte or bool tensors");
      }
    }
    if (kept_.size() > static_cast<size_t>(self->ndim))
      throw std::runtime_error("too many indices for tensor of dimension " +
                               std::to_string(self->ndim) + " (got " +
                               std::to_string(kept_.size()) + ")");
    for (auto& one : kept_) lists.push_back(one->tensor);
    lists.resize(self->ndim, nullptr);
  }

  std::vector<const Tensor*> lists;  // none for a dimension that is kept whole

 private:
  void add_mask(const Tensor* self, const Tensor* mask, int64_t number) {
    int first = static_cast<int>(kept_.size());
    if (first + mask->ndim > self->ndim)
      throw std::runtime_error("too many indices for tensor of dimension " +
                               std::to_string(self->ndim));
    for (int i = 0; i < mask->ndim; i++)
      if (mask->sizes()[i] != self->sizes()[first + i])
        throw std::runtime_error(
            "The shape of the mask " + text_of(sizes_of(mask)) + " at index " +
            std::to_string(number) + " does not match the shape of the indexed tensor " +
            text_of(sizes_of(self)) + " at index " + std::to_string(first + i));
    AtenTensorHandle found;
    aoti_torch_cpu_nonzero(const_cast<Tensor*>(mask), &found);
    Owned all(found);
    for (int i = 0; i < mask->ndim; i++)
      kept_.push_back(std::make_unique<Owned>(
          tensor_over(share(all->storage), all->offset + i * all->strides()[1], kInt64, 1,
                      all->sizes(), all->strides())));
  }

  std::vector<std::unique_ptr<Owned>> kept_;
};

// Where the elements of x[i, j] lie: at the sum of an offset within kept dimensions, and one from a
// table for the indexed dimensions.
struct Places {
  Sizes sizes;               // of the result
  Sizes strides;             // within self: 0 in the indexed dimensions
  Sizes table_strides;       // within the table: 0 in the kept dimensions
  std::vector<Sizes> lists;  // strides of the index tensors, in bytes
  std::vector<int64_t> table;

  Places(const Tensor* self, const std::vector<const Tensor*>& given) {
    Indices indices(self, given);
    std::vector<int> dims = ordered(indices.lists);
    Sizes positions;  // the sizes of all index tensors together
    bool any = false;
    for (const Tensor* list : indices.lists) {
      if (!list) continue;
      positions = any ? together(positions, list, indices.lists) : sizes_of(list);
      any = true;
    }
    int front = 0;  // where the sizes of the positions go
    bool seen = false;
    for (int dim : dims) {
      if (indices.lists[dim]) {
        seen = true;
        continue;
      }
      if (!seen) front++;
      sizes.push_back(self->sizes()[dim]);
      strides.push_back(self->strides()[dim]);
    }
    Sizes none(sizes.size(), 0);
    int count = static_cast<int>(positions.size());
    sizes.insert(sizes.begin() + front, positions.begin(), positions.end());
    strides.insert(strides.begin() + front, count, 0);
    Sizes dense = strides_in_order(positions, by_stride(positions, {}));
    table_strides = none;
    table_strides.insert(table_strides.begin() + front, dense.begin(), dense.end());

    int64_t total = 1, elements = 1;
    for (int64_t size : positions) total *= size;
    for (int64_t size : sizes) elements *= size;
    table.assign(total, 0);
    for (int dim : dims) {
      const Tensor* list = indices.lists[dim];
      if (!list) continue;
      Owned whole(expand(list, positions, mismatch(indices.lists)));
      Sizes bytes = none;
      for (int i = 0; i < count; i++)
        bytes.insert(bytes.begin() + front + i, whole->strides()[i] * 8);
      lists.push_back(bytes);
      int64_t size = self->sizes()[dim], stride = self->strides()[dim];
      if (total && !size && elements)
        throw std::runtime_error("index is out of bounds for dimension with size 0");
      if (!elements) continue;
      Walk<2> walk(positions, {whole->strides(), dense.data()});
      walk.run([&](const auto& at) {
        const int64_t* values = whole->as<int64_t>() + at[0];
        int64_t from = walk.step()[0], to = walk.step()[1], wrong = 0;
        auto place = [=](int64_t index) { return (index < 0 ? index + size : index) * stride; };
        auto outside = [=](int64_t index) { return (index < -size) | (index >= size); };
        int64_t* entries = table.data() + at[1];
        int64_t inner = walk.inner();
        if (from == 1 && to == 1) {
#pragma omp simd reduction(| : wrong)
          for (int64_t i = 0; i < inner; i++) {
            wrong |= outside(values[i]);
            entries[i] += place(values[i]);
          }
        } else {
          for (int64_t i = 0; i < inner; i++) {
            wrong |= outside(values[i * from]);
            entries[i * to] += place(values[i * from]);
          }
        }
        for (int64_t i = 0; wrong; i++)
          if (outside(values[i * from])) out_of_bounds(values[i * from], dim, size);
      });
    }
  }

 private:
  // Indexed dimensions that do not lie side by side come first.
  static std::vector<int> ordered(const std::vector<const Tensor*>& lists) {
    int runs = 0, ndim = static_cast<int>(lists.size());
    for (int i = 0; i < ndim; i++) runs += lists[i] && (!i || !lists[i - 1]);
    std::vector<int> dims;
    if (runs > 1)
      for (int i = 0; i < ndim; i++)
        if (lists[i]) dims.push_back(i);
    for (int i = 0; i < ndim; i++)
      if (runs < 2 || !lists[i]) dims.push_back(i);
    return dims;
  }

  static std::string mismatch(const std::vector<const Tensor*>& lists) {
    std::string text;
    for (const Tensor* list : lists)
      if (list) text += (text.empty() ? "" : ", ") + text_of(sizes_of(list));
    return "shape mismatch: indexing tensors could not be broadcast together with shapes " + text;
  }

  static Sizes together(const Sizes& sizes, const Tensor* list,
                        const std::vector<const Tensor*>& lists) {
    Sizes others = sizes_of(list), all = sizes;
    if (others.size() > all.size()) all.insert(all.begin(), others.size() - all.size(), 1);
    for (size_t i = 0; i < others.size(); i++) {
      int64_t& size = all[all.size() - 1 - i];
      int64_t other = others[others.size() - 1 - i];
      if (size == 1)
        size = other;
      else if (other != 1 && other != size)
        throw std::runtime_error(mismatch(lists));
    }
    return all;
  }
};

Sizes in_bytes(Sizes strides, int64_t itemsize) {
  for (int64_t& stride : strides) stride *= itemsize;
  return strides;
}

Tensor* taken(const Tensor* self, const std::vector<const Tensor*>& given) {
  Places places(self, given);
  // Torch lays the result out by its tensor's strides, and generated code relies on that.
  Sizes strides =
      strides_in_order(places.sizes, self->numel ? by_stride(places.sizes, {places.strides})
                                                 : by_stride(places.sizes, {}));
  Owned made(new_tensor(self->dtype, places.sizes.size(), places.sizes.data(), strides.data()));
  if (!made->numel) return made.take();
  std::vector<int> order = by_stride(places.sizes, {strides});
  Walk<3> walk(places.sizes, {strides.data(), places.strides.data(), places.table_strides.data()},
               &order);
  int threads = workers(made->numel, walk.rows());
  int64_t inner = walk.inner();
  auto [to, from, entry] = walk.step();
  const int64_t* table = places.table.data();
  with_size(self->itemsize, [&, to = to, from = from, entry = entry](auto sample) {
    using T = decltype(sample);
    auto row = [=, result = made->as<T>(), source = self->as<T>()](const auto& at) {
      T* target = result + at[0];
      const T* base = source + at[1];
      if (entry == 0 && to == 1 && from == 1) {
        std::memcpy(target, base + table[at[2]], inner * sizeof(T));
      } else if (entry == 0) {
        base += table[at[2]];
        for (int64_t i = 0; i < inner; i++) target[i * to] = base[i * from];
      } else {
        for (int64_t i = 0; i < inner; i++)
          target[i * to] = base[i * from + table[at[2] + i * entry]];
      }
    };
    if (threads == 1) {
      walk.run(row);
      return;
    }
    int64_t rows = walk.rows();
#pragma omp parallel for num_threads(threads)
    for (int part = 0; part < threads; part++)
      walk.run(rows * part / threads, rows * (part + 1) / threads, row);
  });
  return made.take();
}

// Sets elements, in the order in which torch does: that counts where places are given twice.
template <typename T, typename F>
void set(Tensor* self, const Places& places, const Tensor* values, F&& use) {
  std::vector<Sizes> all = {in_bytes(places.strides, self->itemsize),
                            in_bytes(strides_of(values), values->itemsize)};
  all.insert(all.end(), places.lists.begin(), places.lists.end());
  std::vector<int> order = by_stride(places.sizes, all);
  Walk<3> walk(places.sizes,
               {places.strides.data(), values->strides(), places.table_strides.data()}, &order);
  auto [to, from, entry] = walk.step();
  const int64_t* table = places.table.data();
  int64_t inner = walk.inner();
  walk.run([=, all = self->as<T>(), given = values->as<T>(), to = to, from = from,
            entry = entry](const auto& at) {
    T* target = all + at[0];
    const T* source = given + at[1];
    const int64_t* entries = table + at[2];
    if (entry == 0 && to == 1 && from == 1)
      for (int64_t i = 0; i < inner; i++) use(target[*entries + i], source[i]);
    else
      for (int64_t i = 0; i < inner; i++)
        use(target[i * to + entries[i * entry]], source[i * from]);
  });
}

template <typename T>
void add(Tensor* self, const Places& places, const Tensor* values) {
  set<T>(self, places, values, [](T& to, const T& from) { to = static_cast<T>(to + from); });
}

void put(Tensor* self, const std::vector<const Tensor*>& given, const Tensor* values,
         bool accumulate) {
  if (self->dtype != values->dtype)
    throw std::runtime_error("Index put requires the source and destination dtypes match, got " +
                             name_of(self->dtype) + " for the destination and " +
                             name_of(values->dtype) + " for the source.");
  Places places(self, given);
  Owned whole(expand(values, places.sizes,
                     "shape mismatch: value tensor of shape " + text_of(sizes_of(values)) +
                         " cannot be broadcast to indexing result of shape " +
                         text_of(places.sizes)));
  if (!whole->numel) return;
  if (!accumulate) {
    with_size(self->itemsize, [&](auto sample) {
      using T = decltype(sample);
      set<T>(self, places, whole.tensor, [](T& to, const T& from) { to = from; });
    });
    return;
  }
  switch (self->dtype) {  // whole numbers wrap, with or without a sign
    case kUInt8:
    case kInt8:
      return add<uint8_t>(self, places, whole.tensor);
    case kUInt16:
    case kInt16:
      return add<uint16_t>(self, places, whole.tensor);
    case kUInt32:
    case kInt32:
      return add<uint32_t>(self, places, whole.tensor);
    case kUInt64:
    case kInt64:
      return add<uint64_t>(self, places, whole.tensor);
    case kBool:
      return add<bool>(self, places, whole.tensor);
    case kHalf:
      return add<c10::Half>(self, places, whole.tensor);
    case kBFloat16:
      return add<c10::BFloat16>(self, places, whole.tensor);
    case kFloat:
      return add<float>(self, places, whole.tensor);
    case kDouble:
      return add<double>(self, places, whole.tensor);
    case kComplexFloat:
      return add<std::complex<float>>(self, places, whole.tensor);
    case kComplexDouble:
      return add<std::complex<double>>(self, places, whole.tensor);
  }
  refuse("index_put", self->dtype);
}

std::vector<const Tensor*> listed(const AtenTensorHandle** indices, int64_t count) {
  std::vector<const Tensor*> lists(count);
  for (int64_t i = 0; i < count; i++) lists[i] = indices[i] ? *indices[i] : nullptr;
  return lists;
}

}  // namespace

AOTITorchError aoti_torch_cpu_index_Tensor(AtenTensorHandle self, const AtenTensorHandle** indices,
                                           int64_t count, AtenTensorHandle* result) {
  *result = taken(self, listed(indices, count));
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_index_put(AtenTensorHandle self, const AtenTensorHandle** indices,
                                        int64_t count, AtenTensorHandle values, int32_t accumulate,
                                        AtenTensorHandle* result) {
  Sizes strides = like(self);
  Owned made(new_tensor(self->dtype, self->ndim, self->sizes(), strides.data()));
  copy(made.tensor, self);
  put(made.tensor, listed(indices, count), values, accumulate);
  *result = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_index_put_out(AtenTensorHandle out, AtenTensorHandle self,
                                        const AtenTensorHandle* indices, const uint32_t count,
                                        const AtenTensorHandle values, bool accumulate) {
  if (out->data() != self->data()) copy(out, self);
  put(out, std::vector<const Tensor*>(indices, indices + count), values, accumulate);
  return AOTI_TORCH_SUCCESS;
}
