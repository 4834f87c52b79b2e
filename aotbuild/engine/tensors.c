/* Calls with torch's tensors, and the tensors that they give.
 *
 * A call that is not the usual one is not for this file: it answers None, and the Python side says
 * what is wrong or makes it fit.
 */
#include "engine.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* ---- Tensors in ---- */

/* A handle of a tensor, for the library to keep. */
static int hand_over(Engine *self, PyObject *object, const DLTensor *tensor, Handle *handle) {
  if (self->place && (PyObject *)Py_TYPE(object) == self->tensor_type)
    return self->torch.copy((char *)object + self->place, handle);
  return borrow(self, tensor, handle);
}

static uint64_t word(Engine *self, PyObject *tensor, size_t place) {
  uint64_t found;
  memcpy(&found, *(char **)((char *)tensor + self->place) + place, sizeof found);
  return found;
}

/* Whether a tensor's numbers are as they lie in memory: it lacks the flag, or where that is not
 * known, the method denies it. False with an error set if that fails.
 */
static bool lacks(Engine *self, PyObject *tensor, const Flag *flag, PyObject *method) {
  if (flag->place) return !(word(self, tensor, flag->place) & flag->bit);
  PyObject *answer = PyObject_CallFunctionObjArgs(method, tensor, NULL);
  Py_XDECREF(answer);
  return answer == Py_False;
}

/* Whether a call is the usual one, whose tensors need no change. 0 for any other. */
static int fits(Engine *self, PyObject *const *values, DLTensor *tensors) {
  int64_t known[MOST_DIMS];
  know_nothing(self, known);
  PyObject *modes = PyObject_CallNoArgs(self->modes);
  if (!modes) return 0;
  long active = PyLong_AsLong(modes);
  Py_DECREF(modes);
  if (active) return 0;
  for (size_t i = 0; i < self->input_count; i++) {
    const Input *input = &self->rules.inputs[i];
    if ((PyObject *)Py_TYPE(values[i]) != self->tensor_type ||
        self->exchange->tensor_from_object(values[i], &tensors[i]) ||
        !as_usual(self, i, &tensors[i], known))
      return 0;
    bool complex = input->code == 5, number = complex || input->code == 2 || input->code == 4;
    if ((number && !lacks(self, values[i], &self->neg, self->is_neg)) ||
        (complex && !lacks(self, values[i], &self->conj, self->is_conj)))
      return 0;
  }
  return 1;
}

/* ---- Tensors out ---- */

typedef struct {
  DLManagedTensorVersioned managed;
  int (*release)(Handle);
  Handle handle;
  DLManagedTensorVersioned *owner; /* whose memory this is a view of, or NULL */
} Output;

static void release_output(DLManagedTensorVersioned *managed) {
  Output *output = managed->manager_ctx;
  output->release(output->handle);
  if (output->owner) output->owner->deleter(output->owner);
  free(output);
}

/* The input that an output is a view of, kept alive by it; NULL where there is none. */
static int find_owner(Engine *self, PyObject *const *values, const DLTensor *tensors, char *data,
                      DLManagedTensorVersioned **owner) {
  *owner = NULL;
  for (size_t i = 0; data && i < self->input_count; i++) {
    if (self->place && (PyObject *)Py_TYPE(values[i]) == self->tensor_type)
      continue; /* the output's handle holds the memory */
    if (lies_in(&tensors[i], data)) return self->exchange->managed_from_object(values[i], owner);
  }
  return 0;
}

/* A tensor that owns the handle, which is released if there is an error. */
static PyObject *give(Engine *self, Handle handle, PyObject *const *values,
                      const DLTensor *tensors) {
  const Torch *torch = &self->torch;
  if (self->wrap) {
    PyObject *tensor = self->wrap(handle);
    torch->release(handle);
    return tensor;
  }
  Output *output = calloc(1, sizeof *output);
  int64_t ndim;
  int32_t number;
  DLTensor *view = output ? &output->managed.dl_tensor : NULL;
  if (!output || torch->data(handle, &view->data) || torch->ndim(handle, &ndim) ||
      torch->sizes(handle, &view->shape) || torch->strides(handle, &view->strides) ||
      torch->dtype(handle, &number)) {
    free(output);
    torch->release(handle);
    return output ? NULL : PyErr_NoMemory();
  }
  int dtype = find_number(self, number);
  if (dtype < 0 || find_owner(self, values, tensors, view->data, &output->owner)) {
    free(output);
    torch->release(handle);
    return NULL;
  }
  view->device.type = CPU;
  view->ndim = (int32_t)ndim;
  view->dtype = (DLDataType){DTYPES[dtype].code, DTYPES[dtype].bits, 1};
  output->managed.version.major = 1;
  output->managed.manager_ctx = output;
  output->managed.deleter = release_output;
  output->release = torch->release;
  output->handle = handle;
  void *object = NULL;
  if (self->exchange->managed_to_object(&output->managed, &object)) {
    release_output(&output->managed);
    return NULL;
  }
  return object;
}

