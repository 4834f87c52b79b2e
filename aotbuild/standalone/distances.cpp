// Distances between rows.

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "layout.h"

using namespace aotbuild::standalone;

namespace {

template <typename T>
T distance(const T* a, const T* b, int64_t count, double p) {
  T sum = 0;
  if (p == 2) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum);
  }
  if (p == 1) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += std::abs(a[i] - b[i]);
    return sum;
  }
  if (p == 0) {
    for (int64_t i = 0; i < count; i++) {
      T apart = std::abs(a[i] - b[i]);
      sum += apart > 0 ? T(1) : apart;  // NaN stays NaN
    }
    return sum;
  }
  if (std::isinf(p)) {
    for (int64_t i = 0; i < count; i++) {
      T apart = std::abs(a[i] - b[i]);
      if (apart > sum) sum = apart;  // not for NaN, as in torch
    }
    return sum;
  }
  for (int64_t i = 0; i < count; i++) sum += std::pow(std::abs(a[i] - b[i]), static_cast<T>(p));
  return std::pow(sum, static_cast<T>(1 / p));
}

template <typename F>
void with_real(const char* name, int32_t dtype, F&& use) {
  if (dtype == kFloat) return use(float());
  if (dtype == kDouble) return use(double());
  refuse(name, dtype);
}

}  // namespace

AOTITorchError aoti_torch_cpu__cdist_forward(AtenTensorHandle x1, AtenTensorHandle x2, double p,
                                             int64_t* compute_mode, AtenTensorHandle* ret0) {
  if (x1->ndim < 2 || x2->ndim < 2) throw std::runtime_error("cdist needs two dimensions");
  if (x1->dtype != x2->dtype) throw std::runtime_error("cdist needs two tensors of one dtype");
  if (!(p >= 0)) throw std::runtime_error("cdist takes no negative p");
  if (compute_mode && (*compute_mode < 0 || *compute_mode > 2))
    throw std::runtime_error("cdist has the modes 0, 1 and 2");
  int64_t n = x1->sizes()[x1->ndim - 2], m = x2->sizes()[x2->ndim - 2];
  int64_t length = x1->sizes()[x1->ndim - 1];
  if (length != x2->sizes()[x2->ndim - 1])
    throw std::runtime_error("cdist needs rows of the same length");
  // The batches broadcast, without the last two dimensions.
  auto batch = [](const Tensor* x) {
    return tensor_over(share(x->storage), x->offset, x->dtype, x->ndim - 2, x->sizes(),
                       x->strides());
  };
  Owned batch1(batch(x1)), batch2(batch(x2));
  Sizes sizes = broadcast(batch1.tensor, batch2.tensor);
  auto full = [&](Tensor* x, int64_t rows) {
    Sizes wanted = sizes;
    wanted.insert(wanted.end(), {rows, length});
    Owned wide(expand(x, wanted, "cdist needs batches that broadcast"));
    return contiguous(wide.tensor, x->dtype);
  };
  Owned a(full(x1, n)), b(full(x2, m));
  sizes.insert(sizes.end(), {n, m});
  Owned made(new_tensor(x1->dtype, static_cast<int64_t>(sizes.size()), sizes.data()));
  with_real("cdist", x1->dtype, [&](auto zero) {
    using T = decltype(zero);
    if (!made->numel) return;
    int64_t rows = made->numel / m;
#pragma omp parallel for num_threads(workers(made->numel* length, rows))
    for (int64_t row = 0; row < rows; row++)
      for (int64_t j = 0; j < m; j++)
        made->as<T>()[row * m + j] =
            distance(a->as<T>() + row * length, b->as<T>() + (row / n * m + j) * length, length, p);
  });
  *ret0 = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu__pdist_forward(AtenTensorHandle self, double p,
                                             AtenTensorHandle* ret0) {
  if (self->ndim != 2) throw std::runtime_error("pdist needs two dimensions");
  if (!(p >= 0)) throw std::runtime_error("pdist takes no negative p");
  Owned rows(contiguous(self, self->dtype));
  int64_t n = self->sizes()[0], length = self->sizes()[1], count = n > 1 ? n * (n - 1) / 2 : 0;
  Owned made(new_tensor(self->dtype, 1, &count));
  with_real("pdist", self->dtype, [&](auto zero) {
    using T = decltype(zero);
#pragma omp parallel for num_threads(workers(count* length, n))
    for (int64_t i = 0; i < n; i++) {
      T* to = made->as<T>() + i * (2 * n - i - 1) / 2;
      for (int64_t j = i + 1; j < n; j++)
        *to++ = distance(rows->as<T>() + i * length, rows->as<T>() + j * length, length, p);
    }
  });
  *ret0 = made.take();
  return AOTI_TORCH_SUCCESS;
}
