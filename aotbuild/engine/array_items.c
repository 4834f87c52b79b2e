/* Parts of the engine's own array by an index, as numpy's basic ones: integers, slices, `...`. */
#include "array.h"

#include <stdlib.h>

/* Raise a TypeError of a text with the name of a value's type. */
static void refuse_type(const char* text, PyObject* value) {
  PyObject* name = PyType_GetName(Py_TYPE(value));
  if (name) PyErr_Format(PyExc_TypeError, text, name);
  Py_XDECREF(name);
}

/* How many dimensions an index names; -1 with an error set for what is none.
 *
 * has_rest: set where it has a `...`.
 */
static int32_t check_index(const DLTensor* tensor, PyObject* index, bool* has_rest) {
  Py_ssize_t count = PyTuple_Check(index) ? PyTuple_Size(index) : 1, rests = 0;
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject* item = PyTuple_Check(index) ? PyTuple_GetItem(index, i) : index;
    rests += item == Py_Ellipsis;
    if (item != Py_Ellipsis && !PySlice_Check(item) && (PyBool_Check(item) || !PyIndex_Check(item)))
      return refuse_type("an array is indexed by integers, slices and '...', got %U", item), -1;
  }
  *has_rest = rests;
  if (rests > 1 || count - rests > tensor->ndim) {
    PyErr_Format(PyExc_IndexError,
                 rests > 1 ? "an index has '...' once" : "%zd indices are given for %d dimensions",
                 count - rests, (int)tensor->ndim);
    return -1;
  }
  return (int32_t)(count - rests);
}

/* The part that an index names: its cells, to be freed; NULL with an error set.
 *
 * part: gets it; it has no dimensions, and `is_number` is set, where the index names an element.
 */
static int64_t* find_part(const DLTensor* tensor, PyObject* index, DLTensor* part,
                          bool* is_number) {
  bool has_rest = false;
  int32_t named = check_index(tensor, index, &has_rest);
  if (named < 0) return NULL;
  int64_t* cells = malloc(2 * (size_t)tensor->ndim * sizeof *cells + 1);
  if (!cells) return (void)PyErr_NoMemory(), NULL;
  *part = *tensor;
  part->ndim = 0;
  part->shape = cells;
  part->strides = cells + tensor->ndim;
  Py_ssize_t at = 0;
  int32_t rest = tensor->ndim - named;
  int64_t offset = 0;
  for (int32_t dim = 0; dim < tensor->ndim;) {
    int64_t size = tensor->shape[dim], stride = tensor->strides[dim];
    bool is_tuple = PyTuple_Check(index), ended = at >= (is_tuple ? PyTuple_Size(index) : 1);
    PyObject* item = ended ? Py_Ellipsis : is_tuple ? PyTuple_GetItem(index, at) : index;
    if (item == Py_Ellipsis) {
      if (rest--) { /* which are kept whole */
        cells[part->ndim] = size;
        part->strides[part->ndim++] = stride;
        dim++;
      } else {
        at++;
      }
      continue;
    }
    Py_ssize_t start, stop, step;
    if (PySlice_Check(item)) {
      if (PySlice_Unpack(item, &start, &stop, &step)) return free(cells), NULL;
      Py_ssize_t length = PySlice_AdjustIndices((Py_ssize_t)size, &start, &stop, step);
      cells[part->ndim] = length;
      part->strides[part->ndim++] = length > 1 ? stride * step : stride;
      offset += length ? start * stride : 0;
    } else {
      start = PyNumber_AsSsize_t(item, PyExc_IndexError);
      if (PyErr_Occurred()) return free(cells), NULL;
      if (start < -size || start >= size) {
        PyErr_Format(PyExc_IndexError, "index %zd is out of range for dimension %d of size %lld",
                     start, (int)dim, (long long)size);
        return free(cells), NULL;
      }
      offset += (start < 0 ? start + size : start) * stride;
    }
    at++;
    dim++;
  }
  *is_number = !has_rest && !part->ndim;
  if (count_elements(part)) part->data = (char*)part->data + offset * (tensor->dtype.bits / 8);
  return cells;
}

