/* Calls with numpy's arrays, which are read and made without Python in between.
 *
 * What an array of numpy has in its first words is the same in all versions from 1 to 2 (numpy's
 * ndarraytypes.h), and so are the places of functions in the table that numpy hands out
 * (__multiarray_api.h). attach_numpy() compares both with an array before they are relied on.
 */
#include "engine.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 0, NEW = 93, SET_BASE = 282 }; /* places in the table */

typedef struct {
  PyObject_HEAD PyTypeObject* scalar;
  char kind, letter, byteorder, unused;
  int number;
} NumpyDtype;

typedef struct {
  PyObject_HEAD char* data;
  int ndim;
  Py_ssize_t *sizes, *strides; /* strides in bytes */
  PyObject* base;
  NumpyDtype* dtype;
} NumpyArray;

typedef unsigned (*VersionOf)(void);
typedef PyObject* (*NewArray)(PyTypeObject*, int, const intptr_t*, int, const intptr_t*, void*, int,
                              int, PyObject*);
typedef int (*SetBase)(PyObject*, PyObject*);

enum { ALIGNED = 0x0100, WRITEABLE = 0x0400 };

/* The dtypes by numpy's numbers of them; `long long` is int64 too. */
static const DLDataType NUMPY_DTYPES[] = {
    [0] = {6, 8, 1},
    [1] = {0, 8, 1},
    [2] = {1, 8, 1},
    [3] = {0, 16, 1},
    [4] = {1, 16, 1},
    [5] = {0, 32, 1},
    [6] = {1, 32, 1},
    [7] = {0, 8 * sizeof(long), 1},
    [8] = {1, 8 * sizeof(long), 1},
    [9] = {0, 64, 1},
    [10] = {1, 64, 1},
    [11] = {2, 32, 1},
    [12] = {2, 64, 1},
    [14] = {5, 64, 1},
    [15] = {5, 128, 1},
    [23] = {2, 16, 1},
};
enum { NUMPY_DTYPE_COUNT = sizeof NUMPY_DTYPES / sizeof *NUMPY_DTYPES };

static bool dtype_of_number(int number, DLDataType* dtype) {
  if (number < 0 || number >= NUMPY_DTYPE_COUNT || !NUMPY_DTYPES[number].bits) return false;
  *dtype = NUMPY_DTYPES[number];
  return true;
}

static int number_of_dtype(DLDataType dtype) {
  for (int i = 0; i < NUMPY_DTYPE_COUNT; i++)
    if (NUMPY_DTYPES[i].code == dtype.code && NUMPY_DTYPES[i].bits == dtype.bits) return i;
  return -1;
}

/* The tensor over an array; false for one that the engine does not take as it is.
 *
 * cells: gets the sizes, which another thread may change in the array, and the strides, in
 * elements; there is room for `count` numbers.
 */
static bool read_array(PyObject* value, DLTensor* tensor, int64_t* cells, int count) {
  const NumpyArray* array = (const NumpyArray*)value;
  const uint16_t one = 1;
  char other = *(const uint8_t*)&one ? '>' : '<';
  DLDataType dtype;
  if (2 * array->ndim > count || array->dtype->byteorder == other ||
      !dtype_of_number(array->dtype->number, &dtype))
    return false;
  if (!in_elements(array->data, dtype, array->strides, array->ndim, cells + array->ndim))
    return false;
  for (int i = 0; i < array->ndim; i++) cells[i] = array->sizes[i];
  *tensor = (DLTensor){array->data, {CPU, 0}, array->ndim, dtype, cells, cells + array->ndim, 0};
  return true;
}

