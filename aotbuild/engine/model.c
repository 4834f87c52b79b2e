/* The base of a model's class in C, so that a usual call does not go through Python. */
#include "engine.h"

#include <stdlib.h>

/* Which calls an engine has. It is kept as long as the model: other threads may be in calls by it
 * when a later one takes its place. */
typedef struct Binding {
  Engine* engine;    /* NULL: every call goes through Python */
  PyObject* names;   /* of the parameters, a tensor each */
  PyObject* results; /* how the outputs nest, see build() */
  Py_ssize_t positional;
  struct Binding* before;
} Binding;

typedef struct {
  PyObject_HEAD Binding* binding; /* NULL: every call goes through Python; published */
} Model;

/* An output from the list of all: an index; None; or (type, keys, items) for a tuple, a list or a
 * dict of them.
 */
static PyObject* build(PyObject* results, PyObject* outputs) {
  if (results == Py_None) return Py_NewRef(Py_None);
  if (PyLong_Check(results)) return Py_XNewRef(PyList_GetItem(outputs, PyLong_AsSsize_t(results)));
  PyObject *type = PyTuple_GetItem(results, 0), *keys = PyTuple_GetItem(results, 1);
  PyObject* items = PyTuple_GetItem(results, 2);
  if (!type || !keys || !items) return NULL;
  Py_ssize_t count = PyTuple_Size(items);
  bool is_dict = type == (PyObject*)&PyDict_Type, is_list = type == (PyObject*)&PyList_Type;
  PyObject* built = is_dict ? PyDict_New() : is_list ? PyList_New(count) : PyTuple_New(count);
  for (Py_ssize_t i = 0; built && i < count; i++) {
    PyObject* item = build(PyTuple_GetItem(items, i), outputs);
    int failed = !item;
    if (item && is_dict) {
      failed = PyDict_SetItem(built, PyTuple_GetItem(keys, i), item);
      Py_DECREF(item);
    } else if (item) {
      failed = is_list ? PyList_SetItem(built, i, item) : PyTuple_SetItem(built, i, item);
    }
    if (failed) Py_CLEAR(built);
  }
  return built;
}

/* Replace a RuntimeError of the compiled code by the error that the model makes of it. */
static void raise_failure(PyObject* self) {
  PyObject *type, *error, *traceback;
  if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) return;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  PyObject* replacement = PyObject_CallMethod(self, "_failure", "O", error);
  if (replacement) {
    if (replacement != error) PyException_SetCause(replacement, Py_NewRef(error));
    PyErr_SetObject((PyObject*)Py_TYPE(replacement), replacement);
  }
  Py_XDECREF(replacement);
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(traceback);
}

/* A new reference to what a dict of arguments has; NULL if it has not. */
static PyObject* named_value(PyObject* kwargs, PyObject* name) {
#ifdef Py_GIL_DISABLED
  PyObject* value;
  PyDict_GetItemRef(kwargs, name, &value); /* which another thread may take out of it */
  return value;
#else
  return Py_XNewRef(PyDict_GetItemWithError(kwargs, name));
#endif
}

static void release_values(PyObject* const* values, Py_ssize_t count) {
  for (Py_ssize_t i = 0; i < count; i++) Py_DECREF(values[i]);
}

/* The values of a call in the order of the parameters, with a reference to each; 0 if some are
 * missing or unknown.
 */
static int order(const Binding* binding, PyObject* args, PyObject* kwargs, PyObject** values) {
  Py_ssize_t given = PyTuple_Size(args), named = kwargs ? PyDict_Size(kwargs) : 0;
  Py_ssize_t count = (Py_ssize_t)binding->engine->input_count;
  if (count > STACK_TENSORS || given + named != count || given > binding->positional) return 0;
  for (Py_ssize_t i = 0; i < count; i++) {
    values[i] = i < given ? Py_NewRef(PyTuple_GetItem(args, i))
                          : named_value(kwargs, PyTuple_GetItem(binding->names, i));
    if (values[i]) continue;
    PyErr_Clear();
    release_values(values, i);
    return 0;
  }
  return 1;
}

/* Call the model: by the engine if the call is usual, else by `_checked`, which is Python. */
static PyObject* model_call(Model* self, PyObject* args, PyObject* kwargs) {
  PyObject* values[STACK_TENSORS];
  const Binding* binding = PUBLISHED(self->binding);
  if (binding && binding->engine && order(binding, args, kwargs, values)) {
    PyObject* answer = NULL;
    Py_ssize_t count = (Py_ssize_t)binding->engine->input_count;
    PyObject* outputs = engine_call(binding->engine, values, count);
    release_values(values, count);
    if (!outputs)
      raise_failure((PyObject*)self);
    else if (outputs != Py_None)
      answer = build(binding->results, outputs);
    bool usual = outputs != Py_None;
    Py_XDECREF(outputs);
    if (usual) return answer;
  }
  PyObject* checked = PyObject_GetAttrString((PyObject*)self, "_checked");
  PyObject* answer = checked ? PyObject_Call(checked, args, kwargs) : NULL;
  Py_XDECREF(checked);
  return answer;
}

/* _bind(engine, names, positional, results): let an engine have the usual calls; None: no more. */
static PyObject* model_bind(Model* self, PyObject* args) {
  PyObject *engine, *names, *results;
  Py_ssize_t positional;
  if (!PyArg_ParseTuple(args, "OO!nO", &engine, &PyTuple_Type, &names, &positional, &results))
    return NULL;
  Binding* binding = malloc(sizeof *binding);
  if (!binding) return PyErr_NoMemory();
  binding->engine = engine == Py_None ? NULL : (Engine*)Py_NewRef(engine);
  binding->names = Py_NewRef(names);
  binding->results = Py_NewRef(results);
  binding->positional = positional;
  BEGIN_ALONE(self);
  binding->before = self->binding;
  PUBLISH(self->binding, binding);
  END_ALONE;
  Py_RETURN_NONE;
}

static void model_dealloc(Model* self) {
  PyTypeObject* type = Py_TYPE((PyObject*)self);
  for (Binding *binding = self->binding, *before; binding; binding = before) {
    before = binding->before;
    Py_XDECREF((PyObject*)binding->engine);
    Py_DECREF(binding->names);
    Py_DECREF(binding->results);
    free(binding);
  }
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef model_methods[] = {
    {"_bind", (PyCFunction)model_bind, METH_VARARGS, "Let an engine have the usual calls."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot model_slots[] = {
    {Py_tp_doc, "A model whose usual calls do not go through Python; the fallback are _checked()."},
    {Py_tp_call, model_call},
    {Py_tp_dealloc, model_dealloc},
    {Py_tp_methods, model_methods},
    {0, NULL},
};

PyType_Spec model_spec = {
    .name = "_engine.Model",
    .basicsize = sizeof(Model),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = model_slots,
};
