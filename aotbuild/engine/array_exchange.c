/* The engine's own array as others take it: by buffers, DLPack, pickles, and as numpy's. */
#include "array.h"

#include <limits.h>
#include <stdlib.h>

/* Fill a Py_buffer; who asks for one without strides is refused. */
int array_buffer(Array* self, Py_buffer* view, int flags) {
  const DLTensor* tensor = &self->tensor;
  view->obj = NULL;
  if (!self->format || (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
    PyErr_SetString(PyExc_BufferError, self->format ? "this array is offered with its strides only"
                                                    : "buffers have no word for this dtype");
    return -1;
  }
  view->buf = tensor->data;
  view->itemsize = tensor->dtype.bits / 8;
  view->len = view->itemsize * (Py_ssize_t)count_elements(tensor);
  view->readonly = 0;
  view->ndim = tensor->ndim;
  view->format = (flags & PyBUF_FORMAT) == PyBUF_FORMAT ? (char*)self->format : NULL;
  view->shape = (Py_ssize_t*)tensor->shape; /* of the same size, see of_buffer() */
  view->strides = self->strides;
  view->suboffsets = NULL;
  view->internal = NULL;
  view->obj = Py_NewRef((PyObject*)self);
  return 0;
}

static void release_owner(void* owner) {
  PyGILState_STATE state = PyGILState_Ensure();
  Py_DECREF((PyObject*)owner);
  PyGILState_Release(state);
}

static void release_managed(DLManagedTensor* managed) {
  release_owner(managed->manager_ctx);
  free(managed);
}

static void release_versioned(DLManagedTensorVersioned* managed) {
  release_owner(managed->manager_ctx);
  free(managed);
}

/* Whoever takes what a capsule has renames it. */
static void release_capsule(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, "dltensor"))
    release_managed(PyCapsule_GetPointer(capsule, "dltensor"));
  if (PyCapsule_IsValid(capsule, "dltensor_versioned"))
    release_versioned(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
}

/* The capsule of DLPack before 1.0. */
static PyObject* old_capsule(Array* array) {
  DLManagedTensor* managed = calloc(1, sizeof *managed);
  if (!managed) return PyErr_NoMemory();
  managed->dl_tensor = array->tensor;
  managed->manager_ctx = Py_NewRef((PyObject*)array);
  managed->deleter = release_managed;
  PyObject* capsule = PyCapsule_New(managed, "dltensor", release_capsule);
  if (!capsule) release_managed(managed);
  return capsule;
}

enum { IS_COPIED = 2 }; /* DLPACK_FLAG_BITMASK_IS_COPIED */

static PyObject* versioned_capsule(Array* array, bool copied) {
  DLManagedTensorVersioned* managed = calloc(1, sizeof *managed);
  if (!managed) return PyErr_NoMemory();
  managed->version.major = 1;
  managed->flags = copied ? IS_COPIED : 0;
  managed->dl_tensor = array->tensor;
  managed->manager_ctx = Py_NewRef((PyObject*)array);
  managed->deleter = release_versioned;
  PyObject* capsule = PyCapsule_New(managed, "dltensor_versioned", release_capsule);
  if (!capsule) release_versioned(managed);
  return capsule;
}

/* The integers of a pair; false, with an error set, where it is none. */
static bool read_pair(PyObject* pair, const char* name, long numbers[2]) {
  bool good = PyTuple_Check(pair) && PyTuple_Size(pair) == 2;
  for (Py_ssize_t i = 0; good && i < 2; i++) {
    PyObject* item = PyTuple_GetItem(pair, i);
    int overflow = 0;
    good = PyLong_Check(item) && !PyBool_Check(item);
    if (good) numbers[i] = PyLong_AsLongAndOverflow(item, &overflow);
    if (overflow) numbers[i] = overflow > 0 ? LONG_MAX : LONG_MIN;
  }
  if (!good) PyErr_Format(PyExc_TypeError, "%s must be None or a tuple of two integers", name);
  return good;
}

