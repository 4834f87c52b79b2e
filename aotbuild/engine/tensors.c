/* Calls with torch's tensors, and the tensors they return. */
#include "engine.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* ---- Tensors in ---- */

/* Make a new handle of a tensor, which the library takes over. Where it is not known how a tensor
 * lies in its Python object, the handle borrows the memory. */
static int new_handle(Engine* self, const Tensors* known, PyObject* object, const DLTensor* tensor,
                      Handle* handle) {
  if (known->place && (PyObject*)Py_TYPE(object) == known->tensor_type)
    return self->torch.copy((char*)object + known->place, handle);
  return borrow(self, tensor, handle);
}

/* A word of a tensor itself (a TensorImpl), at an offset. */
static uint64_t word(const Tensors* known, PyObject* tensor, size_t place) {
  uint64_t value;
  memcpy(&value, *(char**)((char*)tensor + known->place) + place, sizeof value);
  return value;
}

/* Whether a tensor is not lazily negated (or conjugated): by its flag, or where that is not known,
 * by the method is_neg() (or is_conj()). False with an error set if that fails.
 */
static bool lacks(const Tensors* known, PyObject* tensor, const Flag* flag, PyObject* method) {
  if (flag->place) return !(word(known, tensor, flag->place) & flag->bit);
  PyObject* answer = PyObject_CallFunctionObjArgs(method, tensor, NULL);
  Py_XDECREF(answer);
  return answer == Py_False;
}

/* Whether a call is usual: plain tensors of torch that match the rules, no dispatch mode, and no
 * trace of torch.jit, which would take the results for constants.
 */
static int fits(Engine* self, const Tensors* known, PyObject* const* values, DLTensor* tensors) {
  int64_t sizes[MAX_DIMS];
  forget_sizes(self, sizes);
  PyObject* modes = PyObject_CallNoArgs(known->modes);
  if (!modes) return 0;
  long active = PyLong_AsLong(modes);
  Py_DECREF(modes);
  if (active || (known->tracing && *known->tracing())) return 0;
  for (size_t i = 0; i < self->input_count; i++) {
    const Input* input = &self->rules.inputs[i];
    if ((PyObject*)Py_TYPE(values[i]) != known->tensor_type ||
        known->exchange->tensor_from_object(values[i], &tensors[i]) ||
        !matches_rules(self, i, &tensors[i], sizes))
      return 0;
    bool complex = input->code == 5, number = complex || input->code == 2 || input->code == 4;
    if ((number && !lacks(known, values[i], &known->neg, known->is_neg)) ||
        (complex && !lacks(known, values[i], &known->conj, known->is_conj)))
      return 0;
  }
  return 1;
}

/* ---- Tensors out ---- */

/* An output that DLPack hands to torch, with the handle that owns it. */
typedef struct {
  DLManagedTensorVersioned managed;
  int (*release)(Handle);
  Handle handle;
  DLManagedTensorVersioned* owner; /* the input whose memory this is a view of, or NULL */
} Output;

static void release_output(DLManagedTensorVersioned* managed) {
  Output* output = managed->manager_ctx;
  output->release(output->handle);
  if (output->owner) output->owner->deleter(output->owner);
  free(output);
}

/* The input that an output is a view of, exported once more so that it lives as long as the output;
 * NULL where there is none. Not 0 if that fails. */
static int find_owner(Engine* self, const Tensors* known, PyObject* const* values,
                      const DLTensor* tensors, char* data, DLManagedTensorVersioned** owner) {
  *owner = NULL;
  for (size_t i = 0; data && i < self->input_count; i++) {
    if (known->place && (PyObject*)Py_TYPE(values[i]) == known->tensor_type)
      continue; /* the output's handle holds the memory */
    if (contains_address(&tensors[i], data))
      return known->exchange->managed_from_object(values[i], owner);
  }
  return 0;
}

/* A tensor that is not one of the inputs itself: for one that is, a view of all of it. What the
 * model returns of an input by another name, such as input.detach(), does not require gradients.
 */
static PyObject* not_an_input(Engine* self, PyObject* tensor, PyObject* const* values) {
  for (size_t i = 0; tensor && i < self->input_count; i++) {
    if (tensor != values[i]) continue;
    PyObject* view = PyObject_CallMethod(tensor, "detach", NULL);
    Py_DECREF(tensor);
    return view;
  }
  return tensor;
}

