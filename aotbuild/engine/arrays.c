/* Calls with arrays of any library, by Python's buffers or DLPack. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* ---- Arrays in ---- */

bool in_elements(const void* data, DLDataType dtype, const Py_ssize_t* bytes, int ndim,
                 int64_t* strides) {
  Py_ssize_t size = (dtype.bits + 7) / 8, aligned = dtype.code == 5 ? size / 2 : size;
  if ((uintptr_t)data % (uintptr_t)aligned) return false;
  for (int i = 0; i < ndim; i++) {
    if (bytes[i] % size) return false;
    strides[i] = bytes[i] / size;
  }
  return true;
}

/* The tensor of an object with a buffer; false, without an error set, if the engine cannot use it.
 */
static bool of_buffer(PyObject* value, Borrowed* held, DLTensor* tensor) {
  if (PyObject_GetBuffer(value, &held->buffer, PyBUF_RECORDS_RO)) {
    PyErr_Clear(); /* such as for a type that buffers have no format for */
    held->buffer.obj = NULL;
    return false;
  }
  const Py_buffer* buffer = &held->buffer;
  const char* format = skip_byte_order(buffer->format ? buffer->format : "B");
  DLDataType dtype;
  if (!dtype_of(format, &dtype) || buffer->itemsize != (dtype.bits + 7) / 8) return false;
  held->strides = malloc((size_t)buffer->ndim * sizeof *held->strides + 1);
  if (!held->strides ||
      !in_elements(buffer->buf, dtype, buffer->strides, buffer->ndim, held->strides))
    return false;
  tensor->data = buffer->buf;
  tensor->device = (DLDevice){CPU, 0};
  tensor->ndim = buffer->ndim;
  tensor->dtype = dtype;
  tensor->shape = (int64_t*)buffer->shape; /* Py_ssize_t, which has the same size here */
  tensor->strides = held->strides;
  tensor->byte_offset = 0;
  return sizeof(Py_ssize_t) == sizeof(int64_t);
}

bool tensor_of_capsule(PyObject* value, DLTensor* tensor) {
  DLManagedTensor* old =
      PyCapsule_IsValid(value, "dltensor") ? PyCapsule_GetPointer(value, "dltensor") : NULL;
  DLManagedTensorVersioned* managed = PyCapsule_IsValid(value, "dltensor_versioned")
                                          ? PyCapsule_GetPointer(value, "dltensor_versioned")
                                          : NULL;
  if (!old && !(managed && managed->version.major == 1)) return false;
  *tensor = old ? old->dl_tensor : managed->dl_tensor;
  return true;
}

void give_strides(DLTensor* tensor, int64_t* strides) {
  int64_t stride = 1;
  for (int i = tensor->ndim - 1; i >= 0; i--) {
    strides[i] = tensor->strides ? tensor->strides[i] : stride;
    stride *= tensor->shape[i];
  }
  tensor->strides = strides;
}

/* The tensor of a capsule of __dlpack__(), which stays its owner. */
static bool of_capsule(PyObject* value, Borrowed* held, DLTensor* tensor) {
  if (!tensor_of_capsule(value, tensor)) return false;
  if (tensor->strides) return true;
  held->strides = malloc((size_t)tensor->ndim * sizeof *held->strides + 1);
  if (!held->strides) return false;
  give_strides(tensor, held->strides);
  return true;
}

bool borrow_array(PyObject* value, Borrowed* held, DLTensor* tensor) {
  return (PyCapsule_CheckExact(value) ? of_capsule : of_buffer)(value, held, tensor);
}

void give_back(Borrowed* held) {
  free(held->strides);
  if (held->buffer.obj) PyBuffer_Release(&held->buffer);
}

/* ---- Arrays out ---- */

/* The array that has the memory of an output; NULL where the output has its own. */
static PyObject* find_owner(Engine* self, PyObject* const* owners, const DLTensor* tensors,
                            const char* data) {
  for (size_t i = 0; data && i < self->input_count; i++)
    if (contains_address(&tensors[i], data)) return owners[i];
  return NULL;
}