/* __dlpack__(), as the array API standard has it. */
PyObject* array_dlpack(Array* self, PyObject* args, PyObject* kwargs) {
  static char* names[] = {"stream", "max_version", "dl_device", "copy", NULL};
  PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO", names, &stream, &version, &device,
                                   &copy))
    return NULL;
  long versions[2] = {0, 0}, devices[2] = {CPU, 0};
  if ((version != Py_None && !read_pair(version, "max_version", versions)) ||
      (device != Py_None && !read_pair(device, "dl_device", devices)))
    return NULL;
  if ((copy != Py_None && !PyBool_Check(copy)) ||
      (stream != Py_None && (!PyLong_Check(stream) || PyBool_Check(stream)))) {
    PyErr_SetString(PyExc_TypeError, "copy must be None, True or False, and stream None");
    return NULL;
  }
  if (devices[0] != CPU || devices[1]) {
    PyErr_Format(PyExc_BufferError, "this array is on the CPU, (1, 0), not on (%ld, %ld)",
                 devices[0], devices[1]);
    return NULL;
  }
  bool copied = copy == Py_True;
  PyObject* array = copied ? dense_copy(&self->tensor) : Py_NewRef((PyObject*)self);
  if (!array) return NULL;
  PyObject* capsule =
      versions[0] < 1 ? old_capsule((Array*)array) : versioned_capsule((Array*)array, copied);
  Py_DECREF(array);
  return capsule;
}

PyObject* array_device(Array* self, PyObject* none) {
  (void)none;
  return Py_BuildValue("ii", (int)self->tensor.device.type, (int)self->tensor.device.id);
}

/* ---- Pickles and numpy ---- */

/* What view() makes a copy of an array of, in this process or another one. */
PyObject* array_reduce(Array* self, PyObject* none) {
  (void)none;
  PyObject *module = PyType_GetModule(Py_TYPE((PyObject*)self)), *strides = NULL, *bytes = NULL;
  PyObject* view = module ? PyObject_GetAttrString(module, "view") : NULL;
  PyObject* copy = view ? dense_copy(&self->tensor) : NULL;
  const DLTensor* dense = copy ? tensor_of_array(copy) : NULL;
  if (dense) strides = PyTuple_New(dense->ndim);
  for (int32_t i = 0; strides && i < dense->ndim; i++) {
    PyObject* stride = PyLong_FromLongLong(dense->strides[i]);
    if (!stride || PyTuple_SetItem(strides, i, stride)) Py_CLEAR(strides);
  }
  if (strides)
    bytes = PyByteArray_FromStringAndSize(
        dense->data, (Py_ssize_t)(count_elements(dense) * (dense->dtype.bits / 8)));
  PyObject* reduced = NULL;
  if (bytes)
    reduced = Py_BuildValue("O(O(ii)NOi)", view, bytes, (int)dense->dtype.code,
                            (int)dense->dtype.bits, array_shape(self, NULL), strides, 0);
  Py_XDECREF(view);
  Py_XDECREF(copy);
  Py_XDECREF(strides);
  Py_XDECREF(bytes);
  return reduced;
}

/* __array__(), by the runtime's as_numpy(). */
PyObject* array_numpy(Array* self, PyObject* args, PyObject* kwargs) {
  PyObject* module = PyType_GetModule(Py_TYPE((PyObject*)self));
  PyObject* package = module ? PyObject_GetAttrString(module, "__package__") : NULL;
  PyObject* name = package ? PyUnicode_FromFormat("%S.buffers", package) : NULL;
  PyObject* runtime = name ? PyImport_Import(name) : NULL;
  PyObject* function = runtime ? PyObject_GetAttrString(runtime, "as_numpy") : NULL;
  PyObject* first = function ? Py_BuildValue("(O)", self) : NULL;
  PyObject* all = first ? PySequence_Concat(first, args) : NULL;
  PyObject* made = all ? PyObject_Call(function, all, kwargs) : NULL;
  Py_XDECREF(package);
  Py_XDECREF(name);
  Py_XDECREF(runtime);
  Py_XDECREF(function);
  Py_XDECREF(first);
  Py_XDECREF(all);
  return made;
}