/* The Python tensor that owns a handle. If there is an error, the handle is released. */
static PyObject* give(Engine* self, const Tensors* known, Handle handle, PyObject* const* values,
                      const DLTensor* tensors) {
  const Torch* torch = &self->torch;
  if (known->wrap) {
    PyObject* tensor = known->wrap(handle);
    torch->release(handle);
    return not_an_input(self, tensor, values);
  }
  Output* output = calloc(1, sizeof *output);
  int64_t ndim;
  int32_t number;
  DLTensor* view = output ? &output->managed.dl_tensor : NULL;
  if (!output || torch->data(handle, &view->data) || torch->ndim(handle, &ndim) ||
      torch->sizes(handle, &view->shape) || torch->strides(handle, &view->strides) ||
      torch->dtype(handle, &number)) {
    free(output);
    torch->release(handle);
    return output ? NULL : PyErr_NoMemory();
  }
  int dtype = find_torch_dtype(self, number);
  if (dtype < 0 || find_owner(self, known, values, tensors, view->data, &output->owner)) {
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
  void* object = NULL;
  if (known->exchange->managed_to_object(&output->managed, &object)) {
    release_output(&output->managed);
    return NULL;
  }
  return object;
}

/* ---- The call ---- */

/* Run the model on tensors that passed the checks: the list of its outputs. */
static PyObject* run(Engine* self, const Tensors* known, PyObject* const* values,
                     const DLTensor* tensors, Handle* handles) {
  size_t input_count = self->input_count, output_count = self->output_count;
  Handle* outputs = handles + input_count;
  for (size_t i = 0; i < input_count; i++) {
    if (new_handle(self, known, values[i], &tensors[i], &handles[i])) {
      while (i--) self->torch.release(handles[i]);
      PyErr_SetString(PyExc_RuntimeError, "the compiled code cannot take a tensor of this kind");
      return NULL;
    }
  }
  if (!run_library(self, handles)) return NULL;
  PyObject* results = PyList_New((Py_ssize_t)output_count);
  size_t i = 0;
  for (; results && i < output_count; i++) {
    size_t first = first_output(outputs, i);
    PyObject* result = first < i ? Py_NewRef(PyList_GetItem(results, (Py_ssize_t)first))
                                 : give(self, known, outputs[i], values, tensors);
    if (!result) {
      if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError,
                        "an output has a kind of tensor that cannot be returned");
      Py_CLEAR(results);
    } else {
      PyList_SetItem(results, (Py_ssize_t)i, result);
    }
  }
  release_outputs(self, outputs, i);
  return results;
}

/* Whether torch is not attached yet, or a value is not exactly a torch.Tensor. */
static bool needs_fallback(Engine* self, const Tensors* known, PyObject* const* values) {
  if (!known) return true;
  for (size_t i = 0; i < self->input_count; i++)
    if ((PyObject*)Py_TYPE(values[i]) != known->tensor_type) return true;
  return false;
}

/* Call the function of engine_set_fallback() with the values. */
static PyObject* call_fallback(Engine* self, PyObject* const* values) {
  PyObject* args = PyTuple_New((Py_ssize_t)self->input_count);
  if (!args) return NULL;
  for (size_t i = 0; i < self->input_count; i++)
    PyTuple_SetItem(args, (Py_ssize_t)i, Py_NewRef(values[i]));
  PyObject* answer = PyObject_Call(self->fallback, args, NULL);
  Py_DECREF(args);
  return answer;
}

/* Calls that may be in a function of torch. Some of them, as is_neg(), give up the interpreter's
 * lock; at the end of the interpreter those must not come back (see processes.py).
 */
static long running;

PyObject* running_calls(PyObject* module, PyObject* none) {
  (void)module, (void)none;
  return PyLong_FromLong(PUBLISHED(running));
}

PyObject* engine_call(Engine* self, PyObject* const* values, Py_ssize_t count) {
  if ((size_t)count != self->input_count) Py_RETURN_NONE;
  if (are_numpy(self, values)) {
    PyObject* results = call_with_numpy(self, values);
    if (results != Py_None) return results;
    Py_DECREF(results);
  }
  const Tensors* known = PUBLISHED(self->exchanged);
  if (self->fallback && needs_fallback(self, known, values)) return call_fallback(self, values);
  if (!self->checks || !known) Py_RETURN_NONE;
  ALLOCATE(self, tensors, handles)
  PyObject* results = NULL;
  NEXT_TURN(running);
  if (!tensors || !handles) {
    PyErr_NoMemory();
  } else if (fits(self, known, values, tensors)) {
    results = run(self, known, values, tensors, handles);
  } else {
    PyErr_Clear(); /* such as for a tensor that DLPack cannot describe */
    results = Py_None;
    Py_INCREF(results);
  }
  LEAVE(running);
  RELEASE(tensors, handles)
  return results;
}