/* ---- The call ---- */

static PyObject *run(Engine *self, PyObject *const *values, const DLTensor *tensors,
                     Handle *handles) {
  size_t input_count = self->input_count, output_count = self->output_count;
  Handle *outputs = handles + input_count;
  for (size_t i = 0; i < input_count; i++) {
    if (hand_over(self, values[i], &tensors[i], &handles[i])) {
      while (i--) self->torch.release(handles[i]);
      PyErr_SetString(PyExc_RuntimeError, "a tensor of this kind cannot be handed over");
      return NULL;
    }
  }
  if (!run_library(self, handles)) return NULL;
  PyObject *results = PyList_New((Py_ssize_t)output_count);
  size_t i = 0;
  for (; results && i < output_count; i++) {
    PyObject *result = give(self, outputs[i], values, tensors);
    if (!result) {
      if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "an output is of a kind that cannot be handed over");
      Py_CLEAR(results);
    } else {
      PyList_SetItem(results, (Py_ssize_t)i, result);
    }
  }
  for (; i < output_count; i++) self->torch.release(outputs[i]);
  return results;
}

/* Whether torch is not known yet, or a value is no plain tensor of it. */
static bool has_others(Engine *self, PyObject *const *values) {
  if (!self->tensor_type) return true;
  for (size_t i = 0; i < self->input_count; i++)
    if ((PyObject *)Py_TYPE(values[i]) != self->tensor_type) return true;
  return false;
}

static PyObject *ask_others(Engine *self, PyObject *const *values) {
  PyObject *args = PyTuple_New((Py_ssize_t)self->input_count);
  if (!args) return NULL;
  for (size_t i = 0; i < self->input_count; i++)
    PyTuple_SetItem(args, (Py_ssize_t)i, Py_NewRef(values[i]));
  PyObject *answer = PyObject_Call(self->others, args, NULL);
  Py_DECREF(args);
  return answer;
}

PyObject *engine_call(Engine *self, PyObject *const *values, Py_ssize_t count) {
  if ((size_t)count != self->input_count) Py_RETURN_NONE;
  if (self->others && has_others(self, values)) return ask_others(self, values);
  if (!self->checks || !self->exchange) Py_RETURN_NONE;
  SPACE(self, tensors, handles)
  PyObject *results = NULL;
  if (!tensors || !handles) {
    PyErr_NoMemory();
  } else if (fits(self, values, tensors)) {
    results = run(self, values, tensors, handles);
  } else {
    PyErr_Clear(); /* such as of a tensor that DLPack has no word for */
    results = Py_None;
    Py_INCREF(results);
  }
  FREE(tensors, handles)
  return results;
}

PyObject *engine_fits(Engine *self, PyObject *const *values, Py_ssize_t count) {
  if ((size_t)count != self->input_count || !self->checks || !self->exchange) Py_RETURN_FALSE;
  SPACE(self, tensors, handles)
  int usual = tensors && handles && fits(self, values, tensors);
  PyErr_Clear();
  FREE(tensors, handles)
  return PyBool_FromLong(usual);
}

PyObject *engine_run(Engine *self, PyObject *given) {
  Py_ssize_t count = PyList_Check(given) ? PyList_Size(given) : -1;
  if (count < 0 || (size_t)count != self->input_count || !self->exchange) {
    PyErr_SetString(PyExc_TypeError, "expected a list with a tensor for each input");
    return NULL;
  }
  PyObject *held = PyList_AsTuple(given); /* the list may change while the model runs */
  if (!held) return NULL;
  SPACE(self, tensors, handles)
  PyObject **values = malloc((size_t)count * sizeof *values + 1), *results = NULL;
  if (!tensors || !handles || !values) {
    PyErr_NoMemory();
  } else {
    Py_ssize_t i = 0;
    for (; i < count; i++) {
      values[i] = PyTuple_GetItem(held, i);
      if (self->exchange->tensor_from_object(values[i], &tensors[i])) break;
    }
    if (i == count) results = run(self, values, tensors, handles);
  }
  free(values);
  FREE(tensors, handles)
  Py_DECREF(held);
  return results;
}

/* ---- Getting to know torch ---- */

/* attach(torch, exchange, tensor_type, modes): take torch's tensors from now on.
 *
 * torch: path of the library of torch's Python side, which is loaded. exchange: capsule with the DLPack exchange functions. tensor_type: the one type of tensors whose
 * calls are usual. modes: tells how many modes of dispatch are active.
 */
