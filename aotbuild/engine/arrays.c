/* Calls with arrays of any library, by Python's buffers or DLPack, and the arrays they return. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

static PyTypeObject* array_type;

/* ---- Arrays in ---- */

typedef struct {
  const char* format; /* as in Python's struct module, without the sign of the byte order */
  uint8_t code, bits;
} Format;

static const Format FORMATS[] = {
    {"f", 2, 32},
    {"d", 2, 64},
    {"?", 6, 8},
    {"e", 2, 16},
    {"b", 0, 8},
    {"B", 1, 8},
    {"h", 0, 16},
    {"H", 1, 16},
    {"i", 0, 32},
    {"I", 1, 32},
    {"l", 0, 8 * sizeof(long)},
    {"L", 1, 8 * sizeof(long)},
    {"q", 0, 64},
    {"Q", 1, 64},
    {"Zf", 5, 64},
    {"Zd", 5, 128},
};
enum { FORMAT_COUNT = sizeof FORMATS / sizeof *FORMATS };

/* What keeps an array usable while the model runs. */
typedef struct {
  Py_buffer buffer; /* its `obj` is NULL where there is none */
  int64_t* strides; /* in elements; NULL where DLPack has them */
} Held;

/* A format without the sign of this machine's byte order; one of another order keeps its sign. */
static const char* skip_byte_order(const char* format) {
  const uint16_t one = 1;
  bool little = *(const uint8_t*)&one;
  if (*format == '@' || *format == '=' || *format == (little ? '<' : '>')) return format + 1;
  return format;
}

/* The tensor of an object with a buffer; false, without an error set, if the engine cannot use it.
 */
static bool of_buffer(PyObject* value, Held* held, DLTensor* tensor) {
  if (PyObject_GetBuffer(value, &held->buffer, PyBUF_RECORDS_RO)) {
    PyErr_Clear(); /* such as for a type that buffers have no format for */
    held->buffer.obj = NULL;
    return false;
  }
  const Py_buffer* buffer = &held->buffer;
  const char* format = skip_byte_order(buffer->format ? buffer->format : "B");
  int index = 0;
  while (index < FORMAT_COUNT && strcmp(FORMATS[index].format, format)) index++;
  if (index == FORMAT_COUNT || buffer->itemsize != (FORMATS[index].bits + 7) / 8) return false;
  size_t size = (size_t)buffer->itemsize, aligned = FORMATS[index].code == 5 ? size / 2 : size;
  if ((uintptr_t)buffer->buf % aligned) return false;
  held->strides = malloc((size_t)buffer->ndim * sizeof *held->strides + 1);
  if (!held->strides) return false;
  for (int i = 0; i < buffer->ndim; i++) {
    if (buffer->strides[i] % buffer->itemsize) return false;
    held->strides[i] = buffer->strides[i] / buffer->itemsize;
  }
  tensor->data = buffer->buf;
  tensor->device = (DLDevice){CPU, 0};
  tensor->ndim = buffer->ndim;
  tensor->dtype = (DLDataType){FORMATS[index].code, FORMATS[index].bits, 1};
  tensor->shape = (int64_t*)buffer->shape; /* Py_ssize_t, which has the same size here */
  tensor->strides = held->strides;
  tensor->byte_offset = 0;
  return sizeof(Py_ssize_t) == sizeof(int64_t);
}

/* The tensor of a capsule of __dlpack__(), which stays its owner. */
static bool of_capsule(PyObject* value, Held* held, DLTensor* tensor) {
  DLManagedTensor* old =
      PyCapsule_IsValid(value, "dltensor") ? PyCapsule_GetPointer(value, "dltensor") : NULL;
  DLManagedTensorVersioned* managed = PyCapsule_IsValid(value, "dltensor_versioned")
                                          ? PyCapsule_GetPointer(value, "dltensor_versioned")
                                          : NULL;
  if (!old && !(managed && managed->version.major == 1)) return false;
  *tensor = old ? old->dl_tensor : managed->dl_tensor;
  if (tensor->strides) return true;
  held->strides = malloc((size_t)tensor->ndim * sizeof *held->strides + 1);
  if (!held->strides) return false;
  int64_t stride = 1; /* without strides, it lies in memory without gaps */
  for (int i = tensor->ndim - 1; i >= 0; i--) {
    held->strides[i] = stride;
    stride *= tensor->shape[i];
  }
  tensor->strides = held->strides;
  return true;
}

/* Free what of_buffer() and of_capsule() hold. */
static void release_held(Held* held) {
  free(held->strides);
  if (held->buffer.obj) PyBuffer_Release(&held->buffer);
}

/* ---- Arrays out ---- */

