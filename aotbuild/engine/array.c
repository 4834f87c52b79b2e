/* An array of the engine's own: what a call returns where no library of arrays took part. */
#include "engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static PyTypeObject* array_type;

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

const char* skip_byte_order(const char* format) {
  const uint16_t one = 1;
  bool little = *(const uint8_t*)&one;
  if (*format == '@' || *format == '=' || *format == (little ? '<' : '>')) return format + 1;
  return format;
}

bool dtype_of(const char* format, DLDataType* dtype) {
  for (int i = 0; i < FORMAT_COUNT; i++) {
    if (strcmp(FORMATS[i].format, format)) continue;
    *dtype = (DLDataType){FORMATS[i].code, FORMATS[i].bits, 1};
    return true;
  }
  return false;
}

/* The format of a dtype; NULL where buffers have none. */
static const char* format_of(DLDataType dtype) {
  for (int i = 0; i < FORMAT_COUNT; i++)
    if (FORMATS[i].code == dtype.code && FORMATS[i].bits == dtype.bits) return FORMATS[i].format;
  return NULL;
}

/* Memory that numpy takes as a buffer, and others by DLPack. */
typedef struct {
  PyObject_HEAD int (*release)(Handle);
  Handle handle;
  PyObject* owner; /* the array whose memory this is a view of, or NULL */
  DLTensor tensor;
  const char* format;  /* NULL where buffers have no format for the dtype */
  Py_ssize_t* strides; /* in bytes */
} Array;

PyObject* new_array(const DLTensor* tensor, int (*release)(Handle), Handle handle,
                    PyObject* owner) {
  allocfunc allocate = (allocfunc)PyType_GetSlot(array_type, Py_tp_alloc);
  Array* array = (Array*)allocate(array_type, 0);
  if (!array) {
    release(handle);
    return NULL;
  }
  array->release = release;
  array->handle = handle;
  array->tensor = *tensor;
  array->strides = malloc((size_t)tensor->ndim * sizeof *array->strides + 1);
  if (!array->strides) {
    Py_DECREF((PyObject*)array);
    return PyErr_NoMemory();
  }
  for (int32_t i = 0; i < tensor->ndim; i++)
    array->strides[i] = tensor->strides[i] * (tensor->dtype.bits / 8);
  array->format = format_of(tensor->dtype);
  array->owner = Py_XNewRef(owner);
  return (PyObject*)array;
}

const DLTensor* tensor_of_array(PyObject* value) {
  return Py_TYPE(value) == array_type ? &((Array*)value)->tensor : NULL;
}

