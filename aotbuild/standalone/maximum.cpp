// The largest values along dimensions.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h>

#include "dtypes.h"
#include "layout.h"

using namespace aotbuild::standalone;

namespace {

template <typename T>
void largest(const Tensor* rows, Tensor* made, int64_t length) {
  for (int64_t row = 0; row < made->numel; row++) {
    const T* values = rows->as<T>() + row * length;
    T most = values[0];
    for (int64_t i = 1; i < length; i++) {
      bool better = values[i] > most;
      if constexpr (!std::is_integral_v<T>)
        better = better || std::isnan(static_cast<double>(values[i]));
      if (better) most = values[i];
    }
    made->as<T>()[row] = most;
  }
}

}  // namespace

AOTITorchError aoti_torch_aten_amax(AtenTensorHandle self, const int64_t* dim, int64_t dim_len_,
                                    int32_t keepdim, AtenTensorHandle* ret0) {
  std::vector<bool> reduced(self->ndim, !dim_len_);
  for (int64_t i = 0; i < dim_len_; i++) {
    int d = dimension(self, dim[i]);
    if (!self->ndim) break;
    if (reduced[d]) throw std::runtime_error("amax takes each dimension once");
    reduced[d] = true;
  }
  Sizes sizes, ordered, strides;
  int64_t length = 1;
  for (bool inner : {false, true})
    for (int d = 0; d < self->ndim; d++) {
      if (reduced[d] != inner) continue;
      ordered.push_back(self->sizes()[d]);
      strides.push_back(self->strides()[d]);
      if (inner) length *= self->sizes()[d];
    }
  for (int d = 0; d < self->ndim; d++)
    if (keepdim || !reduced[d]) sizes.push_back(reduced[d] ? 1 : self->sizes()[d]);
  if (!length) throw std::runtime_error("amax of a dimension without elements");
  Owned view(tensor_over(share(self->storage), self->offset, self->dtype, self->ndim,
                         ordered.data(), strides.data()));
  Owned rows(contiguous(view.tensor, self->dtype));
  Owned made(new_tensor(self->dtype, static_cast<int64_t>(sizes.size()), sizes.data()));
  auto find = [&](auto sample) { largest<decltype(sample)>(rows.tensor, made.tensor, length); };
  if (self->dtype == kBool)
    find(bool());
  else if (!with_integer(self->dtype, find) && !with_real(self->dtype, find))
    refuse("amax", self->dtype);
  *ret0 = made.take();
  return AOTI_TORCH_SUCCESS;
}