/* An output: memory that numpy takes as a buffer, and fallback by DLPack. */
typedef struct {
  PyObject_HEAD int (*release)(Handle);
  Handle handle;
  PyObject* owner; /* the array whose memory this is a view of, or NULL */
  DLTensor tensor;
  const char* format;  /* NULL where buffers have no format for the dtype */
  Py_ssize_t* strides; /* in bytes */
} Array;

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
  allocfunc allocate = (allocfunc)PyType_GetSlot(array_type, Py_tp_alloc);
  Array* array = (Array*)allocate(array_type, 0);
  if (!array) {
    torch->release(handle);
    return NULL;
  }
  array->release = torch->release;
  array->handle = handle;
  DLTensor* view = &array->tensor;
  int64_t ndim;
  int32_t number;
  int dtype = -1;
  if (!torch->data(handle, &view->data) && !torch->ndim(handle, &ndim) &&
      !torch->sizes(handle, &view->shape) && !torch->strides(handle, &view->strides) &&
      !torch->dtype(handle, &number))
    dtype = find_torch_dtype(self, number);
  array->strides = dtype < 0 ? NULL : malloc((size_t)ndim * sizeof *array->strides + 1);
  if (!array->strides) {
    Py_DECREF((PyObject*)array);
    PyErr_SetString(PyExc_RuntimeError, "an output has a kind of tensor that cannot be returned");
    return NULL;
  }
  view->device.type = CPU;
  view->ndim = (int32_t)ndim;
  view->dtype = (DLDataType){DTYPES[dtype].code, DTYPES[dtype].bits, 1};
  for (int64_t i = 0; i < ndim; i++) array->strides[i] = view->strides[i] * (view->dtype.bits / 8);
  for (int i = 0; i < FORMAT_COUNT && !array->format; i++)
    if (FORMATS[i].code == view->dtype.code && FORMATS[i].bits == view->dtype.bits)
      array->format = FORMATS[i].format;
  array->owner = Py_XNewRef(find_owner(self, owners, tensors, view->data));
  return (PyObject*)array;
}

static void array_dealloc(Array* self) {
  PyTypeObject* type = Py_TYPE((PyObject*)self);
  if (self->handle) self->release(self->handle);
  Py_XDECREF(self->owner);
  free(self->strides);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

/* Fill a Py_buffer; who asks for one without strides is refused. */
static int array_buffer(Array* self, Py_buffer* view, int flags) {
  const DLTensor* tensor = &self->tensor;
  view->obj = NULL;
  if (!self->format || (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
    PyErr_SetString(PyExc_BufferError, self->format ? "this array is offered with its strides only"
                                                    : "buffers have no word for this dtype");
    return -1;
  }
  view->buf = tensor->data;
  view->itemsize = tensor->dtype.bits / 8;
  view->len = view->itemsize;
  for (int32_t i = 0; i < tensor->ndim; i++) view->len *= (Py_ssize_t)tensor->shape[i];
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

static void release_managed(DLManagedTensor* managed) {
  PyGILState_STATE state = PyGILState_Ensure();
  Py_DECREF((PyObject*)managed->manager_ctx);
  PyGILState_Release(state);
  free(managed);
}

static void release_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return; /* whoever took it renamed it */
  DLManagedTensor* managed = PyCapsule_GetPointer(capsule, "dltensor");
  managed->deleter(managed);
}

static PyObject* array_dlpack(Array* self, PyObject* args, PyObject* kwargs) {
  (void)args, (void)kwargs; /* streams are of other devices, versions may be older */
  DLManagedTensor* managed = calloc(1, sizeof *managed);
  if (!managed) return PyErr_NoMemory();
  managed->dl_tensor = self->tensor;
  managed->manager_ctx = Py_NewRef((PyObject*)self);
  managed->deleter = release_managed;
  PyObject* capsule = PyCapsule_New(managed, "dltensor", release_capsule);
  if (!capsule) release_managed(managed);
  return capsule;
}

static PyObject* array_device(Array* self, PyObject* none) {
  (void)none;
  return Py_BuildValue("ii", (int)self->tensor.device.type, (int)self->tensor.device.id);
}

static PyMethodDef array_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))array_dlpack, METH_VARARGS | METH_KEYWORDS,
     "The capsule of DLPack before 1.0."},
    {"__dlpack_device__", (PyCFunction)array_device, METH_NOARGS,
     "DLPack's type of device, and 0."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot array_slots[] = {
    {Py_tp_doc, "An output, as a buffer and by DLPack."},
    {Py_tp_dealloc, array_dealloc},
    {Py_tp_methods, array_methods},
    {Py_bf_getbuffer, array_buffer},
    {0, NULL},
};

PyType_Spec array_spec = {
    .name = "_engine.Array",
    .basicsize = sizeof(Array),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = array_slots,
};

int keep_array_type(PyObject* module) {
  array_type = (PyTypeObject*)PyObject_GetAttrString(module, "Array");
  return array_type ? 0 : -1;
}

/* ---- The call ---- */

/* Run the model on tensors that passed the checks: the list of its outputs, each an Array. */
static PyObject* run(Engine* self, PyObject* const* owners, const DLTensor* tensors,
                     Handle* handles) {
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
  Held* held = calloc(count + 1, sizeof *held);
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
      usual = (PyCapsule_CheckExact(owners[i]) ? of_capsule : of_buffer)(owners[i], &held[i],
                                                                         &tensors[i]) &&
              matches_rules(self, i, &tensors[i], known);
    }
    results = usual ? run(self, owners, tensors, handles) : Py_NewRef(Py_None);
  }
  for (size_t i = 0; held && i < count; i++) release_held(&held[i]);
  free(held);
  free(owners);
  RELEASE(tensors, handles)
  Py_DECREF(arrays);
  return results;
}
