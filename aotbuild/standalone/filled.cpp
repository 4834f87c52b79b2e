// Tensors of one number, or of none yet.

#include <cmath>
#include <stdexcept>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_aten.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "tensor.h"

using namespace aotbuild::standalone;

namespace {

void fill_with(double value, Tensor* tensor) {
  Owned number(new_tensor(kDouble, 0, nullptr));
  *number->as<double>() = value;
  fill(tensor, number.tensor);
}

}  // namespace

AOTITorchError aoti_torch_cpu_fill__Scalar(AtenTensorHandle self, double value) {
  fill_with(value, self);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_fill__Scalar(AtenTensorHandle self, double value) {
  fill_with(value, self);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_full(const int64_t* size, int64_t size_len_, double fill_value,
                                    int32_t* dtype, int32_t*, int32_t*, int32_t, int32_t*,
                                    AtenTensorHandle* ret0) {
  Owned made(new_tensor(dtype ? *dtype : static_cast<int32_t>(kFloat), size_len_, size));
  fill_with(fill_value, made.tensor);
  *ret0 = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_new_empty(AtenTensorHandle self, const int64_t* size,
                                         int64_t size_len_, int32_t* dtype, int32_t*, int32_t*,
                                         int32_t, int32_t*, AtenTensorHandle* ret0) {
  *ret0 = new_tensor(dtype ? *dtype : self->dtype, size_len_, size);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_aten_new_zeros(AtenTensorHandle self, const int64_t* size,
                                         int64_t size_len_, int32_t* dtype, int32_t*, int32_t*,
                                         int32_t, int32_t*, AtenTensorHandle* ret0) {
  Owned made(new_tensor(dtype ? *dtype : self->dtype, size_len_, size));
  fill_with(0, made.tensor);
  *ret0 = made.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu_hann_window(int64_t window_length, int32_t* dtype, int32_t*, int32_t*,
                                          int32_t, int32_t*, AtenTensorHandle* ret0) {
  if (window_length < 0) throw std::runtime_error("a window of a negative length");
  Owned exact(new_tensor(kDouble, 1, &window_length));
  double* values = exact->as<double>();
  for (int64_t i = 0; i < window_length; i++) {
    double root = std::sin(M_PI * static_cast<double>(i) / static_cast<double>(window_length));
    values[i] = window_length == 1 ? 1 : root * root;
  }
  *ret0 = contiguous(exact.tensor, dtype ? *dtype : static_cast<int32_t>(kFloat));
  return AOTI_TORCH_SUCCESS;
}