/* The array of numpy over an Array, which is taken over. */
static PyObject* numpy_over(Engine* self, PyObject* array) {
  if (!array) return NULL;
  const DLTensor* tensor = tensor_of_array(array);
  int number = number_of_dtype(tensor->dtype);
  intptr_t strides[MAX_DIMS];
  if (number < 0 || tensor->ndim > MAX_DIMS) {
    PyErr_SetString(PyExc_RuntimeError, "numpy has no array for an output");
    Py_DECREF(array);
    return NULL;
  }
  for (int32_t i = 0; i < tensor->ndim; i++)
    strides[i] = (intptr_t)tensor->strides[i] * (tensor->dtype.bits / 8);
  const Numpy* numpy = PUBLISHED(self->numpy);
  PyObject* made = ((NewArray)numpy->functions[NEW])(
      (PyTypeObject*)numpy->array_type, tensor->ndim, (const intptr_t*)tensor->shape, number,
      strides, tensor->data, 0, ALIGNED | WRITEABLE, NULL);
  if (!made || !tensor->data) { /* of no elements: numpy gives it memory of its own */
    Py_DECREF(array);
    return made;
  }
  if (((SetBase)numpy->functions[SET_BASE])(made, array))
    Py_CLEAR(made); /* which has taken the array */
  return made;
}

bool are_numpy(Engine* self, PyObject* const* values) {
  const Numpy* numpy = PUBLISHED(self->numpy);
  if (!numpy) return false;
  for (size_t i = 0; i < self->input_count; i++)
    if ((PyObject*)Py_TYPE(values[i]) != numpy->array_type) return false;
  return true;
}

PyObject* call_with_numpy(Engine* self, PyObject* const* values) {
  int64_t cells[8 * MAX_DIMS], known[MAX_DIMS];
  int used = 0;
  if (!self->checks) Py_RETURN_NONE;
  ALLOCATE(self, tensors, handles)
  PyObject* results = NULL;
  if (!tensors || !handles) {
    PyErr_NoMemory();
  } else {
    forget_sizes(self, known);
    bool usual = true;
    for (size_t i = 0; usual && i < self->input_count; i++) {
      usual = read_array(values[i], &tensors[i], cells + used, 8 * MAX_DIMS - used) &&
              matches_rules(self, i, &tensors[i], known);
      used += usual ? 2 * tensors[i].ndim : 0;
    }
    results =
        usual ? run_on_arrays(self, values, tensors, handles, numpy_over) : Py_NewRef(Py_None);
  }
  RELEASE(tensors, handles)
  return results;
}

/* Whether an array is read as its buffer tells it. */
static bool reads(PyObject* sample) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(sample, &buffer, PyBUF_RECORDS_RO)) return false;
  const NumpyArray* array = (const NumpyArray*)sample;
  DLDataType told, read;
  bool same = array->data == buffer.buf && array->ndim == buffer.ndim;
  for (int i = 0; same && i < buffer.ndim; i++)
    same = array->sizes[i] == buffer.shape[i] && array->strides[i] == buffer.strides[i];
  same = same && dtype_of_number(array->dtype->number, &read) &&
         dtype_of(skip_byte_order(buffer.format), &told) && read.code == told.code &&
         read.bits == told.bits;
  PyBuffer_Release(&buffer);
  return same;
}

/* attach_numpy(api, sample): take numpy's arrays from now on, and give such; once.
 *
 * api: the capsule with numpy's table of functions. sample: an array with strides of its own.
 */
PyObject* engine_attach_numpy(Engine* self, PyObject* args) {
  PyObject *capsule, *sample;
  if (!PyArg_ParseTuple(args, "OO", &capsule, &sample)) return NULL;
  void* const* api = PyCapsule_GetPointer(capsule, NULL);
  if (!api) return NULL;
  unsigned major = ((VersionOf)api[VERSION])() >> 24;
  if ((major != 1 && major != 2) || !reads(sample))
    return refuse("this numpy lays its arrays out in another way");
  Numpy* numpy = malloc(sizeof *numpy);
  if (!numpy) return PyErr_NoMemory();
  *numpy = (Numpy){api, Py_NewRef((PyObject*)Py_TYPE(sample))};
  bool first;
  BEGIN_ALONE(self);
  first = !self->numpy;
  if (first) PUBLISH(self->numpy, numpy);
  END_ALONE;
  if (!first) free_numpy(numpy);
  Py_RETURN_NONE;
}

void free_numpy(const Numpy* numpy) {
  if (!numpy) return;
  Py_DECREF(numpy->array_type);
  free((void*)numpy);
}
