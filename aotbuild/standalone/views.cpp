// Views: tensors over the memory of another one.

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "tensor.h"

using namespace aotbuild::standalone;

namespace {

// The sizes and strides of a view that is to be made.
struct Shape {
  explicit Shape(const Tensor* tensor)
      : sizes(tensor->sizes(), tensor->sizes() + tensor->ndim),
        strides(tensor->strides(), tensor->strides() + tensor->ndim),
        offset(tensor->offset) {}
  std::vector<int64_t> sizes, strides;
  int64_t offset;
};

Tensor* view(const Tensor* tensor, const Shape& shape, int32_t dtype) {
  return tensor_over(share(tensor->storage), shape.offset, dtype,
                     static_cast<int64_t>(shape.sizes.size()), shape.sizes.data(),
                     shape.strides.data());
}

int64_t wrapped(int64_t dim, int64_t ndim) {
  if (dim < -ndim || dim >= ndim)
    throw std::runtime_error("dimension " + std::to_string(dim) + " of a tensor of " +
                             std::to_string(ndim) + " dimensions");
  return dim < 0 ? dim + ndim : dim;
}

Tensor* narrowed(const Tensor* tensor, int64_t dim, int64_t start, int64_t length) {
  if (!tensor->ndim) throw std::runtime_error("narrow() takes no tensor without dimensions");
  dim = wrapped(dim, tensor->ndim);
  int64_t size = tensor->sizes()[dim];
  if (length < 0) throw std::runtime_error("narrow() to a negative length");
  if (start < 0) start += size;
  if (start < 0 || start + length > size)
    throw std::runtime_error("narrow() beyond the " + std::to_string(size) + " elements");
  Shape shape(tensor);
  shape.sizes[dim] = length;
  shape.offset += start * shape.strides[dim];
  return view(tensor, shape, tensor->dtype);
}

// Strides for other sizes of the same elements, if there are any. Dimensions that lie next to each
// other in memory are one, which the new sizes divide.
std::optional<std::vector<int64_t>> strides_for(const Tensor* tensor,
                                                const std::vector<int64_t>& sizes) {
  int64_t d = static_cast<int64_t>(sizes.size()) - 1;
  std::vector<int64_t> strides(sizes.size());
  if (!tensor->numel || !tensor->ndim) {
    int64_t next = 1;
    for (; d >= 0; d--) strides[d] = next, next *= std::max<int64_t>(sizes[d], 1);
    return strides;
  }
  const int64_t *old = tensor->sizes(), *steps = tensor->strides();
  int64_t step = steps[tensor->ndim - 1], block = 1, placed = 1;
  for (int64_t i = tensor->ndim - 1; i >= 0; i--) {
    block *= old[i];
    if (i && (old[i - 1] == 1 || steps[i - 1] == block * step)) continue;
    while (d >= 0 && (placed < block || sizes[d] == 1)) {
      strides[d] = placed * step;
      placed *= sizes[d--];
    }
    if (placed != block) return std::nullopt;
    if (i) step = steps[i - 1], block = placed = 1;
  }
  return d < 0 ? std::make_optional(strides) : std::nullopt;
}

}  // namespace