PyObject *engine_attach(Engine *self, PyObject *args) {
  const char *path;
  PyObject *exchange, *tensor_type, *modes;
  if (!PyArg_ParseTuple(args, "sOOO", &path, &exchange, &tensor_type, &modes)) return NULL;
  const DLPackExchangeAPI *api = PyCapsule_GetPointer(exchange, "dlpack_exchange_api");
  if (!api) return NULL;
  if (api->version.major != 1 || !api->tensor_from_object)
    return refuse("this torch exchanges tensors in another way");
  PyObject *is_neg = PyObject_GetAttrString(tensor_type, "is_neg");
  PyObject *is_conj = is_neg ? PyObject_GetAttrString(tensor_type, "is_conj") : NULL;
  if (!is_conj) {
    Py_XDECREF(is_neg);
    return NULL;
  }
  void *torch = dlopen(path, RTLD_NOLOAD | RTLD_LAZY);
  /* PyObject *THPVariable_Wrap(const at::TensorBase &), of which a handle is the address. */
  void *found = torch ? dlsym(torch, "_Z16THPVariable_WrapRKN2at10TensorBaseE") : NULL;
  memcpy(&self->found_wrap, &found, sizeof found);
  self->is_neg = is_neg;
  self->is_conj = is_conj;
  self->modes = Py_NewRef(modes);
  self->exchange = api;
  self->tensor_type = Py_NewRef(tensor_type);
  Py_RETURN_NONE;
}

/* find_place(samples): find where Python objects of tensors hold the tensor, so that handles can be
 * made of them; it is compared with what torch itself gives, and where nothing fits, none are.
 *
 * samples: pairs of a tensor and a capsule with a new handle of it, which is released here.
 */
PyObject *engine_find_place(Engine *self, PyObject *samples) {
  Py_ssize_t count = PyList_Check(samples) ? PyList_Size(samples) : 0;
  PyObject *basic = PyObject_GetAttrString(self->tensor_type, "__basicsize__");
  size_t end = basic ? PyLong_AsSize_t(basic) : 0;
  Py_XDECREF(basic);
  if (PyErr_Occurred()) return NULL;
  size_t found = 0;
  for (size_t place = sizeof(PyObject); count && place + sizeof(void *) <= end;
       place += sizeof(void *)) {
    Py_ssize_t same = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject *pair = PyList_GetItem(samples, i);
      void **handle = PyCapsule_GetPointer(PyTuple_GetItem(pair, 1), NULL);
      if (!handle) return NULL;
      /* A tensor is a pointer to what several of them may share. */
      same += *(void **)((char *)PyTuple_GetItem(pair, 0) + place) == *handle;
    }
    if (same == count) {
      if (found) return refuse("tensors are held in two places");
      found = place;
    }
  }
  PyObject *(*wrap)(Handle) = self->found_wrap;
  for (Py_ssize_t i = 0; found && wrap && i < count; i++) {
    PyObject *pair = PyList_GetItem(samples, i);
    PyObject *wrapped = wrap(PyCapsule_GetPointer(PyTuple_GetItem(pair, 1), NULL));
    if (wrapped != PyTuple_GetItem(pair, 0)) wrap = NULL; /* a tensor has but one */
    Py_XDECREF(wrapped);
  }
  for (Py_ssize_t i = 0; i < count; i++)
    self->torch.release(PyCapsule_GetPointer(PyTuple_GetItem(PyList_GetItem(samples, i), 1), NULL));
  self->place = found;
  self->wrap = found ? wrap : NULL; /* borrowed memory needs an owner, which DLPack has */
  return PyBool_FromLong(found != 0);
}

enum { TENSOR_SIZE = 176 }; /* bytes of a tensor itself, c10::TensorImpl, in torch 2.13 */

static Flag find_flag(Engine *self, PyObject *pairs) {
  Flag found = {0};
  Py_ssize_t count = PyList_Size(pairs);
  for (size_t place = 2 * sizeof(void *); place < TENSOR_SIZE; place += sizeof(uint64_t)) {
    uint64_t changed = 0;
    Py_ssize_t i = 0;
    for (; i < count; i++) {
      PyObject *pair = PyList_GetItem(pairs, i);
      uint64_t plain = word(self, PyTuple_GetItem(pair, 0), place);
      uint64_t other = word(self, PyTuple_GetItem(pair, 1), place);
      uint64_t bit = plain ^ other;
      if (!bit || bit & (bit - 1) || plain & bit || (changed && changed != bit)) break;
      changed = bit;
    }
    if (i < count || !changed) continue;
    if (found.place) return (Flag){0}; /* two places would do: neither is certain */
    found = (Flag){place, changed};
  }
  return found;
}

/* find_flags(negated, conjugated): find where tensors say that their numbers are to be negated or
 * conjugated, which is asked of each input; where nothing fits, their methods are called.
 *
 * Both are lists of pairs of a tensor and its lazily negated or conjugated view.
 */
PyObject *engine_find_flags(Engine *self, PyObject *args) {
  PyObject *negated, *conjugated;
  if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &negated, &PyList_Type, &conjugated))
    return NULL;
  if (self->place) {
    self->neg = find_flag(self, negated);
    self->conj = find_flag(self, conjugated);
  }
  return PyBool_FromLong(self->neg.place && self->conj.place);
}
