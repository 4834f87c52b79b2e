// Products of matrices: mm, bmm and their relatives.

#include "products.h"

#include <omp.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

namespace aotbuild::standalone {
namespace {

std::string shape_of(const Tensor* tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor->ndim; i++)
    text += (i ? ", " : "") + std::to_string(tensor->sizes()[i]);
  return text + "]";
}

// The last two dimensions of a tensor, at an element of it.
template <typename T>
Matrix<T> matrix(const Tensor* tensor, int64_t offset = 0) {
  const int64_t* strides = tensor->strides() + tensor->ndim - 2;
  return {tensor->as<T>() + offset, strides[0], strides[1]};
}

// A tensor of the same memory with other sizes and strides.
Tensor* view(const Tensor* tensor, int64_t ndim, const int64_t* sizes, const int64_t* strides) {
  return tensor_over(share(tensor->storage), tensor->offset, tensor->dtype, ndim, sizes, strides);
}

// A tensor as one of more dimensions, or of larger ones, by strides of zero.
Tensor* expanded(const Tensor* tensor, const Tensor* like) {
  std::vector<int64_t> strides(like->ndim);
  const int before = like->ndim - tensor->ndim;
  bool fits = before >= 0;
  for (int i = 0; fits && i < tensor->ndim; i++) {
    const int64_t size = tensor->sizes()[i];
    fits = size == 1 || size == like->sizes()[before + i];
    strides[before + i] = size == 1 ? 0 : tensor->strides()[i];
  }
  if (!fits)
    throw std::runtime_error("a tensor of shape " + shape_of(tensor) +
                             " cannot be expanded to the shape " + shape_of(like));
  return view(tensor, like->ndim, like->sizes(), strides.data());
}

// The real or the imaginary parts of a complex tensor.
Tensor* part_of(const Tensor* tensor, bool imaginary) {
  std::vector<int64_t> strides(tensor->ndim);
  for (int i = 0; i < tensor->ndim; i++) strides[i] = 2 * tensor->strides()[i];
  return tensor_over(share(tensor->storage), 2 * tensor->offset + imaginary,
                     tensor->dtype == kComplexFloat ? kFloat : kDouble, tensor->ndim,
                     tensor->sizes(), strides.data());
}

// out = alpha a b (+ out) for matrices, or for batches of them.
template <typename T>
void multiply_all(Tensor* out, const Tensor* a, const Tensor* b, T alpha, bool add) {
  const int d = out->ndim - 2;
  const int64_t m = out->sizes()[d], n = out->sizes()[d + 1], k = a->sizes()[d + 1];
  const int64_t batch = d ? out->sizes()[0] : 1;
  if (batch == 1)
    return multiply<T>(m, n, k, alpha, matrix<T>(a), matrix<T>(b), add, matrix<T>(out));
  auto one = [&](int64_t i) {
    return std::array{matrix<T>(a, i * a->strides()[0]), matrix<T>(b, i * b->strides()[0]),
                      matrix<T>(out, i * out->strides()[0])};
  };
  const int64_t threads = batch * m * n * k < (1 << 18) ? 1 : omp_get_max_threads();
  if (threads > batch) {
    for (int64_t i = 0; i < batch; i++) {
      auto [x, y, z] = one(i);
      multiply<T>(m, n, k, alpha, x, y, add, z);
    }
    return;
  }
  Scratch<T> scratch(threads);
  auto some = [&](int64_t thread) {
    for (int64_t i = thread * batch / threads; i < (thread + 1) * batch / threads; i++) {
      auto [x, y, z] = one(i);
      multiply<T>(m, n, k, alpha, x, y, add, z, scratch.of(thread));
    }
  };
  if (threads == 1) return some(0);
#pragma omp parallel for schedule(static)
  for (int64_t thread = 0; thread < threads; thread++) some(thread);
}

// out *= factor; a factor of zero clears what is there, NaN too.
template <typename T>
void scale(Tensor* out, double factor) {
  const T by = static_cast<T>(factor);
  if (by == T(1)) return;
  const int d = out->ndim - 2;
  for (int64_t i = 0; i < (d ? out->sizes()[0] : 1); i++) {
    const Matrix<T> part = matrix<T>(out, d ? i * out->strides()[0] : 0);
    for (int64_t r = 0; r < out->sizes()[d]; r++)
      for (int64_t c = 0; c < out->sizes()[d + 1]; c++)
        *part.at(r, c) = by == T(0) ? T(0) : by * *part.at(r, c);
  }
}

template <typename T>
void product(Tensor* out, const Tensor* self, const Tensor* a, const Tensor* b, double beta,
             double alpha) {
  const bool add = self && static_cast<T>(beta) != T(0);
  if (add) {
    copy(out, self);
    scale<T>(out, beta);
  }
  if (static_cast<T>(alpha) != T(0)) return multiply_all<T>(out, a, b, static_cast<T>(alpha), add);
  if (!add) scale<T>(out, 0);
}

// By another type, to which the operands are converted.
template <typename T>
void product_as(int32_t dtype, Tensor* out, Tensor* self, Tensor* a, Tensor* b, double beta,
                double alpha) {
  Owned x(contiguous(a, dtype)), y(contiguous(b, dtype));
  Owned z(new_tensor(dtype, out->ndim, out->sizes()));
  product<T>(z.tensor, self, x.tensor, y.tensor, beta, alpha);
  copy(out, z.tensor);
}

template <typename T>
void complex_product(Tensor* out, Tensor* self, Tensor* a, Tensor* b, double beta, double alpha) {
  Owned a_real(part_of(a, false)), a_imaginary(part_of(a, true));
  Owned b_real(part_of(b, false)), b_imaginary(part_of(b, true));
  Owned real(part_of(out, false)), imaginary(part_of(out, true));
  Owned self_real(self ? part_of(self, false) : nullptr);
  Owned self_imaginary(self ? part_of(self, true) : nullptr);
  product<T>(real.tensor, self_real.tensor, a_real.tensor, b_real.tensor, beta, alpha);
  product<T>(imaginary.tensor, self_imaginary.tensor, a_real.tensor, b_imaginary.tensor, beta,
             alpha);
  if (alpha == 0) return;
  multiply_all<T>(real.tensor, a_imaginary.tensor, b_imaginary.tensor, static_cast<T>(-alpha),
                  true);
  multiply_all<T>(imaginary.tensor, a_imaginary.tensor, b_real.tensor, static_cast<T>(alpha), true);
}

// out = beta self + alpha a b, where `self` is null or of the shape of `out`.
void products(Tensor* out, Tensor* self, Tensor* a, Tensor* b, double beta, double alpha) {
  if (a->dtype != b->dtype || (self && self->dtype != a->dtype) || out->dtype != a->dtype)
    throw std::runtime_error("the matrices of a product have different dtypes");
  const int d = a->ndim - 2;
  if (a->sizes()[d + 1] != b->sizes()[d] || (d && a->sizes()[0] != b->sizes()[0]))
    throw std::runtime_error("matrices of shapes " + shape_of(a) + " and " + shape_of(b) +
                             " cannot be multiplied");
  if ((d && out->sizes()[0] != a->sizes()[0]) || out->sizes()[d] != a->sizes()[d] ||
      out->sizes()[d + 1] != b->sizes()[d + 1])
    throw std::runtime_error("the product of matrices has another shape than " + shape_of(out));
  if (!out->numel) return;
  switch (out->dtype) {
    case kFloat:
      return product<float>(out, self, a, b, beta, alpha);
    case kDouble:
      return product<double>(out, self, a, b, beta, alpha);
    case kInt32:
      return product<int32_t>(out, self, a, b, beta, alpha);
    case kInt64:
      return product<int64_t>(out, self, a, b, beta, alpha);
    case kInt8:
    case kUInt8:
    case kInt16:  // what wraps is the same in the low bits of a wider type
      return product_as<int32_t>(kInt32, out, self, a, b, beta, alpha);
    case kHalf:
    case kBFloat16:
      return product_as<float>(kFloat, out, self, a, b, beta, alpha);
    case kComplexFloat:
      return complex_product<float>(out, self, a, b, beta, alpha);
    case kComplexDouble:
      return complex_product<double>(out, self, a, b, beta, alpha);
  }
  throw std::runtime_error("matrices with the dtype number " + std::to_string(out->dtype) +
                           " cannot be multiplied");
}

void need_ndim(const Tensor* tensor, int ndim) {
  if (tensor->ndim != ndim)
    throw std::runtime_error("a product takes tensors of " + std::to_string(ndim) +
                             " dimensions, not one of shape " + shape_of(tensor));
}

void with_summand(Tensor* out, Tensor* self, Tensor* a, Tensor* b, double beta, double alpha,
                  int ndim) {
  need_ndim(out, ndim), need_ndim(a, ndim), need_ndim(b, ndim);
  Owned summand(expanded(self, out));
  products(out, summand.tensor, a, b, beta, alpha);
}

template <typename T>
void activate(Tensor* tensor, bool gelu) {
  T* values = tensor->as<T>();
  for (int64_t i = 0; i < tensor->numel; i++) {
    const double x = static_cast<double>(values[i]);
    if (gelu)
      values[i] = static_cast<T>(x * 0.5 * (1 + std::erf(x * M_SQRT1_2)));
    else if (x < 0)
      values[i] = T(0);
  }
}

}  // namespace
}  // namespace aotbuild::standalone

