// Tensors whose channels are innermost.

#include "memory_formats.h"

#include <algorithm>

namespace aotbuild::standalone {

Sizes channels_last(const Sizes& sizes) {
  std::vector<int> order{1};
  for (int d = static_cast<int>(sizes.size()) - 1; d > 1; d--) order.push_back(d);
  order.push_back(0);
  return strides_in_order(sizes, order);
}

bool is_channels_last(const Tensor* tensor) {
  int ndim = tensor->ndim;
  if (ndim != 4 && ndim != 5) return false;
  const int64_t *sizes = tensor->sizes(), *strides = tensor->strides();
  if (strides[1] == 0) return false;
  int64_t least = 0;
  for (int i = 0; i < ndim; i++) {
    int d = i == 0 ? 1 : i == ndim - 1 ? 0 : ndim - i;
    if (sizes[d] == 0 || strides[d] < least) return false;
    // A tensor of one channel and one row is taken for a contiguous one.
    if (d == 0 && least == strides[1]) return false;
    least = strides[d] * std::max<int64_t>(sizes[d], 1);
  }
  return true;
}

}  // namespace aotbuild::standalone
