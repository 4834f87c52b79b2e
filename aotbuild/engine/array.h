/* What the files of the engine's own array share, array.c and array_*.c. */
#ifndef ARRAY_H
#define ARRAY_H

#include "engine.h"

/* Memory that numpy takes as a buffer, and others by DLPack. */
typedef struct {
  PyObject_HEAD int (*release)(Handle);
  Handle handle;
  PyObject* owner; /* the array whose memory this is a view of, or NULL */
  DLTensor tensor;
  const char* format;  /* NULL where buffers have no format for the dtype */
  Py_ssize_t* strides; /* in bytes */
} Array;

PyObject* array_shape(Array* self, void* closure);
PyObject* array_dtype(Array* self, void* closure);
Py_ssize_t array_length(Array* self);

/* Release memory that is a handle. */
int free_memory(Handle memory);

/* How many elements there are. */
int64_t count_elements(const DLTensor* tensor);

/* Elements in memory. */
typedef struct {
  char* data;
  const int64_t* strides;
  int64_t unit; /* of the strides, in bytes; 0 where one element stands for all */
} Place;

/* The elements of a tensor. */
Place place_of(const DLTensor* tensor);

/* Copy elements of so many bytes; `sizes` has those of the tensor. */
void copy_elements(const DLTensor* sizes, size_t bytes, Place to, Place from);

/* An Array over new memory without gaps, of the sizes and dtype of a tensor. Its dimensions lie in
 * an order, the widest first; NULL: in their own. */
PyObject* new_dense(const DLTensor* like, const int64_t* order);
/* A copy of elements in memory without gaps. */
PyObject* dense_copy(const DLTensor* tensor);

/* ---- array_numbers.c ---- */

/* The element at an address as a Python number. */
PyObject* number_at(const char* data, DLDataType dtype);
/* Write a Python number as an element; -1 with an error set where it is none of the dtype. */
int put_number(char* data, DLDataType dtype, PyObject* number);
PyObject* array_tolist(Array* self, PyObject* none);
PyObject* array_compare(Array* self, PyObject* other, int operation);
int array_bool(Array* self);
PyObject* array_float(Array* self);
PyObject* array_int(Array* self);

/* ---- array_items.c ---- */

PyObject* array_item(Array* self, PyObject* index);
PyObject* array_row(Array* self, Py_ssize_t at);
PyObject* array_iterator(Array* self);
int array_assign(Array* self, PyObject* index, PyObject* value);

/* ---- array_exchange.c ---- */

int array_buffer(Array* self, Py_buffer* view, int flags);
PyObject* array_dlpack(Array* self, PyObject* args, PyObject* kwargs);
PyObject* array_device(Array* self, PyObject* none);
PyObject* array_reduce(Array* self, PyObject* none);
PyObject* array_numpy(Array* self, PyObject* args, PyObject* kwargs);

#endif