static int keep_memory(Handle handle) {
  (void)handle;
  return 0;
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

/* ---- Values ---- */

/* A 16-bit float, of so many bits of fraction, as a double. */
static double of_short(uint16_t bits, int fraction) {
  int exponents = 15 - fraction, bias = (1 << (exponents - 1)) - 1;
  int exponent = bits >> fraction & ((1 << exponents) - 1);
  double part = bits & ((1 << fraction) - 1), value;
  if (exponent == (1 << exponents) - 1)
    value = part ? NAN : INFINITY;
  else if (exponent)
    value = ldexp(1 + ldexp(part, -fraction), exponent - bias);
  else
    value = ldexp(part, 1 - bias - fraction);
  return bits >> 15 ? -value : value;
}

/* The element at an address as a Python number. */
static PyObject* number_at(const char* data, DLDataType dtype) {
  union {
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    float f[2];
    double d[2];
  } value = {0};
  memcpy(&value, data, dtype.bits / 8);
  switch (dtype.code << 8 | dtype.bits) {
    case 0 << 8 | 8:
      return PyLong_FromLong(value.i8);
    case 0 << 8 | 16:
      return PyLong_FromLong(value.i16);
    case 0 << 8 | 32:
      return PyLong_FromLong(value.i32);
    case 0 << 8 | 64:
      return PyLong_FromLongLong(value.i64);
    case 1 << 8 | 8:
      return PyLong_FromLong(value.u8);
    case 1 << 8 | 16:
      return PyLong_FromLong(value.u16);
    case 1 << 8 | 32:
      return PyLong_FromUnsignedLong(value.u32);
    case 1 << 8 | 64:
      return PyLong_FromUnsignedLongLong(value.u64);
    case 2 << 8 | 16:
      return PyFloat_FromDouble(of_short(value.u16, 10));
    case 4 << 8 | 16:
      return PyFloat_FromDouble(of_short(value.u16, 7));
    case 2 << 8 | 32:
      return PyFloat_FromDouble(value.f[0]);
    case 2 << 8 | 64:
      return PyFloat_FromDouble(value.d[0]);
    case 5 << 8 | 64:
      return PyComplex_FromDoubles(value.f[0], value.f[1]);
    case 5 << 8 | 128:
      return PyComplex_FromDoubles(value.d[0], value.d[1]);
    default:
      return PyBool_FromLong(value.u8);
  }
}

/* The elements from an address on as lists of lists, from a dimension on. */
static PyObject* list_from(const Array* self, const char* data, int32_t dim) {
  const DLTensor* tensor = &self->tensor;
  if (dim == tensor->ndim) return number_at(data, tensor->dtype);
  PyObject* list = PyList_New((Py_ssize_t)tensor->shape[dim]);
  for (int64_t i = 0; list && i < tensor->shape[dim]; i++) {
    PyObject* item = list_from(self, data + i * self->strides[dim], dim + 1);
    if (!item || PyList_SetItem(list, (Py_ssize_t)i, item)) Py_CLEAR(list);
  }
  return list;
}

static PyObject* array_tolist(Array* self, PyObject* none) {
  (void)none;
  return list_from(self, self->tensor.data, 0);
}

/* The same memory as unsigned integers: buffers have a word for these. */
static PyObject* array_bits(Array* self, PyObject* none) {
  (void)none;
  DLTensor tensor = self->tensor;
  tensor.dtype.code = 1;
  return new_array(&tensor, keep_memory, NULL, (PyObject*)self);
}

static PyObject* array_shape(Array* self, void* closure) {
  (void)closure;
  PyObject* shape = PyTuple_New(self->tensor.ndim);
  for (int32_t i = 0; shape && i < self->tensor.ndim; i++) {
    PyObject* size = PyLong_FromLongLong(self->tensor.shape[i]);
    if (!size || PyTuple_SetItem(shape, i, size)) Py_CLEAR(shape);
  }
  return shape;
}

static PyObject* array_dtype(Array* self, void* closure) {
  (void)closure;
  DLDataType dtype = self->tensor.dtype;
  static const char* const kinds[] = {"int", "uint", "float", "", "bfloat", "complex"};
  if (dtype.code == 6) return PyUnicode_FromString("bool");
  return PyUnicode_FromFormat("%s%d", kinds[dtype.code], (int)dtype.bits);
}

static Py_ssize_t array_length(Array* self) {
  if (self->tensor.ndim) return (Py_ssize_t)self->tensor.shape[0];
  PyErr_SetString(PyExc_TypeError, "an array without dimensions has no length");
  return -1;
}

static PyObject* array_repr(Array* self) {
  PyObject *shape = array_shape(self, NULL), *dtype = array_dtype(self, NULL);
  PyObject* text =
      shape && dtype ? PyUnicode_FromFormat("<array of %U, shape %R>", dtype, shape) : NULL;
  Py_XDECREF(shape);
  Py_XDECREF(dtype);
  return text;
}

static PyMethodDef array_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))array_dlpack, METH_VARARGS | METH_KEYWORDS,
     "The capsule of DLPack before 1.0."},
    {"__dlpack_device__", (PyCFunction)array_device, METH_NOARGS,
     "DLPack's type of device, and 0."},
    {"bits", (PyCFunction)array_bits, METH_NOARGS,
     "The same memory as unsigned integers of the same size."},
    {"tolist", (PyCFunction)array_tolist, METH_NOARGS,
     "The values as a list of lists; a number where there are no dimensions."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef array_properties[] = {
    {"shape", (getter)array_shape, NULL, "The sizes.", NULL},
    {"dtype", (getter)array_dtype, NULL, "The name of the type of the elements.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot array_slots[] = {
    {Py_tp_doc, "An array: a buffer, which numpy and others take without a copy, and DLPack."},
    {Py_tp_getset, array_properties},
    {Py_tp_repr, array_repr},
    {Py_mp_length, array_length},
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

/* ---- Arrays over memory ---- */

/* What a view() has: its sizes and strides, and the buffer that it is over. */
typedef struct {
  Py_buffer buffer;
  int64_t cells[];
} View;

static int release_view(Handle handle) {
  View* view = handle;
  PyBuffer_Release(&view->buffer);
  free(view);
  return 0;
}

/* view(buffer, (code, bits), sizes, strides, offset): an Array over a part of a buffer of bytes. */
PyObject* view_of(PyObject* module, PyObject* args) {
  (void)module;
  PyObject *value, *sizes, *strides;
  int code, bits;
  Py_ssize_t offset;
  if (!PyArg_ParseTuple(args, "O(ii)O!O!n", &value, &code, &bits, &PyTuple_Type, &sizes,
                        &PyTuple_Type, &strides, &offset))
    return NULL;
  Py_ssize_t ndim = PyTuple_Size(sizes);
  if (PyTuple_Size(strides) != ndim || ndim > MAX_DIMS) {
    PyErr_SetString(PyExc_ValueError, "an array has as many strides as sizes, at most 64");
    return NULL;
  }
  View* view = malloc(sizeof *view + 2 * (size_t)ndim * sizeof(int64_t));
  if (!view) return PyErr_NoMemory();
  if (PyObject_GetBuffer(value, &view->buffer, PyBUF_SIMPLE)) {
    free(view);
    return NULL;
  }
  int64_t last = 0, count = 1;
  for (Py_ssize_t i = 0; i < ndim; i++) {
    view->cells[i] = PyLong_AsLongLong(PyTuple_GetItem(sizes, i));
    view->cells[ndim + i] = PyLong_AsLongLong(PyTuple_GetItem(strides, i));
    last += (view->cells[i] - 1) * view->cells[ndim + i];
    count *= view->cells[i];
  }
  Py_ssize_t room = (view->buffer.len - offset) / (bits / 8);
  if (PyErr_Occurred() || offset < 0 || (count && last >= room)) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "an array is not within its buffer");
    release_view(view);
    return NULL;
  }
  DLTensor tensor = {(char*)view->buffer.buf + offset,
                     {CPU, 0},
                     (int32_t)ndim,
                     {(uint8_t)code, (uint8_t)bits, 1},
                     view->cells,
                     view->cells + ndim,
                     0};
  return new_array(&tensor, release_view, view, NULL);
}

static int free_memory(Handle memory) {
  free(memory);
  return 0;
}

/* from_capsule(capsule): an Array over the memory of a capsule of DLPack, which it keeps. */
PyObject* from_capsule(PyObject* module, PyObject* capsule) {
  (void)module;
  DLTensor tensor;
  if (!tensor_of_capsule(capsule, &tensor) || tensor.device.type != CPU) {
    PyErr_SetString(PyExc_ValueError, "expected a capsule of DLPack, with memory of the CPU");
    return NULL;
  }
  int64_t* strides = malloc((size_t)tensor.ndim * sizeof *strides + 1);
  if (!strides) return PyErr_NoMemory();
  give_strides(&tensor, strides);
  tensor.data = (char*)tensor.data + tensor.byte_offset;
  tensor.byte_offset = 0;
  return new_array(&tensor, free_memory, strides, capsule);
}

/* ---- Other layouts ---- */

/* Copy the elements of a buffer from a dimension on to dense memory, in an order of dimensions. */
static void copy_from(const Py_buffer* from, const int64_t* order, int32_t dim, const char* source,
                      char** target) {
  if (dim == from->ndim) {
    memcpy(*target, source, (size_t)from->itemsize);
    *target += from->itemsize;
    return;
  }
  int64_t at = order[dim];
  for (Py_ssize_t i = 0; i < from->shape[at]; i++)
    copy_from(from, order, dim + 1, source + i * from->strides[at], target);
}

/* laid_out(buffer, order): a copy whose dimensions lie in memory in this order, widest first. */
PyObject* laid_out(PyObject* module, PyObject* args) {
  (void)module;
  Py_buffer from;
  PyObject *value, *given;
  if (!PyArg_ParseTuple(args, "OO!", &value, &PyTuple_Type, &given) ||
      PyObject_GetBuffer(value, &from, PyBUF_RECORDS_RO))
    return NULL;
  DLDataType dtype;
  size_t ndim = (size_t)from.ndim, cells = 3 * ndim * sizeof(int64_t);
  cells = (cells + 63) / 64 * 64;
  char* memory = malloc(cells + (size_t)from.len + 1);
  int64_t* sizes = (int64_t*)memory;
  bool good =
      memory && dtype_of(skip_byte_order(from.format), &dtype) && PyTuple_Size(given) == from.ndim;
  for (size_t i = 0; good && i < ndim; i++) {
    sizes[2 * ndim + i] = PyLong_AsLongLong(PyTuple_GetItem(given, (Py_ssize_t)i));
    sizes[i] = from.shape[i];
    good = sizes[2 * ndim + i] >= 0 && sizes[2 * ndim + i] < from.ndim;
  }
  if (!good) {
    free(memory);
    PyBuffer_Release(&from);
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_BufferError, "this buffer has elements of another kind");
    return NULL;
  }
  int64_t stride = 1, *strides = sizes + ndim, *order = strides + ndim;
  for (size_t i = ndim; i--;) {
    strides[order[i]] = stride;
    stride *= sizes[order[i]];
  }
  DLTensor tensor = {memory + cells, {CPU, 0}, from.ndim, dtype, sizes, strides, 0};
  char* target = memory + cells;
  copy_from(&from, order, 0, from.buf, &target);
  PyBuffer_Release(&from);
  return new_array(&tensor, free_memory, memory, NULL);
}