AOTITorchError aoti_torch_cpu_view_as_real(AtenTensorHandle self, AtenTensorHandle* ret0) {
  if (self->dtype != kComplexFloat && self->dtype != kComplexDouble)
    throw std::runtime_error("view_as_real takes complex numbers");
  Shape shape(self);
  for (int64_t& stride : shape.strides) stride *= 2;
  shape.sizes.push_back(2);
  shape.strides.push_back(1);
  shape.offset *= 2;
  *ret0 = view(self, shape, self->dtype == kComplexFloat ? kFloat : kDouble);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_view_as_complex(AtenTensorHandle self, AtenTensorHandle* ret0) {
  if (self->dtype != kFloat && self->dtype != kDouble)
    throw std::runtime_error("view_as_complex takes float32 and float64");
  Shape shape(self);
  if (!self->ndim || shape.sizes.back() != 2 || shape.strides.back() != 1)
    throw std::runtime_error("view_as_complex needs a last dimension of 2 that is contiguous");
  shape.sizes.pop_back();
  shape.strides.pop_back();
  bool odd = shape.offset % 2;
  for (int64_t& stride : shape.strides) odd |= stride % 2, stride /= 2;
  if (odd) throw std::runtime_error("view_as_complex needs strides and an offset divisible by 2");
  shape.offset /= 2;
  *ret0 = view(self, shape, self->dtype == kFloat ? kComplexFloat : kComplexDouble);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_permute(AtenTensorHandle self, const int64_t* dims, int64_t dims_len_,
                                      AtenTensorHandle* ret0) {
  if (dims_len_ != self->ndim) throw std::runtime_error("permute() needs each dimension");
  Shape shape(self);
  std::vector<bool> seen(self->ndim, false);
  for (int64_t i = 0; i < dims_len_; i++) {
    int64_t d = wrapped(dims[i], self->ndim);
    if (seen[d]) throw std::runtime_error("permute() takes each dimension once");
    seen[d] = true;
    shape.sizes[i] = self->sizes()[d];
    shape.strides[i] = self->strides()[d];
  }
  *ret0 = view(self, shape, self->dtype);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_narrow(AtenTensorHandle self, int64_t dim, int64_t start,
                                     int64_t length, AtenTensorHandle* ret0) {
  *ret0 = narrowed(self, dim, start, length);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_narrow(AtenTensorHandle self, int64_t dim, int64_t start,
                                      int64_t length, AtenTensorHandle* ret0) {
  *ret0 = narrowed(self, dim, start, length);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_slice_Tensor(AtenTensorHandle self, int64_t dim, int64_t* start,
                                           int64_t* end, int64_t step, AtenTensorHandle* ret0) {
  if (!self->ndim) throw std::runtime_error("slice() takes no tensor without dimensions");
  if (step <= 0) throw std::runtime_error("the step of slice() must be positive");
  dim = wrapped(dim, self->ndim);
  Shape shape(self);
  int64_t size = shape.sizes[dim];
  auto place = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
  int64_t first = start ? place(*start) : 0;
  int64_t last = std::max(end ? place(*end) : size, first);
  shape.offset += first * shape.strides[dim];
  shape.sizes[dim] = (last - first + step - 1) / step;
  shape.strides[dim] *= step;
  *ret0 = view(self, shape, self->dtype);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_squeeze_dim(AtenTensorHandle self, int64_t dim,
                                          AtenTensorHandle* ret0) {
  Shape shape(self);
  dim = wrapped(dim, std::max<int64_t>(self->ndim, 1));
  if (self->ndim && shape.sizes[dim] == 1) {
    shape.sizes.erase(shape.sizes.begin() + dim);
    shape.strides.erase(shape.strides.begin() + dim);
  }
  *ret0 = view(self, shape, self->dtype);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_reshape(AtenTensorHandle self, const int64_t* shape,
                                      int64_t shape_len_, AtenTensorHandle* ret0) {
  std::vector<int64_t> sizes(shape, shape + shape_len_);
  int64_t known = 1, open = -1;
  for (int64_t i = 0; i < shape_len_; i++) {
    if (sizes[i] >= 0) {
      known *= sizes[i];
    } else if (sizes[i] != -1 || open >= 0) {
      throw std::runtime_error("reshape() takes one size of -1, and no other negative one");
    } else {
      open = i;
    }
  }
  if (open >= 0 && !known) throw std::runtime_error("the size of -1 of reshape() can be anything");
  if (open >= 0) sizes[open] = self->numel / known;
  if (open >= 0 ? known * sizes[open] != self->numel : known != self->numel)
    throw std::runtime_error("reshape() of " + std::to_string(self->numel) +
                             " elements to another number of them");
  Owned source(nullptr);
  std::optional<std::vector<int64_t>> strides;
  if (shape_len_ == self->ndim && std::equal(sizes.begin(), sizes.end(), self->sizes()))
    strides.emplace(self->strides(), self->strides() + self->ndim);
  else
    strides = strides_for(self, sizes);
  if (!strides) {
    source.tensor = contiguous(self, self->dtype);
    strides = strides_for(source.tensor, sizes);
    self = source.tensor;
  }
  *ret0 = tensor_over(share(self->storage), self->offset, self->dtype, shape_len_, sizes.data(),
                      strides->data());
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_view_dtype(AtenTensorHandle self, int32_t dtype,
                                         AtenTensorHandle* ret0) {
  Shape shape(self);
  int64_t from = self->itemsize, to = size_of(dtype);
  if (from != to) {
    if (!self->ndim) throw std::runtime_error("view() of one element as another size");
    if (shape.strides.back() != 1)
      throw std::runtime_error("view() as another size needs a contiguous last dimension");
    int64_t split = from > to ? from / to : 1, joined = from > to ? 1 : to / from;
    bool fits = shape.sizes.back() % joined == 0 && shape.offset % joined == 0;
    for (int i = 0; i < self->ndim - 1; i++) fits &= shape.strides[i] % joined == 0;
    if (!fits) throw std::runtime_error("view() as larger elements needs sizes that they divide");
    for (int i = 0; i < self->ndim - 1; i++) shape.strides[i] = shape.strides[i] * split / joined;
    shape.sizes.back() = shape.sizes.back() * split / joined;
    shape.offset = shape.offset * split / joined;
  }
  *ret0 = view(self, shape, dtype);
  return AOTI_TORCH_SUCCESS;
}
