/* The checks of a call: whether the compiled code can read its tensors as they are. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

void forget_sizes(Engine* self, int64_t* known) {
  for (int64_t i = 0; i < self->rules.dim_count; i++) known[i] = INT64_MIN;
}

bool matches_rules(Engine* self, size_t index, const DLTensor* tensor, int64_t* known) {
  const Input* input = &self->rules.inputs[index];
  const Dim* dims = self->rules.dims;
  if (tensor->device.type != CPU || tensor->dtype.code != input->code ||
      tensor->dtype.bits != input->bits || tensor->dtype.lanes != 1 || tensor->ndim != input->ndim)
    return false;
  int64_t count = 1;
  for (int64_t i = 0; i < input->ndim; i++) {
    const Size* size = &input->sizes[i];
    int64_t got = tensor->shape[i];
    count *= got;
    if (size->dim < 0) {
      if (got != size->offset) return false;
      continue;
    }
    int64_t solved = got - size->offset; /* the size is factor * dim + offset: solve for dim */
    if (solved % size->factor) return false;
    solved /= size->factor;
    const Dim* dim = &dims[size->dim];
    if (known[size->dim] == INT64_MIN) {
      if (solved < dim->min || (dim->max >= 0 && solved > dim->max) || solved % dim->multiple)
        return false;
      known[size->dim] = solved;
    } else if (known[size->dim] != solved) {
      return false;
    }
  }
  if (!count) return true; /* no memory is read */
  if (!tensor->data) return false;
  int64_t stride = 1;
  for (int64_t i = input->ndim - 1; i >= 0; i--) {
    int64_t dim = input->order[i];
    if (tensor->shape[dim] != 1 && tensor->strides[dim] != stride) return false;
    stride *= tensor->shape[dim];
  }
  return true;
}

/* expect(table): set the rules of a usual call, of an engine that is not in use yet.
 *
 * table: 64-bit numbers: the count of dims, the count of inputs; min, max, multiple of each dim;
 * and for each input the code and bits of its dtype, its rank, for each size dim, factor, offset,
 * and the order of the dimensions in memory.
 */
PyObject* engine_expect(Engine* self, PyObject* table) {
  char* bytes;
  Py_ssize_t length;
  if (PyBytes_AsStringAndSize(table, &bytes, &length)) return NULL;
  Py_ssize_t count = length / 8, at = 2;
  Rules rules = {0};
  rules.words = malloc((size_t)length + 8);
  if (!rules.words) return PyErr_NoMemory();
  memcpy(rules.words, bytes, (size_t)length);
  bool good = count >= 2 && rules.words[0] >= 0 && rules.words[0] <= MAX_DIMS &&
              (size_t)rules.words[1] == self->input_count;
  if (good) {
    rules.dim_count = rules.words[0];
    rules.input_count = rules.words[1];
    rules.dims = (const Dim*)(rules.words + at);
    at += rules.dim_count * 3;
    rules.inputs = calloc((size_t)rules.input_count + 1, sizeof *rules.inputs);
    good = rules.inputs != NULL;
  }
  for (int64_t i = 0; good && i < rules.input_count; i++) {
    Input* input = &rules.inputs[i];
    good = at + 3 <= count;
    if (!good) break;
    input->code = rules.words[at];
    input->bits = rules.words[at + 1];
    input->ndim = rules.words[at + 2];
    at += 3;
    good = input->ndim >= 0 && at + 4 * input->ndim <= count;
    input->sizes = (const Size*)(rules.words + at);
    input->order = rules.words + at + 3 * input->ndim;
    at += 4 * input->ndim;
    for (int64_t k = 0; good && k < input->ndim; k++)
      good = input->sizes[k].dim < rules.dim_count && input->sizes[k].factor != 0 &&
             input->order[k] >= 0 && input->order[k] < input->ndim;
  }
  for (int64_t i = 0; good && i < rules.dim_count; i++) good = rules.dims[i].multiple > 0;
  if (!good || at != count) {
    free(rules.inputs);
    free(rules.words);
    PyErr_SetString(PyExc_ValueError, "the table is not one of this library's calls");
    return NULL;
  }
  free_rules(self);
  self->rules = rules;
  self->checks = true;
  Py_RETURN_NONE;
}

void free_rules(Engine* self) {
  free(self->rules.inputs);
  free(self->rules.words);
}

bool contains_address(const DLTensor* tensor, const char* data) {
  int64_t last = 0;
  for (int32_t k = 0; k < tensor->ndim; k++) {
    if (!tensor->shape[k]) return false; /* it has no memory */
    last += (tensor->shape[k] - 1) * tensor->strides[k];
  }
  const char* start = (char*)tensor->data + tensor->byte_offset;
  return data >= start && data < start + (last + 1) * ((tensor->dtype.bits + 7) / 8);
}
