// The functions of torch's C interface that generated code and the engine call for tensors.

#include "tensor.h"

#include <complex>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

using namespace aotbuild::standalone;

// Errors are thrown as they are: the code around the kernels catches them, and keeps their text.
#define CONSTANT(name, value) \
  int32_t name() { return value; }

CONSTANT(aoti_torch_device_type_cpu, 0)
CONSTANT(aoti_torch_device_type_cuda, 1)
CONSTANT(aoti_torch_dtype_uint8, kUInt8)
CONSTANT(aoti_torch_dtype_int8, kInt8)
CONSTANT(aoti_torch_dtype_int16, kInt16)
CONSTANT(aoti_torch_dtype_int32, kInt32)
CONSTANT(aoti_torch_dtype_int64, kInt64)
CONSTANT(aoti_torch_dtype_uint16, kUInt16)
CONSTANT(aoti_torch_dtype_uint32, kUInt32)
CONSTANT(aoti_torch_dtype_uint64, kUInt64)
CONSTANT(aoti_torch_dtype_float16, kHalf)
CONSTANT(aoti_torch_dtype_bfloat16, kBFloat16)
CONSTANT(aoti_torch_dtype_float32, kFloat)
CONSTANT(aoti_torch_dtype_float64, kDouble)
CONSTANT(aoti_torch_dtype_complex32, kComplexHalf)
CONSTANT(aoti_torch_dtype_complex64, kComplexFloat)
CONSTANT(aoti_torch_dtype_complex128, kComplexDouble)
CONSTANT(aoti_torch_dtype_bool, kBool)
CONSTANT(aoti_torch_layout_strided, 0)
CONSTANT(aoti_torch_memory_format_contiguous_format, 0)

size_t aoti_torch_dtype_element_size(int32_t dtype) { return size_of(dtype); }

// Gradients are nothing here.
bool aoti_torch_grad_mode_is_enabled() { return false; }
void aoti_torch_grad_mode_set_enabled(bool) {}

// ---- What a tensor is ----

AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** data) {
  *data = tensor->data();
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_storage_size(AtenTensorHandle tensor, int64_t* bytes) {
  *bytes = tensor->storage->bytes;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_storage_numel(AtenTensorHandle tensor, int64_t* numel) {
  *numel = tensor->storage->bytes / tensor->itemsize;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_storage_offset(AtenTensorHandle tensor, int64_t* offset) {
  *offset = tensor->offset;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_dim(AtenTensorHandle tensor, int64_t* dim) {
  *dim = tensor->ndim;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_numel(AtenTensorHandle tensor, int64_t* numel) {
  *numel = tensor->numel;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_sizes(AtenTensorHandle tensor, int64_t** sizes) {
  *sizes = tensor->sizes();
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_size(AtenTensorHandle tensor, int64_t d, int64_t* size) {
  *size = tensor->sizes()[d < 0 ? d + tensor->ndim : d];
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_strides(AtenTensorHandle tensor, int64_t** strides) {
  *strides = tensor->strides();
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_stride(AtenTensorHandle tensor, int64_t d, int64_t* stride) {
  *stride = tensor->strides()[d < 0 ? d + tensor->ndim : d];
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_dtype(AtenTensorHandle tensor, int32_t* dtype) {
  *dtype = tensor->dtype;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_device_type(AtenTensorHandle, int32_t* type) {
  *type = aoti_torch_device_type_cpu();
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_device_index(AtenTensorHandle, int32_t* index) {
  *index = -1;
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_get_layout(AtenTensorHandle, int32_t* layout) {
  *layout = aoti_torch_layout_strided();
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle tensor, bool* answer) {
  *answer = is_contiguous(tensor);
  return AOTI_TORCH_SUCCESS;
}
AOTITorchError aoti_torch_is_defined(AtenTensorHandle tensor, bool* answer) {
  *answer = tensor != nullptr;
  return AOTI_TORCH_SUCCESS;
}

// ---- New tensors ----

AOTITorchError aoti_torch_empty_strided(int64_t ndim, const int64_t* sizes, const int64_t* strides,
                                        int32_t dtype, int32_t, int32_t, AtenTensorHandle* made) {
  *made = new_tensor(dtype, ndim, sizes, strides);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_create_tensor_from_blob(void* data, int64_t ndim, const int64_t* sizes,
                                                  const int64_t* strides, int64_t offset,
                                                  int32_t dtype, int32_t, int32_t,
                                                  AtenTensorHandle* made) {
  int64_t last = 0, count = 1;
  for (int64_t i = 0; i < ndim; i++) last += (sizes[i] - 1) * strides[i], count *= sizes[i];
  int64_t bytes = count ? (offset + last + 1) * size_of(dtype) : 0;
  *made = tensor_over(borrow(data, bytes), offset, dtype, ndim, sizes, strides);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_create_tensor_from_blob_v2(void* data, int64_t ndim, const int64_t* sizes,
                                                     const int64_t* strides, int64_t offset,
                                                     int32_t dtype, int32_t type, int32_t index,
                                                     AtenTensorHandle* made, int32_t layout,
                                                     const uint8_t*, int64_t) {
  if (layout != aoti_torch_layout_strided())
    throw std::runtime_error("oneDNN's layout needs torch");
  return aoti_torch_create_tensor_from_blob(data, ndim, sizes, strides, offset, dtype, type, index,
                                            made);
}

AOTITorchError aoti_torch_new_tensor_handle(AtenTensorHandle tensor, AtenTensorHandle* made) {
  *made = tensor_over(share(tensor->storage), tensor->offset, tensor->dtype, tensor->ndim,
                      tensor->sizes(), tensor->strides());
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle tensor) {
  destroy(tensor);
  return AOTI_TORCH_SUCCESS;
}

// ---- Views ----

AOTITorchError aoti_torch__reinterpret_tensor(AtenTensorHandle tensor, int64_t ndim,
                                              const int64_t* sizes, const int64_t* strides,
                                              int64_t offset, AtenTensorHandle* made) {
  *made = tensor_over(share(tensor->storage), tensor->offset + offset, tensor->dtype, ndim, sizes,
                      strides);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch__alloc_from_pool(AtenTensorHandle tensor, int64_t bytes, int32_t dtype,
                                           int64_t ndim, const int64_t* sizes,
                                           const int64_t* strides, AtenTensorHandle* made) {
  int64_t start = tensor->offset * tensor->itemsize + bytes;
  *made = tensor_over(share(tensor->storage), start / size_of(dtype), dtype, ndim, sizes, strides);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_as_strided(AtenTensorHandle tensor, const int64_t* sizes,
                                     const int64_t* strides, AtenTensorHandle* made) {
  return aoti_torch__reinterpret_tensor(tensor, tensor->ndim, sizes, strides, 0, made);
}

// ---- Copies ----

AOTITorchError aoti_torch_clone(AtenTensorHandle tensor, AtenTensorHandle* made) {
  *made = clone(tensor);
  return AOTI_TORCH_SUCCESS;
}

// A copy of the memory as well, whose elements may overlap or have gaps.
AOTITorchError aoti_torch_clone_preserve_strides(AtenTensorHandle tensor, AtenTensorHandle* made) {
  Owned other(new_tensor(tensor->dtype, tensor->ndim, tensor->sizes(), tensor->strides()));
  std::memcpy(other->data(), tensor->data(), other->storage->bytes);
  *made = other.take();
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_copy_(AtenTensorHandle to, AtenTensorHandle from, int32_t) {
  copy(to, from);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_assign_tensors_out(AtenTensorHandle from, AtenTensorHandle* made) {
  return aoti_torch_new_tensor_handle(from, made);
}

AOTITorchError aoti_torch_zero_(AtenTensorHandle tensor) {
  Owned zero(new_tensor(tensor->dtype, 0, nullptr));
  std::memset(zero->data(), 0, zero->itemsize);
  fill(tensor, zero.tensor);
  return AOTI_TORCH_SUCCESS;
}

// ---- Numbers ----

#define NUMBER(name, type)                                                      \
  AOTITorchError aoti_torch_item_##name(AtenTensorHandle tensor, type* value) { \
    std::memcpy(value, tensor->data(), sizeof *value);                          \
    return AOTI_TORCH_SUCCESS;                                                  \
  }
NUMBER(float16, c10::Half)
NUMBER(bfloat16, c10::BFloat16)
NUMBER(float32, float)
NUMBER(float64, double)
NUMBER(uint8, uint8_t)
NUMBER(uint16, uint16_t)
NUMBER(uint32, uint32_t)
NUMBER(uint64, uint64_t)
NUMBER(int8, int8_t)
NUMBER(int16, int16_t)
NUMBER(int32, int32_t)
NUMBER(int64, int64_t)
NUMBER(bool, bool)
NUMBER(complex64, c10::complex<float>)

#define SCALAR(name, type, number)                                                        \
  AOTITorchError aoti_torch_scalar_to_tensor_##name(type value, AtenTensorHandle* made) { \
    *made = new_tensor(number, 0, nullptr);                                               \
    std::memcpy((*made)->data(), &value, sizeof value);                                   \
    return AOTI_TORCH_SUCCESS;                                                            \
  }
SCALAR(float32, float, kFloat)
SCALAR(float64, double, kDouble)
SCALAR(uint8, uint8_t, kUInt8)
SCALAR(uint16, uint16_t, kUInt16)
SCALAR(uint32, uint32_t, kUInt32)
SCALAR(uint64, uint64_t, kUInt64)
SCALAR(int8, int8_t, kInt8)
SCALAR(int16, int16_t, kInt16)
SCALAR(int32, int32_t, kInt32)
SCALAR(int64, int64_t, kInt64)
SCALAR(bool, bool, kBool)
SCALAR(complex64, c10::complex<float>, kComplexFloat)
SCALAR(complex128, c10::complex<double>, kComplexDouble)

void aoti_torch_check(bool condition, const char*, const char*, uint32_t, const char* message) {
  if (!condition) throw std::runtime_error(message);
}