PyObject* array_item(Array* self, PyObject* index) {
  DLTensor part;
  bool is_number;
  int64_t* cells = find_part(&self->tensor, index, &part, &is_number);
  if (!cells) return NULL;
  if (!is_number) return new_array(&part, free_memory, cells, (PyObject*)self);
  PyObject* number = number_at(part.data, part.dtype);
  free(cells);
  return number;
}

/* A part by its place in the first dimension, which iteration asks for. */
PyObject* array_row(Array* self, Py_ssize_t at) {
  if (self->tensor.ndim && (at < 0 || at >= self->tensor.shape[0])) {
    PyErr_SetString(PyExc_IndexError, "index is out of range");
    return NULL;
  }
  PyObject* index = PyLong_FromSsize_t(at);
  PyObject* item = index ? array_item(self, index) : NULL;
  Py_XDECREF(index);
  return item;
}

PyObject* array_iterator(Array* self) {
  return array_length(self) < 0 ? NULL : PySeqIter_New((PyObject*)self);
}

/* ---- Writing ---- */

/* Raise what is wrong with values for a part. */
static void refuse_values(PyObject* error, const char* text, const DLTensor* values,
                          const DLTensor* part, PyObject* (*told)(Array*, void*)) {
  Array one = {.tensor = *part}, other = {.tensor = *values};
  PyObject *expected = told(&one, NULL), *given = told(&other, NULL);
  if (expected && given) PyErr_Format(error, text, expected, given);
  Py_XDECREF(expected);
  Py_XDECREF(given);
}

/* Whether values may be written to a part; if not, an error is set. One element is for all. */
static bool check_values(const DLTensor* values, const DLTensor* part) {
  bool same = values->ndim == part->ndim;
  for (int32_t i = 0; same && i < part->ndim; i++) same = values->shape[i] == part->shape[i];
  if (values->dtype.code != part->dtype.code || values->dtype.bits != part->dtype.bits)
    refuse_values(PyExc_TypeError, "expected elements of %U, got %U", values, part, array_dtype);
  else if (values->ndim && !same)
    refuse_values(PyExc_ValueError, "expected values of shape %R, got %R", values, part,
                  array_shape);
  else
    return true;
  return false;
}

/* Write one number to all elements of a part. */
static int fill(const DLTensor* part, PyObject* number) {
  char element[16];
  bool is_number = PyComplex_Check(number) || PyFloat_Check(number) || PyIndex_Check(number) ||
                   PyObject_HasAttrString((PyObject*)Py_TYPE(number), "__float__");
  if (!is_number) return refuse_type("expected a number, or a buffer, got %U", number), -1;
  if (put_number(element, part->dtype, number)) return -1;
  copy_elements(part, part->dtype.bits / 8, place_of(part), (Place){element, part->strides, 0});
  return 0;
}

/* Write values to a part, whose memory may be the same. */
static int copy_values(const DLTensor* part, const DLTensor* values) {
  if (!check_values(values, part)) return -1;
  PyObject* copy = dense_copy(values);
  if (!copy) return -1;
  Place from = place_of(tensor_of_array(copy));
  if (!values->ndim) from = (Place){from.data, part->strides, 0};
  copy_elements(part, part->dtype.bits / 8, place_of(part), from);
  Py_DECREF(copy);
  return 0;
}

int array_assign(Array* self, PyObject* index, PyObject* value) {
  if (!value) {
    PyErr_SetString(PyExc_TypeError, "elements of an array cannot be deleted");
    return -1;
  }
  DLTensor part, values = {0};
  bool is_number;
  int64_t* cells = find_part(&self->tensor, index, &part, &is_number);
  if (!cells) return -1;
  Borrowed held = {0};
  const DLTensor* own = tensor_of_array(value);
  bool have = own || borrow_array(value, &held, &values);
  if (own) values = *own;
  /* A number of numpy's own has a buffer as well. */
  bool is_scalar = have && !own && !values.ndim &&
                   (values.dtype.code != part.dtype.code || values.dtype.bits != part.dtype.bits);
  int failed = have && !is_scalar ? copy_values(&part, &values) : fill(&part, value);
  give_back(&held);
  free(cells);
  return failed;
}