/* An Array that owns the handle. If there is an error, the handle is released. */
static PyObject* give(Engine* self, Handle handle, PyObject* const* owners,
                      const DLTensor* tensors) {
  const Torch* torch = &self->torch;
  DLTensor view = {0};
  int64_t ndim;
  int32_t number;
  int dtype = -1;
  if (!torch->data(handle, &view.data) && !torch->ndim(handle, &ndim) &&
      !torch->sizes(handle, &view.shape) && !torch->strides(handle, &view.strides) &&
      !torch->dtype(handle, &number))
    dtype = find_torch_dtype(self, number);
  if (dtype < 0) {
    torch->release(handle);
    PyErr_SetString(PyExc_RuntimeError, "an output has a kind of tensor that cannot be returned");
    return NULL;
  }
  view.device.type = CPU;
  view.ndim = (int32_t)ndim;
  view.dtype = (DLDataType){DTYPES[dtype].code, DTYPES[dtype].bits, 1};
  return new_array(&view, torch->release, handle, find_owner(self, owners, tensors, view.data));
}

/* ---- The call ---- */

PyObject* run_on_arrays(Engine* self, PyObject* const* owners, const DLTensor* tensors,
                        Handle* handles, PyObject* (*wrap)(Engine* self, PyObject* array)) {
  size_t count = self->input_count;
  Handle* outputs = handles + count;
  for (size_t i = 0; i < count; i++) {
    if (borrow(self, &tensors[i], &handles[i])) {
      while (i--) self->torch.release(handles[i]);
      PyErr_SetString(PyExc_RuntimeError, "the compiled code cannot take an array of this kind");
      return NULL;
    }
  }
  if (!run_library(self, handles)) return NULL;
  PyObject* results = PyList_New((Py_ssize_t)self->output_count);
  size_t i = 0;
  for (; results && i < self->output_count; i++) {
    size_t first = first_output(outputs, i);
    PyObject* result = first < i ? Py_NewRef(PyList_GetItem(results, (Py_ssize_t)first))
                                 : give(self, outputs[i], owners, tensors);
    if (first == i && wrap) result = wrap(self, result);
    if (result)
      PyList_SetItem(results, (Py_ssize_t)i, result);
    else
      Py_CLEAR(results);
  }
  release_outputs(self, outputs, i);
  return results;
}

/* run_arrays(arrays): check arrays and run the model on them.
 *
 * arrays: a list with an object that has a buffer, or a capsule of DLPack, for each input. Returns
 * the list of the outputs, each an Array; None, and nothing is run, for an unusual call.
 */
PyObject* engine_run_arrays(Engine* self, PyObject* given) {
  size_t count = self->input_count;
  if (!PyList_Check(given) || (size_t)PyList_Size(given) != count || !self->checks) Py_RETURN_NONE;
  PyObject* arrays = PyList_AsTuple(given); /* the list may change while the model runs */
  if (!arrays) return NULL;
  ALLOCATE(self, tensors, handles)
  Borrowed* held = calloc(count + 1, sizeof *held);
  PyObject** owners = malloc(count * sizeof *owners + 1);
  PyObject* results = NULL;
  if (!tensors || !handles || !held || !owners) {
    PyErr_NoMemory();
  } else {
    int64_t known[MAX_DIMS];
    forget_sizes(self, known);
    bool usual = true;
    for (size_t i = 0; usual && i < count; i++) {
      owners[i] = PyTuple_GetItem(arrays, (Py_ssize_t)i);
      usual = borrow_array(owners[i], &held[i], &tensors[i]) &&
              matches_rules(self, i, &tensors[i], known);
    }
    results = usual ? run_on_arrays(self, owners, tensors, handles, NULL) : Py_NewRef(Py_None);
  }
  for (size_t i = 0; held && i < count; i++) give_back(&held[i]);
  free(held);
  free(owners);
  RELEASE(tensors, handles)
  Py_DECREF(arrays);
  return results;
}
