/* The functions of torch and of a model's library, looked up by their names. */
#include "library.h"

#include <dlfcn.h>
#include <string.h>

const Dtype DTYPES[DTYPE_COUNT] = {
    {"aoti_torch_dtype_float32", 2, 32},     {"aoti_torch_dtype_int64", 0, 64},
    {"aoti_torch_dtype_bool", 6, 8},         {"aoti_torch_dtype_uint8", 1, 8},
    {"aoti_torch_dtype_int32", 0, 32},       {"aoti_torch_dtype_bfloat16", 4, 16},
    {"aoti_torch_dtype_float16", 2, 16},     {"aoti_torch_dtype_float64", 2, 64},
    {"aoti_torch_dtype_int8", 0, 8},         {"aoti_torch_dtype_int16", 0, 16},
    {"aoti_torch_dtype_uint16", 1, 16},      {"aoti_torch_dtype_uint32", 1, 32},
    {"aoti_torch_dtype_uint64", 1, 64},      {"aoti_torch_dtype_complex64", 5, 64},
    {"aoti_torch_dtype_complex128", 5, 128},
};

int dtype_index(int code, int bits) {
  for (int i = 0; i < DTYPE_COUNT; i++)
    if (DTYPES[i].code == code && DTYPES[i].bits == bits) return i;
  return -1;
}

/* A function by the name that torch has for it. NULL if there is none. */
static void* find_function(void* torch, void* library, const char* name) {
  if (torch) return dlsym(torch, name);
  void* (*find)(const char*);
  void* symbol = dlsym(library, "aotbuild_find");
  memcpy(&find, &symbol, sizeof symbol);
  return find ? find(name) : NULL;
}

const char* find_torch(void* torch, void* library, Torch* found, int32_t* dtypes) {
  struct {
    const char* name;
    void* place;
    bool needed;
  } functions[] = {
      {"aoti_torch_create_tensor_from_blob", &found->from_blob, true},
      {"aoti_torch_new_tensor_handle", &found->copy, true},
      {"aoti_torch_delete_tensor_object", &found->release, true},
      {"aoti_torch_get_data_ptr", &found->data, true},
      {"aoti_torch_get_dim", &found->ndim, true},
      {"aoti_torch_get_sizes", &found->sizes, true},
      {"aoti_torch_get_strides", &found->strides, true},
      {"aoti_torch_get_dtype", &found->dtype, true},
      {"aoti_torch_create_tensor_from_blob_v2", &found->packed_from_blob, false},
      {"aoti_torch_layout__mkldnn", &found->packed_layout, false},
      {"omp_get_max_threads", &found->get_threads, false},
      {"omp_set_num_threads", &found->set_threads, false},
      {"aotbuild_set_threads", &found->use_threads, false},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void* symbol = find_function(torch, library, functions[i].name);
    if (!symbol && functions[i].needed) return functions[i].name;
    memcpy(functions[i].place, &symbol, sizeof symbol);
  }
  for (int i = 0; i < DTYPE_COUNT; i++) {
    int32_t (*number)(void);
    void* symbol = find_function(torch, library, DTYPES[i].torch);
    memcpy(&number, &symbol, sizeof symbol);
    dtypes[i] = symbol ? number() : -1;
  }
  return NULL;
}

const char* find_library(void* library, Library* found) {
  struct {
    const char* name;
    void* place;
    bool needed;
  } functions[] = {
      {"AOTInductorModelContainerCreateWithDevice", &found->create, true},
      {"AOTInductorModelContainerDelete", &found->destroy, false},
      /* Takes no lock of its own. */
      {"AOTInductorModelContainerRunSingleThreaded", &found->run, true},
      {"AOTInductorModelContainerGetNumInputs", &found->inputs, true},
      {"AOTInductorModelContainerGetNumOutputs", &found->outputs, true},
      {"AOTInductorModelContainerGetNumConstants", &found->constants, true},
      {"AOTInductorModelContainerGetConstantName", &found->constant_name, true},
      {"AOTInductorModelContainerGetConstantDtype", &found->constant_dtype, true},
      {"AOTInductorModelContainerGetConstantDataSize", &found->constant_size, true},
      {"AOTInductorModelContainerUpdateUserManagedConstantBufferPairs", &found->set_constants,
       true},
      {"AOTInductorGetLastError", &found->last_error, false},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void* symbol = dlsym(library, functions[i].name);
    if (!symbol && functions[i].needed) return functions[i].name;
    memcpy(functions[i].place, &symbol, sizeof symbol);
  }
  return NULL;
}

size_t first_output(const Handle* outputs, size_t i) {
  size_t first = 0;
  while (outputs[first] != outputs[i]) first++;
  return first;
}
