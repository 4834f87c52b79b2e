/* The extension module: its types and functions. */
#include "engine.h"

static PyObject* cpu_features(PyObject* module, PyObject* none) {
  (void)module, (void)none;
  PyObject* features = PyDict_New();
  for (size_t i = 0; features && cpu_feature(i); i++) {
    PyObject* answer = cpu_has(cpu_feature(i)) ? Py_True : Py_False;
    if (PyDict_SetItemString(features, cpu_feature(i), answer)) Py_CLEAR(features);
  }
  return features;
}

static PyMethodDef functions[] = {
    {"missing", missing, METH_VARARGS, "Those of the names that torch's library does not have."},
    {"interface_version", interface_version, METH_VARARGS,
     "The version of the interface in C of torch's library."},
    {"view", view_of, METH_VARARGS, "An array over a part of a buffer."},
    {"from_capsule", from_capsule, METH_O, "An array over the memory of a capsule of DLPack."},
    {"laid_out", laid_out, METH_VARARGS, "A copy of a buffer in an order of dimensions."},
    {"running_calls", running_calls, METH_NOARGS,
     "How many calls, of all engines, may be in a function of torch."},
    {"cpu_features", cpu_features, METH_NOARGS,
     "Whether this CPU has each feature that levels need."},
    {NULL, NULL, 0, NULL},
};

static int add(PyObject* module, const char* name, PyType_Spec* spec) {
  PyObject* type = PyType_FromModuleAndSpec(module, spec, NULL);
  if (!type) return -1;
  int failed = PyModule_AddObjectRef(module, name, type);
  Py_DECREF(type);
  return failed;
}

/* Add the types to the module. */
static int fill(PyObject* module) {
  bool failed = add(module, "Engine", &engine_spec) || add(module, "Model", &model_spec) ||
                add(module, "Array", &array_spec) || add(module, "Signal", &signal_spec) ||
                keep_array_type(module);
  return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_engine",
    .m_doc = "Runs compiled models without holding the interpreter's lock.",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&module); }
