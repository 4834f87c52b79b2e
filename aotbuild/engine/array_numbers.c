/* Elements of the engine's own array as Python numbers. */
#include "array.h"

#include <math.h>
#include <string.h>

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

/* A double as the nearest 16-bit float, of so many bits of fraction, the even one of two. */
static uint16_t to_short(double value, int fraction) {
  int exponents = 15 - fraction, bias = (1 << (exponents - 1)) - 1, exponent = 0;
  int sign = signbit(value) ? 0x8000 : 0, infinite = ((1 << exponents) - 1) << fraction;
  if (isnan(value)) return (uint16_t)(sign | infinite | 1 << (fraction - 1));
  if (isinf(value)) return (uint16_t)(sign | infinite);
  frexp(value, &exponent);
  exponent--; /* of the first bit */
  if (exponent < 1 - bias || value == 0) exponent = 1 - bias;
  double scaled = ldexp(signbit(value) ? -value : value, fraction - exponent);
  int units = (int)scaled; /* of the last bit; the first one adds 1 to the exponent */
  double rest = scaled - units;
  units += rest > 0.5 || (rest == 0.5 && units & 1);
  int bits = ((exponent + bias - 1) << fraction) + units;
  return (uint16_t)(sign | (bits < infinite ? bits : infinite));
}

typedef union {
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
} Element;

/* The element at an address as a Python number. */
PyObject* number_at(const char* data, DLDataType dtype) {
  Element value = {0};
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

/* An integer as an element; -1 with an error set where it is out of range. */
static int put_integer(Element* element, DLDataType dtype, PyObject* number) {
  PyObject* whole = PyNumber_Index(number);
  if (!whole) return -1;
  bool fits;
  if (dtype.code) {
    element->u64 = PyLong_AsUnsignedLongLong(whole);
    fits = !PyErr_Occurred() && (dtype.bits == 64 || !(element->u64 >> dtype.bits));
  } else {
    element->i64 = PyLong_AsLongLong(whole);
    int64_t top = element->i64 >> (dtype.bits - 1);
    fits = !PyErr_Occurred() && (top == 0 || top == -1);
  }
  PyErr_Clear();
  if (!fits)
    PyErr_Format(PyExc_OverflowError, "%R is out of the range of %s%d", whole,
                 dtype.code ? "uint" : "int", (int)dtype.bits);
  Py_DECREF(whole);
  return fits ? 0 : -1;
}

int put_number(char* data, DLDataType dtype, PyObject* number) {
  Element element = {0};
  if (dtype.code <= 1) {
    if (put_integer(&element, dtype, number)) return -1; /* the low bytes are the first ones */
  } else if (dtype.code == 5) {
    double real = PyComplex_RealAsDouble(number);
    double imaginary = PyErr_Occurred() ? 0 : PyComplex_ImagAsDouble(number);
    if (dtype.bits == 64) {
      element.f[0] = (float)real;
      element.f[1] = (float)imaginary;
    } else {
      element.d[0] = real;
      element.d[1] = imaginary;
    }
  } else {
    double value = PyFloat_AsDouble(number);
    if (dtype.code == 6)
      element.u8 = value != 0;
    else if (dtype.bits == 16)
      element.u16 = to_short(value, dtype.code == 4 ? 7 : 10);
    else if (dtype.bits == 32)
      element.f[0] = (float)value;
    else
      element.d[0] = value;
  }
  if (PyErr_Occurred()) return -1;
  memcpy(data, &element, dtype.bits / 8);
  return 0;
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

PyObject* array_tolist(Array* self, PyObject* none) {
  (void)none;
  return list_from(self, self->tensor.data, 0);
}

/* ---- Operators ---- */

/* Equal arrays have the same sizes and equal elements, as with memoryview. */
PyObject* array_compare(Array* self, PyObject* other, int operation) {
  if (Py_TYPE(other) != Py_TYPE((PyObject*)self) || (operation != Py_EQ && operation != Py_NE))
    Py_RETURN_NOTIMPLEMENTED;
  Array* array = (Array*)other;
  PyObject* one = Py_BuildValue("NN", array_shape(self, NULL), array_tolist(self, NULL));
  PyObject* two = Py_BuildValue("NN", array_shape(array, NULL), array_tolist(array, NULL));
  PyObject* result = one && two ? PyObject_RichCompare(one, two, operation) : NULL;
  Py_XDECREF(one);
  Py_XDECREF(two);
  return result;
}

/* The one element that an array has. */
static PyObject* only_number(Array* self) {
  int64_t count = count_elements(&self->tensor);
  if (count == 1) return number_at(self->tensor.data, self->tensor.dtype);
  PyErr_Format(PyExc_ValueError, "an array of %lld elements is not one number", (long long)count);
  return NULL;
}

int array_bool(Array* self) {
  PyObject* number = only_number(self);
  int truth = number ? PyObject_IsTrue(number) : -1;
  Py_XDECREF(number);
  return truth;
}

PyObject* array_float(Array* self) {
  PyObject* number = only_number(self);
  PyObject* made = number ? PyNumber_Float(number) : NULL;
  Py_XDECREF(number);
  return made;
}

PyObject* array_int(Array* self) {
  PyObject* number = only_number(self);
  PyObject* made = number ? PyNumber_Long(number) : NULL;
  Py_XDECREF(number);
  return made;
}
