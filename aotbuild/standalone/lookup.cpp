// What the engine finds in a stand-alone library, by the names that it looks up in torch's library.
//
// Functions that can fail return an error code: the engine is written in C, which exceptions must
// not reach.

#include <cstring>
#include <new>

#include "tensor.h"
#include "threads.h"

using namespace aotbuild::standalone;

extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
}

namespace {

int from_blob(void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides,
              int64_t offset, int32_t dtype, int32_t, int32_t, AtenTensorHandle* made) {
  try {
    return aoti_torch_create_tensor_from_blob(data, ndim, sizes, strides, offset, dtype, 0, 0,
                                              made);
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}

int new_handle(AtenTensorHandle tensor, AtenTensorHandle* made) {
  try {
    return aoti_torch_new_tensor_handle(tensor, made);
  } catch (const std::exception&) {
    return AOTI_TORCH_FAILURE;
  }
}

template <typename F>
void* address(F* function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

#define FOUND(function) {#function, address(function)}

extern "C" __attribute__((visibility("default"))) void* aotbuild_find(const char* name) {
  static const struct {
    const char* name;
    void* function;
  } functions[] = {
      {"aoti_torch_create_tensor_from_blob", address(from_blob)},
      {"aoti_torch_new_tensor_handle", address(new_handle)},
      {"aotbuild_set_threads", address(set_threads)},
      FOUND(aoti_torch_delete_tensor_object),
      FOUND(aoti_torch_get_data_ptr),
      FOUND(aoti_torch_get_dim),
      FOUND(aoti_torch_get_sizes),
      FOUND(aoti_torch_get_strides),
      FOUND(aoti_torch_get_dtype),
      FOUND(omp_get_max_threads),
      FOUND(omp_set_num_threads),
      FOUND(aoti_torch_dtype_float32),
      FOUND(aoti_torch_dtype_int64),
      FOUND(aoti_torch_dtype_bool),
      FOUND(aoti_torch_dtype_uint8),
      FOUND(aoti_torch_dtype_int32),
      FOUND(aoti_torch_dtype_bfloat16),
      FOUND(aoti_torch_dtype_float16),
      FOUND(aoti_torch_dtype_float64),
      FOUND(aoti_torch_dtype_int8),
      FOUND(aoti_torch_dtype_int16),
      FOUND(aoti_torch_dtype_uint16),
      FOUND(aoti_torch_dtype_uint32),
      FOUND(aoti_torch_dtype_uint64),
      FOUND(aoti_torch_dtype_complex64),
      FOUND(aoti_torch_dtype_complex128),
  };
  for (const auto& each : functions)
    if (!std::strcmp(each.name, name)) return each.function;
  return nullptr;
}