using namespace aotbuild::standalone;

AOTITorchError aoti_torch_cpu_mm_out(AtenTensorHandle out, AtenTensorHandle self,
                                     AtenTensorHandle mat2) {
  need_ndim(out, 2), need_ndim(self, 2), need_ndim(mat2, 2);
  products(out, nullptr, self, mat2, 0, 1);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_bmm_out(AtenTensorHandle out, AtenTensorHandle self,
                                      AtenTensorHandle mat2) {
  need_ndim(out, 3), need_ndim(self, 3), need_ndim(mat2, 3);
  products(out, nullptr, self, mat2, 0, 1);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_addmm_out(AtenTensorHandle out, AtenTensorHandle self,
                                        AtenTensorHandle mat1, AtenTensorHandle mat2, double beta,
                                        double alpha) {
  with_summand(out, self, mat1, mat2, beta, alpha, 2);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_baddbmm_out(AtenTensorHandle out, AtenTensorHandle self,
                                          AtenTensorHandle batch1, AtenTensorHandle batch2,
                                          double beta, double alpha) {
  with_summand(out, self, batch1, batch2, beta, alpha, 3);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch__mm_plus_mm_out(AtenTensorHandle out, AtenTensorHandle a,
                                          AtenTensorHandle b, AtenTensorHandle c,
                                          AtenTensorHandle d) {
  need_ndim(out, 2), need_ndim(a, 2), need_ndim(b, 2), need_ndim(c, 2), need_ndim(d, 2);
  products(out, nullptr, a, b, 0, 1);
  products(out, out, c, d, 1, 1);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu__int_mm_out(AtenTensorHandle out, AtenTensorHandle self,
                                          AtenTensorHandle mat2) {
  need_ndim(out, 2), need_ndim(self, 2), need_ndim(mat2, 2);
  if ((self->dtype != kInt8 && self->dtype != kUInt8) || mat2->dtype != kInt8 ||
      out->dtype != kInt32)
    throw std::runtime_error("_int_mm takes int8 or uint8 and int8 matrices");
  Owned a(contiguous(self, kInt32)), b(contiguous(mat2, kInt32));
  products(out, nullptr, a.tensor, b.tensor, 0, 1);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_addmv(AtenTensorHandle self, AtenTensorHandle mat,
                                    AtenTensorHandle vec, double beta, double alpha,
                                    AtenTensorHandle* ret0) {
  need_ndim(mat, 2), need_ndim(vec, 1);
  Owned out(new_tensor(mat->dtype, 1, mat->sizes()));
  Owned summand(expanded(self, out.tensor));
  auto column = [](const Tensor* tensor) {
    const int64_t sizes[] = {tensor->sizes()[0], 1}, strides[] = {tensor->strides()[0], 1};
    return view(tensor, 2, sizes, strides);
  };
  Owned c(column(out.tensor)), b(column(vec)), s(column(summand.tensor));
  products(c.tensor, s.tensor, mat, b.tensor, beta, alpha);
  *ret0 = out.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu__addmm_activation(AtenTensorHandle self, AtenTensorHandle mat1,
                                                AtenTensorHandle mat2, double beta, double alpha,
                                                int32_t use_gelu, AtenTensorHandle* ret0) {
  need_ndim(mat1, 2), need_ndim(mat2, 2);
  const int64_t sizes[] = {mat1->sizes()[0], mat2->sizes()[1]};
  Owned out(new_tensor(mat1->dtype, 2, sizes));
  with_summand(out.tensor, self, mat1, mat2, beta, alpha, 2);
  const bool integer = out->dtype < kHalf;
  if (out->dtype == kComplexFloat || out->dtype == kComplexDouble || (integer && use_gelu))
    throw std::runtime_error("there is no activation for numbers of dtype number " +
                             std::to_string(out->dtype));
  if (out->dtype == kFloat) {
    activate<float>(out.tensor, use_gelu);
  } else {
    Owned wide(contiguous(out.tensor, integer ? kInt64 : kDouble));
    integer ? activate<int64_t>(wide.tensor, false) : activate<double>(wide.tensor, use_gelu);
    copy(out.tensor, wide.tensor);
  }
  *ret0 = out.take();
  return AOTI_TORCH_SUCCESS;
}
