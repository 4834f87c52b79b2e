/* The sizes of a call, and where its inputs lie in memory of the caller. */
#include "interface.h"

int check_dims(const Method* method, const char* function, const int64_t* dims) {
  for (size_t i = 0; i < method->dim_count; i++) {
    const Dim* dim = &method->dims[i];
    if (dims[i] < dim->min || (dim->max >= 0 && dims[i] > dim->max) || dims[i] % dim->multiple)
      return refuse(ARGUMENT, "%s(): %s is %lld, the compiled model takes %s", function, dim->name,
                    (long long)dims[i], dim->range);
  }
  for (size_t i = 0; i < method->condition_count; i++)
    if (!method->conditions[i].holds(dims))
      return refuse(ARGUMENT,
                    "%s(): the sizes do not fit the compiled code, which needs %s. Call it with "
                    "other sizes",
                    function, method->conditions[i].text);
  return OK;
}

int place_input(const Method* method, const char* function, size_t index, const void* data,
                const int64_t* dims, int64_t* sizes, int64_t* strides, Memory* memory) {
  const Input* input = &method->inputs[index];
  int64_t count = 1;
  bool overflow = false;
  for (int32_t i = 0; i < input->ndim; i++) {
    const Size* size = &input->sizes[i];
    sizes[i] = size->offset;
    if (size->dim < 0) continue;
    int64_t scaled = 0;
    overflow |= __builtin_mul_overflow(dims[size->dim], size->factor, &scaled);
    overflow |= __builtin_add_overflow(scaled, size->offset, &sizes[i]);
    overflow |= sizes[i] < 0;
  }
  for (int32_t i = input->ndim - 1; i >= 0; i--) {
    strides[input->order[i]] = count;
    overflow |= __builtin_mul_overflow(count, sizes[input->order[i]], &count);
  }
  overflow |= __builtin_mul_overflow(count, input->bits / 8, &memory->bytes);
  if (overflow) return refuse(ARGUMENT, "%s(): %s has no such sizes", function, input->name);
  if (!data && count) return refuse(ARGUMENT, "%s(): %s is NULL", function, input->name);
  unsigned aligned = input->bits / 8 / (input->code == 5 ? 2 : 1); /* complex: its parts */
  if ((uintptr_t)data % aligned)
    return refuse(ARGUMENT, "%s(): %s is at an address that is no multiple of %u", function,
                  input->name, aligned);
  memory->start = data;
  return OK;
}