PyObject* engine_fits(Engine* self, PyObject* const* values, Py_ssize_t count) {
  const Tensors* known = PUBLISHED(self->exchanged);
  if ((size_t)count != self->input_count || !self->checks || !known) Py_RETURN_FALSE;
  ALLOCATE(self, tensors, handles)
  NEXT_TURN(running);
  int usual = tensors && handles && fits(self, known, values, tensors);
  LEAVE(running);
  PyErr_Clear();
  RELEASE(tensors, handles)
  return PyBool_FromLong(usual);
}

/* run(tensors): run the model on a list of tensors that passed the checks elsewhere. */
PyObject* engine_run(Engine* self, PyObject* given) {
  const Tensors* known = PUBLISHED(self->exchanged);
  /* The list may change while the model runs. */
  PyObject* held = known && PyList_Check(given) ? PyList_AsTuple(given) : NULL;
  if (PyErr_Occurred()) return NULL;
  Py_ssize_t count = held ? PyTuple_Size(held) : -1;
  if (count < 0 || (size_t)count != self->input_count) {
    Py_XDECREF(held);
    PyErr_SetString(PyExc_TypeError, "expected a list with a tensor for each input");
    return NULL;
  }
  ALLOCATE(self, tensors, handles)
  PyObject **values = malloc((size_t)count * sizeof *values + 1), *results = NULL;
  NEXT_TURN(running);
  if (!tensors || !handles || !values) {
    PyErr_NoMemory();
  } else {
    Py_ssize_t i = 0;
    for (; i < count; i++) {
      values[i] = PyTuple_GetItem(held, i);
      if (known->exchange->tensor_from_object(values[i], &tensors[i])) break;
    }
    if (i == count) results = run(self, known, values, tensors, handles);
  }
  LEAVE(running);
  free(values);
  RELEASE(tensors, handles)
  Py_DECREF(held);
  return results;
}

bool tensor_of_torch(Engine* self, PyObject* value, DLTensor* tensor) {
  const Tensors* known = PUBLISHED(self->exchanged);
  return known && !known->exchange->tensor_from_object(value, tensor);
}

/* ---- How this torch keeps its tensors ---- */

/* Find the offset of the tensor in its Python object, so that handles can be made without torch.
 * Each offset is compared with the handles that torch made; where none matches, handles borrow the
 * memory. Not 0, with an error set, if that fails.
 *
 * samples: pairs of a tensor and a capsule with a new handle of it, which is released here. known:
 * gets the offset; its `wrap` is kept only where it is right, too.
 */
static int find_place(Engine* self, PyObject* samples, Tensors* known) {
  Py_ssize_t count = PyTuple_Size(samples);
  PyObject* basic = PyObject_GetAttrString(known->tensor_type, "__basicsize__");
  size_t end = basic ? PyLong_AsSize_t(basic) : 0;
  Py_XDECREF(basic);
  if (PyErr_Occurred()) return -1;
  size_t offset = 0;
  for (size_t place = sizeof(PyObject); count && place + sizeof(void*) <= end;
       place += sizeof(void*)) {
    Py_ssize_t same = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
      PyObject* pair = PyTuple_GetItem(samples, i);
      void** handle = PyCapsule_GetPointer(PyTuple_GetItem(pair, 1), NULL);
      if (!handle) return -1;
      /* A tensor is a pointer to what several of them may share. */
      same += *(void**)((char*)PyTuple_GetItem(pair, 0) + place) == *handle;
    }
    if (same == count) {
      if (offset) return refuse("tensors are held in two places"), -1;
      offset = place;
    }
  }
  PyObject* (*wrap)(Handle) = known->wrap;
  for (Py_ssize_t i = 0; offset && wrap && i < count; i++) {
    PyObject* pair = PyTuple_GetItem(samples, i);
    PyObject* wrapped = wrap(PyCapsule_GetPointer(PyTuple_GetItem(pair, 1), NULL));
    if (wrapped != PyTuple_GetItem(pair, 0)) wrap = NULL; /* a tensor has but one */
    Py_XDECREF(wrapped);
  }
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject* pair = PyTuple_GetItem(samples, i);
    self->torch.release(PyCapsule_GetPointer(PyTuple_GetItem(pair, 1), NULL));
  }
  known->place = offset;
  known->wrap = offset ? wrap : NULL; /* borrowed memory needs an owner, which DLPack has */
  return 0;
}

