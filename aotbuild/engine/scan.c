/* A sequence of steps in one call, without the interpreter between them.
 *
 * Inputs are sequences with the steps along their first axis, or the same in all steps, such as the
 * buffers of a state, which each step changes. Outputs are copied behind one another.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, STEPS_BETWEEN_SIGNALS = 256 };

/* An output of all steps: memory without gaps, with the steps along the first axis. */
typedef struct {
  char* memory;
  int64_t bytes; /* of one step */
  int ndim;      /* with the steps */
  int dtype;
  int64_t cells[]; /* sizes, then strides */
} Sequence;

static int free_sequence(Handle handle) {
  Sequence* sequence = handle;
  if (sequence) free(sequence->memory);
  free(sequence);
  return 0;
}

/* The tensor of an output; its index in DTYPES, or -1. */
static int describe(Engine* self, Handle handle, DLTensor* view) {
  const Torch* torch = &self->torch;
  int64_t ndim;
  int32_t number;
  memset(view, 0, sizeof *view);
  if (torch->data(handle, &view->data) || torch->ndim(handle, &ndim) ||
      torch->sizes(handle, &view->shape) || torch->strides(handle, &view->strides) ||
      torch->dtype(handle, &number))
    return -1;
  view->ndim = (int32_t)ndim;
  return find_torch_dtype(self, number);
}

/* Room for an output of all steps, by that of the first; NULL if there is no memory. */
static Sequence* new_sequence(const DLTensor* first, int dtype, int64_t steps) {
  int ndim = first->ndim + 1;
  Sequence* sequence = malloc(sizeof *sequence + 2 * (size_t)ndim * sizeof(int64_t));
  if (!sequence) return NULL;
  int64_t stride = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    sequence->cells[i] = i ? first->shape[i - 1] : steps;
    sequence->cells[ndim + i] = stride;
    stride *= sequence->cells[i];
  }
  sequence->bytes = stride / steps * (DTYPES[dtype].bits / 8);
  sequence->ndim = ndim;
  sequence->dtype = dtype;
  void* memory = NULL;
  size_t size = (size_t)(sequence->bytes * steps);
  if (posix_memalign(&memory, ALIGNMENT, size ? size : 1)) {
    free(sequence);
    return NULL;
  }
  sequence->memory = memory;
  return sequence;
}

/* Copy the elements of a tensor from a dimension on to dense memory; where that ends. */
static char* copy_elements(const DLTensor* view, int dim, const char* source, size_t size,
                           char* target) {
  if (dim == view->ndim) {
    memcpy(target, source, size);
    return target + size;
  }
  for (int64_t i = 0; i < view->shape[dim]; i++)
    target =
        copy_elements(view, dim + 1, source + i * view->strides[dim] * (int64_t)size, size, target);
  return target;
}

static bool is_dense(const DLTensor* view) {
  int64_t stride = 1;
  for (int i = view->ndim - 1; i >= 0; i--) {
    if (view->shape[i] != 1 && view->strides[i] != stride) return false;
    stride *= view->shape[i];
  }
  return true;
}

/* Copy an output to its place; false, with an error set, if that fails. */
static bool keep(Engine* self, Sequence** found, Handle handle, int64_t step, int64_t steps) {
  DLTensor view;
  int dtype = describe(self, handle, &view);
  if (dtype < 0) {
    PyErr_SetString(PyExc_RuntimeError, "an output has a kind of tensor that cannot be returned");
    return false;
  }
  if (!*found) *found = new_sequence(&view, dtype, steps);
  const Sequence* sequence = *found;
  if (!sequence) return PyErr_NoMemory(), false;
  bool same = dtype == sequence->dtype && view.ndim + 1 == sequence->ndim;
  for (int i = 0; same && i < view.ndim; i++) same = view.shape[i] == sequence->cells[i + 1];
  if (!same) {
    PyErr_SetString(PyExc_ValueError, "the outputs of the steps have different shapes");
    return false;
  }
  int64_t bytes = sequence->bytes;
  char* target = sequence->memory + step * bytes;
  if (is_dense(&view))
    memcpy(target, view.data, (size_t)bytes);
  else if (bytes)
    copy_elements(&view, 0, view.data, DTYPES[dtype].bits / 8, target);
  return true;
}

