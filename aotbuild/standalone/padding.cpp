// Tensors put together, and padded.

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "elementwise.h"
#include "layout.h"
#include "memory_formats.h"

using namespace aotbuild::standalone;

namespace {

Tensor* part(const Tensor* tensor, const Sizes& starts, const Sizes& sizes) {
  int64_t offset = tensor->offset;
  for (int d = 0; d < tensor->ndim; d++) offset += starts[d] * tensor->strides()[d];
  return tensor_over(share(tensor->storage), offset, tensor->dtype, tensor->ndim, sizes.data(),
                     tensor->strides());
}

Tensor* new_like(const Sizes& sizes, int32_t dtype, bool innermost_channels) {
  Sizes strides = innermost_channels ? channels_last(sizes) : Sizes();
  return new_tensor(dtype, static_cast<int64_t>(sizes.size()), sizes.data(),
                    innermost_channels ? strides.data() : nullptr);
}

Tensor* concatenated(const AtenTensorHandle* tensors, int64_t count, int64_t dim) {
  if (!count) throw std::runtime_error("cat() needs a tensor");
  // Tensors of one dimension without elements fit all others.
  std::vector<const Tensor*> used;
  int32_t dtype = tensors[0]->dtype;
  bool innermost = true;
  for (int64_t i = 0; i < count; i++) {
    if (!tensors[i]->ndim) throw std::runtime_error("cat() takes no tensor without dimensions");
    dtype = common_dtype(dtype, tensors[i]->dtype);
    innermost &= is_channels_last(tensors[i]);
    if (tensors[i]->ndim != 1 || tensors[i]->numel) used.push_back(tensors[i]);
  }
  if (used.empty()) return new_like({0}, dtype, false);
  int along = dimension(used[0], dim);
  Sizes sizes = sizes_of(used[0]);
  sizes[along] = 0;
  for (const Tensor* each : used) {
    Sizes others = sizes_of(each);
    sizes[along] += others.size() > static_cast<size_t>(along) ? others[along] : 0;
    if (others.size() == sizes.size()) others[along] = sizes[along];
    if (others != sizes) throw std::runtime_error("cat() needs sizes that are the same elsewhere");
  }
  Owned made(new_like(sizes, dtype, innermost));
  Sizes starts(sizes.size(), 0);
  for (const Tensor* each : used) {
    Owned place(part(made.tensor, starts, sizes_of(each)));
    copy(place.tensor, each);
    starts[along] += each->sizes()[along];
  }
  return made.take();
}

// Padding on both sides of each dimension; sizes of the result.
struct Pads {
  Sizes before, sizes;
  bool grows = false;
};

Pads pads_of(const Tensor* tensor, const int64_t* pad, int64_t count) {
  if (count % 2 || count / 2 > tensor->ndim)
    throw std::runtime_error("pad() needs two numbers for each of the last dimensions");
  Pads pads{Sizes(tensor->ndim, 0), sizes_of(tensor)};
  for (int64_t i = 0; i < count / 2; i++) {
    int64_t d = tensor->ndim - 1 - i;
    pads.before[d] = pad[2 * i];
    pads.sizes[d] += pad[2 * i] + pad[2 * i + 1];
    pads.grows |= pad[2 * i] > 0 || pad[2 * i + 1] > 0;
    if (pads.sizes[d] < 0) throw std::runtime_error("pad() to a negative size");
  }
  return pads;
}

Tensor* padded_by_value(const Tensor* tensor, const Pads& pads, double value) {
  Sizes from(tensor->ndim), to(tensor->ndim), common(tensor->ndim);
  for (int d = 0; d < tensor->ndim; d++) {
    from[d] = std::max<int64_t>(-pads.before[d], 0);
    to[d] = std::max<int64_t>(pads.before[d], 0);
    common[d] = std::max<int64_t>(std::min(tensor->sizes()[d] - from[d], pads.sizes[d] - to[d]), 0);
  }
  Owned source(part(tensor, from, common));
  if (!pads.grows) {
    Owned made(
        new_tensor(source->dtype, source->ndim, source->sizes(), like(source.tensor).data()));
    copy(made.tensor, source.tensor);
    return made.take();
  }
  Owned made(new_like(pads.sizes, tensor->dtype, is_channels_last(tensor)));
  aoti_torch_cpu_fill__Scalar(made.tensor, value);
  Owned place(part(made.tensor, to, common));
  copy(place.tensor, source.tensor);
  return made.take();
}

enum class Mode { reflect, replicate, circular };

// Which element of a dimension each one of the result is.
Sizes origins(int64_t size, int64_t before, int64_t result, Mode mode) {
  int64_t after = result - size - before;
  int64_t most = mode == Mode::reflect && size ? size - 1 : size;
  if (mode != Mode::replicate && std::max(before, after) > most)
    throw std::runtime_error("pad() of " + std::to_string(std::max(before, after)) +
                             " elements, of " + std::to_string(size));
  if (!size && result) throw std::runtime_error("pad() of a dimension without elements");
  Sizes made(result);
  // What negative padding cuts off does not come back at the other end.
  int64_t cut = std::max<int64_t>(-before, 0), left = size - cut - std::max<int64_t>(-after, 0);
  for (int64_t o = 0; o < result; o++) {
    int64_t i = o - before;
    switch (mode) {
      case Mode::reflect:
        made[o] = i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i;
        break;
      case Mode::replicate:
        made[o] = std::clamp<int64_t>(i, 0, size - 1);
        break;
      case Mode::circular:
        made[o] = cut + (i - cut + left) % left;
        break;
    }
  }
  return made;
}

Tensor* padded_by_elements(const Tensor* tensor, const Pads& pads, int64_t dims, Mode mode) {
  int ndim = tensor->ndim;
  if (dims < 1 || dims > 3 || (ndim != dims + 1 && ndim != dims + 2))
    throw std::runtime_error("pad() in this mode takes the last 1 to 3 of 2 to 5 dimensions, " +
                             std::string("with a batch and channels before them"));
  bool innermost = mode != Mode::circular && is_channels_last(tensor);
  Owned made(new_like(pads.sizes, tensor->dtype, innermost));
  std::vector<Sizes> from(ndim);
  for (int d = 0; d < ndim; d++)
    from[d] = origins(tensor->sizes()[d], pads.before[d], pads.sizes[d], mode);
  if (!made->numel) return made.take();
  int last = innermost ? 1 : ndim - 1;  // the dimension of the inner loop
  int64_t count = pads.sizes[last], rows = made->numel / count;
  with_size(tensor->itemsize, [&](auto zero) {
    using T = decltype(zero);
#pragma omp parallel for num_threads(workers(made->numel, rows))
    for (int64_t row = 0; row < rows; row++) {
      const T* source = tensor->as<T>();
      T* target = made->as<T>();
      int64_t rest = row, step = tensor->strides()[last], spread = made->strides()[last];
      for (int d = ndim - 1; d >= 0; d--) {
        if (d == last) continue;
        int64_t at = rest % pads.sizes[d];
        rest /= pads.sizes[d];
        source += from[d][at] * tensor->strides()[d];
        target += at * made->strides()[d];
      }
      for (int64_t i = 0; i < count; i++) target[i * spread] = source[from[last][i] * step];
    }
  });
  return made.take();
}

Tensor* padded(const Tensor* tensor, const int64_t* pad, int64_t count, const char* mode,
               const double* value) {
  Pads pads = pads_of(tensor, pad, count);
  if (!std::strcmp(mode, "constant")) return padded_by_value(tensor, pads, value ? *value : 0);
  if (value && *value) throw std::runtime_error("pad() takes a value for the mode constant only");
  for (auto [name, which] : {std::pair("reflect", Mode::reflect),
                             {"replicate", Mode::replicate},
                             {"circular", Mode::circular}})
    if (!std::strcmp(mode, name)) return padded_by_elements(tensor, pads, count / 2, which);
  throw std::runtime_error(std::string("pad() does not know the mode ") + mode);
}

}  // namespace

AOTITorchError aoti_torch_cpu_cat(const AtenTensorHandle* tensors, int64_t tensors_len_,
                                  int64_t dim, AtenTensorHandle* ret0) {
  *ret0 = concatenated(tensors, tensors_len_, dim);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_pad(AtenTensorHandle self, const int64_t* pad, int64_t pad_len_,
                                  const char* mode, double* value, AtenTensorHandle* ret0) {
  *ret0 = padded(self, pad, pad_len_, mode, value);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_pad(AtenTensorHandle self, const int64_t* pad, int64_t pad_len_,
                                   const char* mode, double* value, AtenTensorHandle* ret0) {
  *ret0 = padded(self, pad, pad_len_, mode, value);
  return AOTI_TORCH_SUCCESS;
}
