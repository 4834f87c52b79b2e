/* What the state of a model is before its first call. */
#include "interface.h"

#include <string.h>

/* Copy a tensor that lies without gaps to a larger one, repeated along the axes where its size is
 * 1. */
static void repeat(char* to, const char* from, int32_t ndim, const int64_t* sizes,
                   const int64_t* strides, const int64_t* given, size_t size) {
  if (!ndim) {
    memcpy(to, from, size);
    return;
  }
  int64_t jump = (int64_t)size;
  for (int32_t i = 1; i < ndim; i++) jump *= given[i];
  for (int64_t i = 0; i < sizes[0]; i++)
    repeat(to + i * strides[0] * (int64_t)size, from + (given[0] == 1 ? 0 : i) * jump, ndim - 1,
           sizes + 1, strides + 1, given + 1, size);
}

int begin_state(const Method* method, const char* function, void* const* data,
                const int64_t* dims) {
  int code = check_dims(method, function, dims);
  size_t first = method->input_count - method->buffer_count;
  int64_t sizes[MAX_RANK], strides[MAX_RANK];
  Memory memory;
  /* All of them are looked at before one is changed. */
  for (size_t i = 0; !code && i < method->buffer_count; i++)
    code = place_input(method, function, first + i, data[i], dims, sizes, strides, &memory);
  char* weights = NULL;
  if (!code) code = map_weights(&weights); /* they are mapped: the model is open */
  for (size_t i = 0; !code && i < method->buffer_count; i++) {
    const Input* input = &method->inputs[first + i];
    const Initial* initial = &method->buffers[i];
    code = place_input(method, function, first + i, data[i], dims, sizes, strides, &memory);
    if (code || !memory.bytes) continue;
    if (initial->sizes)
      repeat(data[i], weights + initial->offset, input->ndim, sizes, strides, initial->sizes,
             input->bits / 8);
    else
      memset(data[i], 0, (size_t)memory.bytes);
  }
  return code;
}
