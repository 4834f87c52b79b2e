/* An array of the engine's own: what a call returns where no library of arrays took part. */
#include "array.h"

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

int free_memory(Handle memory) {
  free(memory);
  return 0;
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

/* The same memory as unsigned integers: buffers have a word for these. */
static PyObject* array_bits(Array* self, PyObject* none) {
  (void)none;
  DLTensor tensor = self->tensor;
  tensor.dtype.code = 1;
  return new_array(&tensor, keep_memory, NULL, (PyObject*)self);
}

PyObject* array_shape(Array* self, void* closure) {
  (void)closure;
  PyObject* shape = PyTuple_New(self->tensor.ndim);
  for (int32_t i = 0; shape && i < self->tensor.ndim; i++) {
    PyObject* size = PyLong_FromLongLong(self->tensor.shape[i]);
    if (!size || PyTuple_SetItem(shape, i, size)) Py_CLEAR(shape);
  }
  return shape;
}

PyObject* array_dtype(Array* self, void* closure) {
  (void)closure;
  DLDataType dtype = self->tensor.dtype;
  static const char* const kinds[] = {"int", "uint", "float", "", "bfloat", "complex"};
  if (dtype.code == 6) return PyUnicode_FromString("bool");
  return PyUnicode_FromFormat("%s%d", kinds[dtype.code], (int)dtype.bits);
}

Py_ssize_t array_length(Array* self) {
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
    {"__array__", (PyCFunction)(void (*)(void))array_numpy, METH_VARARGS | METH_KEYWORDS,
     "An array of numpy over the same memory; bfloat16 is a dtype of ml_dtypes."},
    {"__dlpack__", (PyCFunction)(void (*)(void))array_dlpack, METH_VARARGS | METH_KEYWORDS,
     "A capsule of DLPack, as the array API standard has it."},
    {"__dlpack_device__", (PyCFunction)array_device, METH_NOARGS,
     "DLPack's type of device, and 0."},
    {"__reduce__", (PyCFunction)array_reduce, METH_NOARGS, "What makes a copy of it."},
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
    {Py_tp_richcompare, array_compare},
    {Py_tp_iter, array_iterator},
    {Py_mp_length, array_length},
    {Py_mp_subscript, array_item},
    {Py_mp_ass_subscript, array_assign},
    {Py_sq_length, array_length},
    {Py_sq_item, array_row},
    {Py_nb_bool, array_bool},
    {Py_nb_float, array_float},
    {Py_nb_int, array_int},
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

/* from_capsule(capsule): an Array over the memory of a capsule of DLPack, which it keeps. */
PyObject* from_capsule(PyObject* module, PyObject* capsule) {
  (void)module;
  DLTensor tensor;
  if (!tensor_of_capsule(capsule, &tensor) || tensor.device.type != CPU || tensor.ndim > MAX_DIMS) {
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

/* ---- Copies ---- */

int64_t count_elements(const DLTensor* tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor->ndim; i++) count *= tensor->shape[i];
  return count;
}

Place place_of(const DLTensor* tensor) {
  return (Place){tensor->data, tensor->strides, tensor->dtype.bits / 8};
}

static Place inside(Place place, int64_t i) {
  place.data += i * *place.strides++ * place.unit;
  return place;
}

static void copy_from(const int64_t* sizes, int32_t ndim, size_t bytes, Place to, Place from) {
  if (!ndim) {
    memcpy(to.data, from.data, bytes);
    return;
  }
  int64_t step = (int64_t)bytes;
  if (ndim == 1 && *to.strides * to.unit == step && *from.strides * from.unit == step) {
    memcpy(to.data, from.data, (size_t)*sizes * bytes);
    return;
  }
  for (int64_t i = 0; i < *sizes; i++)
    copy_from(sizes + 1, ndim - 1, bytes, inside(to, i), inside(from, i));
}

void copy_elements(const DLTensor* sizes, size_t bytes, Place to, Place from) {
  if (count_elements(sizes)) copy_from(sizes->shape, sizes->ndim, bytes, to, from);
}

PyObject* new_dense(const DLTensor* like, const int64_t* order) {
  size_t ndim = (size_t)like->ndim, cells = (2 * ndim * sizeof(int64_t) + 63) / 64 * 64;
  char* memory = malloc(cells + (size_t)count_elements(like) * (like->dtype.bits / 8) + 1);
  if (!memory) return PyErr_NoMemory();
  int64_t *sizes = (int64_t*)memory, *strides = sizes + ndim, stride = 1;
  for (size_t i = 0; i < ndim; i++) sizes[i] = like->shape[i];
  for (size_t i = ndim; i--;) {
    size_t dim = order ? (size_t)order[i] : i;
    strides[dim] = stride;
    stride *= sizes[dim];
  }
  DLTensor tensor = {memory + cells, {CPU, 0}, like->ndim, like->dtype, sizes, strides, 0};
  return new_array(&tensor, free_memory, memory, NULL);
}

PyObject* dense_copy(const DLTensor* tensor) {
  PyObject* copy = new_dense(tensor, NULL);
  if (copy)
    copy_elements(tensor, tensor->dtype.bits / 8, place_of(tensor_of_array(copy)),
                  place_of(tensor));
  return copy;
}

/* The dtype of the elements of a buffer, which has so many bytes for each. */
static bool dtype_of_buffer(const Py_buffer* buffer, DLDataType* dtype) {
  const char* format = skip_byte_order(buffer->format ? buffer->format : "B");
  if (!dtype_of(format, dtype)) return false;
  if (*format == 'l' || *format == 'L') dtype->bits = buffer->itemsize == 4 ? 32 : 64;
  return buffer->itemsize == dtype->bits / 8;
}

/* laid_out(buffer, order): a copy whose dimensions lie in memory in this order, widest first. */
PyObject* laid_out(PyObject* module, PyObject* args) {
  (void)module;
  Py_buffer from;
  PyObject *value, *given, *copy = NULL;
  if (!PyArg_ParseTuple(args, "OO!", &value, &PyTuple_Type, &given) ||
      PyObject_GetBuffer(value, &from, PyBUF_RECORDS_RO))
    return NULL;
  DLTensor like = {.ndim = from.ndim, .shape = (int64_t*)from.shape}; /* see of_buffer() */
  int64_t order[MAX_DIMS];
  bool good = from.ndim <= MAX_DIMS && dtype_of_buffer(&from, &like.dtype) &&
              PyTuple_Size(given) == from.ndim;
  for (int i = 0; good && i < from.ndim; i++) {
    order[i] = PyLong_AsLongLong(PyTuple_GetItem(given, i));
    good = order[i] >= 0 && order[i] < from.ndim;
  }
  if (good)
    copy = new_dense(&like, order);
  else if (!PyErr_Occurred())
    PyErr_SetString(PyExc_BufferError, "this buffer has elements of another kind");
  if (copy)
    copy_elements(&like, (size_t)from.itemsize, place_of(tensor_of_array(copy)),
                  (Place){from.buf, (const int64_t*)from.strides, 1});
  PyBuffer_Release(&from);
  return copy;
}
