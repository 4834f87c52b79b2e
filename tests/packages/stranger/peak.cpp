#include <Python.h>

static PyObject *peak(PyObject *, PyObject *values) {
  double best = 0;
  PyObject *sequence = PySequence_Fast(values, "expected a sequence");
  if (!sequence) return nullptr;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); ++i) {
    double value = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(sequence, i));
    if (value > best) best = value;
  }
  Py_DECREF(sequence);
  return PyFloat_FromDouble(best);
}

static PyMethodDef methods[] = {{"peak", peak, METH_O, "Largest value."}, {}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_peak", nullptr, -1, methods};

PyMODINIT_FUNC PyInit__peak() { return PyModule_Create(&module); }