enum { TENSOR_SIZE = 176 }; /* bytes of a tensor itself, c10::TensorImpl, in torch 2.13 */

/* The one bit in which each pair of a plain and a marked tensor differs; place 0 if it is not one.
 */
static Flag find_flag(const Tensors* known, PyObject* pairs) {
  Flag flag = {0};
  Py_ssize_t count = PyTuple_Size(pairs);
  for (size_t place = 2 * sizeof(void*); place < TENSOR_SIZE; place += sizeof(uint64_t)) {
    uint64_t changed = 0;
    Py_ssize_t i = 0;
    for (; i < count; i++) {
      PyObject* pair = PyTuple_GetItem(pairs, i);
      uint64_t plain = word(known, PyTuple_GetItem(pair, 0), place);
      uint64_t other = word(known, PyTuple_GetItem(pair, 1), place);
      uint64_t bit = plain ^ other;
      if (!bit || bit & (bit - 1) || plain & bit || (changed && changed != bit)) break;
      changed = bit;
    }
    if (i < count || !changed) continue;
    if (flag.place) return (Flag){0}; /* two places would do: neither is certain */
    flag = (Flag){place, changed};
  }
  return flag;
}

/* Look up what of torch's Python side is not in the arguments of attach(); not 0, with an error
 * set, if that fails.
 */
static int find_functions(const char* path, Tensors* known) {
  if (known->exchange->version.major != 1 || !known->exchange->tensor_from_object)
    return refuse("this torch exchanges tensors in another way"), -1;
  void* torch = dlopen(path, RTLD_NOLOAD | RTLD_LAZY);
  /* PyObject *THPVariable_Wrap(const at::TensorBase &), of which a handle is the address. */
  void* symbol = torch ? dlsym(torch, "_Z16THPVariable_WrapRKN2at10TensorBaseE") : NULL;
  memcpy(&known->wrap, &symbol, sizeof symbol);
  /* const std::shared_ptr<TracingState>& getTracingState(), whose first word is the pointer. */
  symbol = torch ? dlsym(torch, "_ZN5torch3jit6tracer15getTracingStateEv") : NULL;
  memcpy(&known->tracing, &symbol, sizeof symbol);
  known->is_neg = PyObject_GetAttrString(known->tensor_type, "is_neg");
  known->is_conj = known->is_neg ? PyObject_GetAttrString(known->tensor_type, "is_conj") : NULL;
  return known->is_conj ? 0 : -1;
}

/* attach(torch, exchange, tensor_type, modes, samples, negated, conjugated): take torch's tensors
 * from now on; once.
 *
 * torch: path of the library of torch's Python side, which is loaded. exchange: capsule with the
 * DLPack exchange functions. tensor_type: the one type of tensors whose calls are usual. modes:
 * gives the number of active dispatch modes. samples: see find_place(). negated, conjugated: pairs
 * of a tensor and its lazily negated or conjugated view, by which the bits are found that mark such
 * a tensor; where they are not, is_neg() and is_conj() are called for each input.
 */
PyObject* engine_attach(Engine* self, PyObject* args) {
  const char* path;
  PyObject *exchange, *tensor_type, *modes, *samples, *negated, *conjugated;
  if (!PyArg_ParseTuple(args, "sOOOO!O!O!", &path, &exchange, &tensor_type, &modes, &PyTuple_Type,
                        &samples, &PyTuple_Type, &negated, &PyTuple_Type, &conjugated))
    return NULL;
  Tensors* known = calloc(1, sizeof *known);
  if (!known) return PyErr_NoMemory();
  known->exchange = PyCapsule_GetPointer(exchange, "dlpack_exchange_api");
  known->modes = Py_NewRef(modes);
  known->tensor_type = Py_NewRef(tensor_type);
  if (!known->exchange || find_functions(path, known) || find_place(self, samples, known)) {
    free_exchanged(known);
    return NULL;
  }
  bool found = known->place;
  if (found) {
    known->neg = find_flag(known, negated);
    known->conj = find_flag(known, conjugated);
  }
  bool first;
  BEGIN_ALONE(self);
  first = !self->exchanged;
  if (first) PUBLISH(self->exchanged, known);
  END_ALONE;
  if (!first) free_exchanged(known);
  return PyBool_FromLong(found);
}

void free_exchanged(const Tensors* exchanged) {
  if (!exchanged) return;
  Py_XDECREF(exchanged->tensor_type);
  Py_XDECREF(exchanged->modes);
  Py_XDECREF(exchanged->is_neg);
  Py_XDECREF(exchanged->is_conj);
  free((void*)exchanged);
}