/* The Array over an output of all steps, which owns it. */
static PyObject* as_array(Sequence* sequence) {
  const Dtype* dtype = &DTYPES[sequence->dtype];
  DLTensor tensor = {sequence->memory,
                     {CPU, 0},
                     sequence->ndim,
                     {dtype->code, dtype->bits, 1},
                     sequence->cells,
                     sequence->cells + sequence->ndim,
                     0};
  return new_array(&tensor, free_sequence, sequence, NULL);
}

/* Run all steps; false, with an error set, if one fails.
 *
 * tensors: for each input that of the first step. jumps: the bytes between the steps of each.
 */
static bool run_steps(Engine* self, DLTensor* tensors, const int64_t* jumps, int64_t steps,
                      Handle* handles, Sequence** sequences) {
  size_t count = self->input_count;
  Handle* outputs = handles + count;
  for (int64_t step = 0; step < steps; step++) {
    for (size_t i = 0; i < count; i++) {
      if (borrow(self, &tensors[i], &handles[i])) {
        while (i--) self->torch.release(handles[i]);
        PyErr_SetString(PyExc_RuntimeError, "the compiled code cannot take an array of this kind");
        return false;
      }
      tensors[i].byte_offset += (uint64_t)jumps[i];
    }
    if (!run_library(self, handles)) return false;
    bool kept = true;
    for (size_t i = 0; kept && i < self->output_count; i++)
      kept = keep(self, &sequences[i], outputs[i], step, steps);
    release_outputs(self, outputs, 0);
    if (!kept || (step % STEPS_BETWEEN_SIGNALS == 0 && PyErr_CheckSignals())) return false;
  }
  return true;
}

/* scan(arrays, stepped, steps): run the model on a sequence of steps.
 *
 * arrays: as in run_arrays(). stepped: a byte for each, not 0 where it has the steps along its
 * first axis. Returns the list of the outputs, each an Array with the steps along its first axis;
 * None, and nothing is run, for an unusual call.
 */
PyObject* engine_scan(Engine* self, PyObject* args) {
  PyObject* given;
  const char* stepped;
  Py_ssize_t flags;
  long long steps;
  size_t count = self->input_count;
  if (!PyArg_ParseTuple(args, "O!y#L", &PyList_Type, &given, &stepped, &flags, &steps)) return NULL;
  if ((size_t)PyList_Size(given) != count || (size_t)flags != count || !self->checks || steps < 1)
    Py_RETURN_NONE;
  PyObject* arrays = PyList_AsTuple(given);
  if (!arrays) return NULL;
  ALLOCATE(self, tensors, handles)
  Borrowed* held = calloc(count + 1, sizeof *held);
  int64_t* jumps = calloc(count + 1, sizeof *jumps);
  Sequence** sequences = calloc(self->output_count + 1, sizeof *sequences);
  PyObject* results = NULL;
  if (!tensors || !handles || !held || !jumps || !sequences) {
    PyErr_NoMemory();
  } else {
    int64_t known[MAX_DIMS];
    forget_sizes(self, known);
    bool usual = true;
    for (size_t i = 0; usual && i < count; i++) {
      DLTensor* tensor = &tensors[i];
      usual = borrow_array(PyTuple_GetItem(arrays, (Py_ssize_t)i), &held[i], tensor);
      if (usual && stepped[i]) {
        usual = tensor->ndim > 0 && tensor->shape[0] == steps;
        if (usual) jumps[i] = tensor->strides[0] * ((tensor->dtype.bits + 7) / 8);
        tensor->ndim--;
        tensor->shape++;
        tensor->strides++;
      }
      usual = usual && matches_rules(self, i, tensor, known);
    }
    if (!usual)
      results = Py_NewRef(Py_None);
    else if (run_steps(self, tensors, jumps, steps, handles, sequences))
      results = PyList_New((Py_ssize_t)self->output_count);
    for (size_t i = 0; usual && results && i < self->output_count; i++) {
      PyObject* array = as_array(sequences[i]);
      sequences[i] = NULL;
      if (!array) {
        Py_CLEAR(results);
        break;
      }
      PyList_SetItem(results, (Py_ssize_t)i, array);
    }
  }
  for (size_t i = 0; sequences && i < self->output_count; i++) free_sequence(sequences[i]);
  for (size_t i = 0; held && i < count; i++) give_back(&held[i]);
  free(held);
  free(jumps);
  free(sequences);
  RELEASE(tensors, handles)
  Py_DECREF(arrays);
  return results;
}
