/* Runs a library compiled by AOTInductor on the CPU, and checks what it is called with.
 *
 * Python's limited API on one side, AOTInductor's C ABI on the other, DLPack between them; nothing
 * of torch is linked. Functions of torch are looked up in its loaded library, those of the model
 * in the model's own.
 *
 * A call that is not the usual one is not for this file: it answers None, and the Python side says
 * what is wrong or makes it fit.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- DLPack 1, https://dmlc.github.io/dlpack/latest/c_api.html ---- */

typedef struct {
  uint32_t major, minor;
} DLPackVersion;

typedef struct {
  int32_t type, id;
} DLDevice;

typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} DLDataType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides; /* in elements */
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensorVersioned {
  DLPackVersion version;
  void *manager_ctx;
  void (*deleter)(struct DLManagedTensorVersioned *);
  uint64_t flags;
  DLTensor dl_tensor;
} DLManagedTensorVersioned;

typedef struct {
  DLPackVersion version;
  void *previous;
  int (*allocate)(DLTensor *, DLManagedTensorVersioned **, void *,
                  void (*)(void *, const char *, const char *));
  int (*managed_from_object)(void *, DLManagedTensorVersioned **);
  int (*managed_to_object)(DLManagedTensorVersioned *, void **);
  int (*tensor_from_object)(void *, DLTensor *);
  int (*current_stream)(int32_t, int32_t, void **);
} DLPackExchangeAPI;

enum { CPU = 1 }; /* kDLCPU */

/* ---- torch's and the library's C ABI: 0 is success ---- */

typedef void *Handle; /* AtenTensorHandle */

typedef struct {
  const char *name;
  Handle handle;
} Constant; /* AOTInductorConstantMapEntry */

typedef struct {
  int (*from_blob)(void *, int64_t, const int64_t *, const int64_t *, int64_t, int32_t, int32_t,
                   int32_t, Handle *);
  int (*copy)(Handle, Handle *); /* a further handle of the same tensor */
  int (*release)(Handle);
  int (*data)(Handle, void **);
  int (*ndim)(Handle, int64_t *);
  int (*sizes)(Handle, int64_t **);
  int (*strides)(Handle, int64_t **);
  int (*dtype)(Handle, int32_t *);
  int (*get_threads)(void); /* OpenMP's; may be NULL */
  void (*set_threads)(int);
} Torch;

typedef struct {
  int (*create)(void **, size_t, const char *, const char *);
  int (*run)(void *, Handle *, size_t, Handle *, size_t, void *, void *);
  int (*inputs)(void *, size_t *);
  int (*outputs)(void *, size_t *);
  int (*constants)(void *, size_t *);
  int (*constant_name)(void *, size_t, const char **);
  int (*constant_dtype)(void *, size_t, int32_t *);
  int (*constant_size)(void *, size_t, size_t *);
  int (*set_constants)(void *, const Constant *, size_t, bool, bool);
  int (*last_error)(const char **); /* may be NULL: newer than the rest */
} Library;

typedef struct {
  const char *torch; /* the function that gives torch's number of the dtype */
  uint8_t code, bits;
} Dtype;

static const Dtype DTYPES[] = {
    {"aoti_torch_dtype_float32", 2, 32},   {"aoti_torch_dtype_int64", 0, 64},
    {"aoti_torch_dtype_bool", 6, 8},       {"aoti_torch_dtype_uint8", 1, 8},
    {"aoti_torch_dtype_int32", 0, 32},     {"aoti_torch_dtype_bfloat16", 4, 16},
    {"aoti_torch_dtype_float16", 2, 16},   {"aoti_torch_dtype_float64", 2, 64},
    {"aoti_torch_dtype_int8", 0, 8},       {"aoti_torch_dtype_int16", 0, 16},
    {"aoti_torch_dtype_uint16", 1, 16},    {"aoti_torch_dtype_uint32", 1, 32},
    {"aoti_torch_dtype_uint64", 1, 64},    {"aoti_torch_dtype_complex64", 5, 64},
    {"aoti_torch_dtype_complex128", 5, 128},
};
enum { DTYPE_COUNT = sizeof DTYPES / sizeof *DTYPES };

/* ---- What a call must be, read from a table that Python wrote ---- */

typedef struct {
  int64_t min, max, multiple; /* max < 0: none */
} Dim;

typedef struct {
  int64_t dim;    /* index of a Dim; -1: the size is always `offset` */
  int64_t factor; /* the size is factor * dim + offset */
  int64_t offset;
} Size;

typedef struct {
  int64_t code, bits; /* DLPack's dtype */
  int64_t ndim;
  const Size *sizes;
  const int64_t *order; /* dimensions as they lie in memory, the widest stride first */
} Input;

typedef struct {
  int64_t dim_count, input_count;
  const Dim *dims;
  Input *inputs;
  int64_t *words; /* owns what the others point to */
} Rules;

enum { MOST_DIMS = 64 };

/* Where a tensor itself says that its numbers are meant otherwise; place 0 if that is not known. */
typedef struct {
  size_t place;
  uint64_t bit;
} Flag;

/* Runs one call at a time: when a call fails, AOTInductor's own queue forgets to wake who waits. */
typedef struct {
  void *container;
  PyThread_type_lock lock;
} Runner;

enum { MOST_RUNNERS = 64 };

typedef struct {
  PyObject_HEAD
  size_t input_count, output_count;
  Runner runners[MOST_RUNNERS]; /* they share the constants */
  size_t runner_count, turn;
  int threads; /* of a call; 0: those of the thread that calls */
  Torch torch;
  Library library;
  int32_t dtypes[DTYPE_COUNT];
  const DLPackExchangeAPI *exchange;
  PyObject *tensor_type, *modes, *is_neg, *is_conj;
  size_t place; /* where a tensor's Python object holds the tensor itself; 0 if that is not known */
  Flag neg, conj;
  Rules rules;
  bool checks;
} Engine;

/* ---- Tensors in ---- */

static int find_dtype(DLDataType dtype) {
  for (int i = 0; i < DTYPE_COUNT && dtype.lanes == 1; i++)
    if (DTYPES[i].code == dtype.code && DTYPES[i].bits == dtype.bits) return i;
  return -1;
}

/* A handle over the memory of a tensor; it holds no reference to it. */
static int borrow(Engine *self, const DLTensor *tensor, Handle *handle) {
  int dtype = find_dtype(tensor->dtype);
  if (dtype < 0 || self->dtypes[dtype] < 0 || tensor->device.type != CPU) return -1;
  void *data = (char *)tensor->data + tensor->byte_offset;
  return self->torch.from_blob(data, tensor->ndim, tensor->shape, tensor->strides, 0,
                               self->dtypes[dtype], 0, 0, handle);
}

/* A handle of a tensor, for the library to keep. */
static int hand_over(Engine *self, PyObject *object, const DLTensor *tensor, Handle *handle) {
  if (self->place && (PyObject *)Py_TYPE(object) == self->tensor_type)
    return self->torch.copy((char *)object + self->place, handle);
  return borrow(self, tensor, handle);
}

static bool as_usual(const DLTensor *tensor, const Input *input, const Dim *dims, int64_t *known) {
  if (tensor->device.type != CPU || tensor->dtype.code != input->code ||
      tensor->dtype.bits != input->bits || tensor->dtype.lanes != 1 || tensor->ndim != input->ndim)
    return false;
  int64_t count = 1;
  for (int64_t i = 0; i < input->ndim; i++) {
    const Size *size = &input->sizes[i];
    int64_t got = tensor->shape[i];
    count *= got;
    if (size->dim < 0) {
      if (got != size->offset) return false;
      continue;
    }
    int64_t solved = got - size->offset;
    if (solved % size->factor) return false;
    solved /= size->factor;
    const Dim *dim = &dims[size->dim];
    if (known[size->dim] == INT64_MIN) {
      if (solved < dim->min || (dim->max >= 0 && solved > dim->max) || solved % dim->multiple)
        return false;
      known[size->dim] = solved;
    } else if (known[size->dim] != solved) {
      return false;
    }
  }
  if (!count) return true; /* no memory is read */
  if (!tensor->data) return false;
  int64_t stride = 1;
  for (int64_t i = input->ndim - 1; i >= 0; i--) {
    int64_t dim = input->order[i];
    if (tensor->shape[dim] != 1 && tensor->strides[dim] != stride) return false;
    stride *= tensor->shape[dim];
  }
  return true;
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
  for (int64_t i = 0; i < self->rules.dim_count; i++) known[i] = INT64_MIN;
  PyObject *modes = PyObject_CallNoArgs(self->modes);
  if (!modes) return 0;
  long active = PyLong_AsLong(modes);
  Py_DECREF(modes);
  if (active) return 0;
  for (size_t i = 0; i < self->input_count; i++) {
    const Input *input = &self->rules.inputs[i];
    if ((PyObject *)Py_TYPE(values[i]) != self->tensor_type ||
        self->exchange->tensor_from_object(values[i], &tensors[i]) ||
        !as_usual(&tensors[i], input, self->rules.dims, known))
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
    const DLTensor *tensor = &tensors[i];
    if (self->place && (PyObject *)Py_TYPE(values[i]) == self->tensor_type)
      continue; /* the output's handle holds the memory */
    int64_t last = 0;
    for (int32_t k = 0; k < tensor->ndim; k++) last += (tensor->shape[k] - 1) * tensor->strides[k];
    char *start = (char *)tensor->data + tensor->byte_offset;
    if (data >= start && data < start + (last + 1) * ((tensor->dtype.bits + 7) / 8))
      return self->exchange->managed_from_object(values[i], owner);
  }
  return 0;
}

/* A tensor that owns the handle, which is released if there is an error. */
static PyObject *give(Engine *self, Handle handle, PyObject *const *values,
                      const DLTensor *tensors) {
  const Torch *torch = &self->torch;
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
  int dtype = 0;
  while (dtype < DTYPE_COUNT && self->dtypes[dtype] != number) dtype++;
  if (dtype == DTYPE_COUNT || find_owner(self, values, tensors, view->data, &output->owner)) {
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

static PyObject *fail(Engine *self) {
  const char *told = NULL;
  if (self->library.last_error) self->library.last_error(&told);
  PyErr_SetString(PyExc_RuntimeError, told && *told ? told : "the compiled code failed");
  return NULL;
}

/* A runner that no call has, which is locked then; NULL if there is none. */
static Runner *free_runner(Engine *self) {
  for (size_t i = 0; i < self->runner_count; i++)
    if (PyThread_acquire_lock(self->runners[i].lock, NOWAIT_LOCK)) return &self->runners[i];
  return NULL;
}

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
  Runner *runner = free_runner(self);
  bool waits = !runner;
  if (waits) runner = &self->runners[self->turn++ % self->runner_count];
  PyThreadState *state = PyEval_SaveThread();
  if (waits) PyThread_acquire_lock(runner->lock, WAIT_LOCK);
  int before = self->threads ? self->torch.get_threads() : 0;
  if (self->threads) self->torch.set_threads(self->threads);
  /* The handles of the inputs are its own from here on. */
  int failed = self->library.run(runner->container, handles, input_count, outputs, output_count,
                                 NULL, NULL);
  if (self->threads) self->torch.set_threads(before);
  PyThread_release_lock(runner->lock);
  PyEval_RestoreThread(state);
  if (failed) return fail(self);
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

/* Space for a call on the stack, or for a large one elsewhere. */
enum { FEW = 16 };
#define SPACE(self, tensors, handles)                                                    \
  DLTensor few_tensors[FEW], *tensors = few_tensors;                                     \
  Handle few_handles[2 * FEW], *handles = few_handles;                                   \
  bool large = (self)->input_count > FEW || (self)->output_count > FEW;                  \
  if (large) {                                                                           \
    tensors = malloc((self)->input_count * sizeof *tensors + 1);                         \
    handles = malloc(((self)->input_count + (self)->output_count) * sizeof *handles + 1); \
  }
#define FREE(tensors, handles) \
  if (large) {                 \
    free(tensors);             \
    free(handles);             \
  }

static PyObject *engine_call(Engine *self, PyObject *const *values, Py_ssize_t count) {
  if (!self->checks || (size_t)count != self->input_count) Py_RETURN_NONE;
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

static PyObject *engine_run(Engine *self, PyObject *given) {
  Py_ssize_t count = PyList_Check(given) ? PyList_Size(given) : -1;
  if (count < 0 || (size_t)count != self->input_count) {
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

/* ---- Loading ---- */

static PyObject *refuse(const char *what) {
  PyErr_Format(PyExc_OSError, "%s", what);
  return NULL;
}

static int find_torch(Engine *self, void *torch) {
  struct {
    const char *name;
    void *place;
  } functions[] = {
      {"aoti_torch_create_tensor_from_blob", &self->torch.from_blob},
      {"aoti_torch_new_tensor_handle", &self->torch.copy},
      {"aoti_torch_delete_tensor_object", &self->torch.release},
      {"aoti_torch_get_data_ptr", &self->torch.data},
      {"aoti_torch_get_dim", &self->torch.ndim},
      {"aoti_torch_get_sizes", &self->torch.sizes},
      {"aoti_torch_get_strides", &self->torch.strides},
      {"aoti_torch_get_dtype", &self->torch.dtype},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *found = dlsym(torch, functions[i].name);
    if (!found) return refuse(functions[i].name), -1;
    memcpy(functions[i].place, &found, sizeof found);
  }
  void *get = dlsym(torch, "omp_get_max_threads"), *set = dlsym(torch, "omp_set_num_threads");
  memcpy(&self->torch.get_threads, &get, sizeof get);
  memcpy(&self->torch.set_threads, &set, sizeof set);
  for (int i = 0; i < DTYPE_COUNT; i++) {
    int32_t (*number)(void);
    void *found = dlsym(torch, DTYPES[i].torch);
    memcpy(&number, &found, sizeof found);
    self->dtypes[i] = found ? number() : -1;
  }
  return 0;
}

static int find_library(Engine *self, void *library) {
  struct {
    const char *name;
    void *place;
    bool needed;
  } functions[] = {
      {"AOTInductorModelContainerCreateWithDevice", &self->library.create, true},
      /* Takes no lock of its own. */
      {"AOTInductorModelContainerRunSingleThreaded", &self->library.run, true},
      {"AOTInductorModelContainerGetNumInputs", &self->library.inputs, true},
      {"AOTInductorModelContainerGetNumOutputs", &self->library.outputs, true},
      {"AOTInductorModelContainerGetNumConstants", &self->library.constants, true},
      {"AOTInductorModelContainerGetConstantName", &self->library.constant_name, true},
      {"AOTInductorModelContainerGetConstantDtype", &self->library.constant_dtype, true},
      {"AOTInductorModelContainerGetConstantDataSize", &self->library.constant_size, true},
      {"AOTInductorModelContainerUpdateUserManagedConstantBufferPairs",
       &self->library.set_constants, true},
      {"AOTInductorGetLastError", &self->library.last_error, false},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *found = dlsym(library, functions[i].name);
    if (!found && functions[i].needed) return refuse(functions[i].name), -1;
    memcpy(functions[i].place, &found, sizeof found);
  }
  return 0;
}

static int add_runner(Engine *self) {
  Runner *runner = &self->runners[self->runner_count];
  runner->lock = PyThread_allocate_lock();
  if (!runner->lock) return PyErr_NoMemory(), -1;
  if (self->library.create(&runner->container, 1, "cpu", NULL)) return fail(self), -1;
  self->runner_count++;
  return 0;
}

/* Engine(library, torch, exchange, tensor_type, modes): open a library.
 *
 * library: path of the compiled library. torch: path of torch's library, which is loaded.
 * exchange: capsule with the DLPack exchange functions. tensor_type: the one type of tensors whose
 * calls are usual. modes: tells how many modes of dispatch are active.
 */
static PyObject *engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  const char *library_path, *torch_path;
  PyObject *exchange, *tensor_type, *modes;
  if (kwargs && PyDict_Size(kwargs)) {
    PyErr_SetString(PyExc_TypeError, "Engine() takes no keyword arguments");
    return NULL;
  }
  if (!PyArg_ParseTuple(args, "ssOOO", &library_path, &torch_path, &exchange, &tensor_type, &modes))
    return NULL;
  const DLPackExchangeAPI *api = PyCapsule_GetPointer(exchange, "dlpack_exchange_api");
  if (!api) return NULL;
  if (api->version.major != 1 || !api->tensor_from_object)
    return refuse("this torch exchanges tensors in another way");
  void *torch = dlopen(torch_path, RTLD_NOLOAD | RTLD_LAZY);
  if (!torch) return refuse("torch is not loaded");
  void *library = dlopen(library_path, RTLD_LAZY | RTLD_LOCAL);
  if (!library) return refuse(dlerror());
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  Engine *self = (Engine *)allocate(type, 0);
  if (!self) return NULL;
  self->exchange = api;
  self->tensor_type = Py_NewRef(tensor_type);
  self->modes = Py_NewRef(modes);
  self->is_neg = PyObject_GetAttrString(tensor_type, "is_neg");
  self->is_conj = PyObject_GetAttrString(tensor_type, "is_conj");
  if (!self->is_neg || !self->is_conj || find_torch(self, torch) || find_library(self, library)) {
    Py_DECREF(self);
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
  }
  void *container = add_runner(self) ? NULL : self->runners[0].container;
  if (!container || self->library.inputs(container, &self->input_count) ||
      self->library.outputs(container, &self->output_count)) {
    if (!PyErr_Occurred()) fail(self);
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject *)self;
}

/* grow(runners, threads): let several calls run at once, each with so many threads; 0 leaves those
 * of the thread that calls. All constants are to be set again.
 */
static PyObject *engine_grow(Engine *self, PyObject *args) {
  int count, threads;
  if (!PyArg_ParseTuple(args, "ii", &count, &threads)) return NULL;
  if (count < 1 || count > MOST_RUNNERS)
    return PyErr_Format(PyExc_ValueError, "a pool has 1 to %d runners, not %d", MOST_RUNNERS, count);
  if (threads && (!self->torch.get_threads || !self->torch.set_threads))
    return PyErr_Format(PyExc_ValueError, "this torch does not tell OpenMP's threads");
  while (self->runner_count < (size_t)count)
    if (add_runner(self)) return NULL;
  self->threads = threads;
  Py_RETURN_NONE;
}

static PyObject *engine_constants(Engine *self, PyObject *none) {
  (void)none;
  size_t count;
  void *container = self->runners[0].container;
  if (self->library.constants(container, &count)) return fail(self);
  PyObject *constants = PyList_New(0);
  for (size_t i = 0; constants && i < count; i++) {
    const char *name;
    int32_t dtype;
    size_t size;
    if (self->library.constant_name(container, i, &name) ||
        self->library.constant_dtype(container, i, &dtype) ||
        self->library.constant_size(container, i, &size)) {
      Py_DECREF(constants);
      return fail(self);
    }
    int known = 0;
    while (known < DTYPE_COUNT && self->dtypes[known] != dtype) known++;
    bool found = known < DTYPE_COUNT;
    PyObject *constant =
        Py_BuildValue("s(ii)n", name, found ? DTYPES[known].code : -1,
                      found ? DTYPES[known].bits : -1, (Py_ssize_t)size);
    if (!constant || PyList_Append(constants, constant)) Py_CLEAR(constants);
    Py_XDECREF(constant);
  }
  return constants;
}

static PyObject *engine_set_constants(Engine *self, PyObject *tensors) {
  if (!PyDict_Check(tensors)) {
    PyErr_SetString(PyExc_TypeError, "expected a dict of tensors");
    return NULL;
  }
  /* Names and tensors stay for good, as the library does, which goes on using their memory. */
  PyObject *items = PyDict_Items(tensors);
  if (!items) return NULL;
  Py_ssize_t count = PyList_Size(items);
  Constant *pairs = malloc((size_t)count * sizeof *pairs + 1);
  if (!pairs) return PyErr_NoMemory();
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject *item = PyList_GetItem(items, i);
    DLTensor tensor;
    pairs[i].name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(item, 0), NULL);
    PyObject *value = PyTuple_GetItem(item, 1);
    if (pairs[i].name && PyCapsule_CheckExact(value)) { /* a handle, of what is not exchanged */
      pairs[i].handle = PyCapsule_GetPointer(value, NULL);
      if (pairs[i].handle) continue;
    }
    if (!pairs[i].name || self->exchange->tensor_from_object(value, &tensor) ||
        borrow(self, &tensor, &pairs[i].handle)) {
      free(pairs);
      return PyErr_Occurred() ? NULL : refuse("a constant of this kind cannot be handed over");
    }
  }
  int failed = 0;
  for (size_t i = 0; !failed && i < self->runner_count; i++)
    failed = self->library.set_constants(self->runners[i].container, pairs, (size_t)count, false,
                                         true);
  free(pairs);
  if (failed) return fail(self);
  Py_RETURN_NONE;
}

/* find_place(samples): find where Python objects of tensors hold the tensor, so that handles can be
 * made of them; it is compared with what torch itself gives, and where nothing fits, none are.
 *
 * samples: pairs of a tensor and a capsule with a new handle of it, which is released here.
 */
static PyObject *engine_find_place(Engine *self, PyObject *samples) {
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
  for (Py_ssize_t i = 0; i < count; i++)
    self->torch.release(PyCapsule_GetPointer(PyTuple_GetItem(PyList_GetItem(samples, i), 1), NULL));
  self->place = found;
  return PyBool_FromLong(found != 0);
}

enum { TENSOR_SIZE = 192 }; /* a tensor itself, c10::TensorImpl, has had at least these bytes */

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
static PyObject *engine_find_flags(Engine *self, PyObject *args) {
  PyObject *negated, *conjugated;
  if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &negated, &PyList_Type, &conjugated))
    return NULL;
  if (self->place) {
    self->neg = find_flag(self, negated);
    self->conj = find_flag(self, conjugated);
  }
  return PyBool_FromLong(self->neg.place && self->conj.place);
}

/* expect(table): what the tensors of a usual call are, as 64-bit numbers: the count of dims, the
 * count of inputs; min, max, multiple of each dim; and for each input the code and bits of its
 * dtype, its rank, for each size dim, factor, offset, and the order of the dimensions in memory.
 */
static PyObject *engine_expect(Engine *self, PyObject *table) {
  char *bytes;
  Py_ssize_t length;
  if (PyBytes_AsStringAndSize(table, &bytes, &length)) return NULL;
  Py_ssize_t count = length / 8, at = 2;
  Rules rules = {0};
  rules.words = malloc((size_t)length + 8);
  if (!rules.words) return PyErr_NoMemory();
  memcpy(rules.words, bytes, (size_t)length);
  bool good = count >= 2 && rules.words[0] >= 0 && rules.words[0] <= MOST_DIMS &&
              (size_t)rules.words[1] == self->input_count;
  if (good) {
    rules.dim_count = rules.words[0];
    rules.input_count = rules.words[1];
    rules.dims = (const Dim *)(rules.words + at);
    at += rules.dim_count * 3;
    rules.inputs = calloc((size_t)rules.input_count + 1, sizeof *rules.inputs);
    good = rules.inputs != NULL;
  }
  for (int64_t i = 0; good && i < rules.input_count; i++) {
    Input *input = &rules.inputs[i];
    good = at + 3 <= count;
    if (!good) break;
    input->code = rules.words[at];
    input->bits = rules.words[at + 1];
    input->ndim = rules.words[at + 2];
    at += 3;
    good = input->ndim >= 0 && at + 4 * input->ndim <= count;
    input->sizes = (const Size *)(rules.words + at);
    input->order = rules.words + at + 3 * input->ndim;
    at += 4 * input->ndim;
    for (int64_t k = 0; good && k < input->ndim; k++)
      good = input->sizes[k].dim < rules.dim_count && input->sizes[k].factor != 0 &&
             input->order[k] >= 0 && input->order[k] < input->ndim;
  }
  for (int64_t i = 0; good && i < rules.dim_count; i++) good = rules.dims[i].multiple > 0;
  if (!good || at != count) {
    free(rules.inputs);
    free(rules.words);
    PyErr_SetString(PyExc_ValueError, "the table is not one of this library's calls");
    return NULL;
  }
  free(self->rules.inputs);
  free(self->rules.words);
  self->rules = rules;
  self->checks = true;
  Py_RETURN_NONE;
}

/* While it is held, no call runs: the constants may change. */
static PyObject *engine_hold(Engine *self, PyObject *none) {
  (void)none;
  PyThreadState *state = PyEval_SaveThread();
  for (size_t i = 0; i < self->runner_count; i++)
    PyThread_acquire_lock(self->runners[i].lock, WAIT_LOCK);
  PyEval_RestoreThread(state);
  Py_RETURN_NONE;
}

static PyObject *engine_release(Engine *self, PyObject *none) {
  (void)none;
  for (size_t i = 0; i < self->runner_count; i++) PyThread_release_lock(self->runners[i].lock);
  Py_RETURN_NONE;
}

/* In a forked child: another thread of the parent may have held the lock. */
static PyObject *engine_unlock(Engine *self, PyObject *none) {
  (void)none;
  for (size_t i = 0; i < self->runner_count; i++) {
    PyThread_type_lock lock = PyThread_allocate_lock();
    if (!lock) return PyErr_NoMemory();
    self->runners[i].lock = lock; /* the old one cannot be freed: it may be locked */
  }
  Py_RETURN_NONE;
}

/* The library and what it uses stay: outputs may point into the constants. */
static void engine_dealloc(Engine *self) {
  PyTypeObject *type = Py_TYPE((PyObject *)self);
  Py_XDECREF(self->tensor_type);
  Py_XDECREF(self->modes);
  Py_XDECREF(self->is_neg);
  Py_XDECREF(self->is_conj);
  for (size_t i = 0; i < self->runner_count; i++) PyThread_free_lock(self->runners[i].lock);
  free(self->rules.inputs);
  free(self->rules.words);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef engine_methods[] = {
    {"call", (PyCFunction)(void (*)(void))engine_call, METH_FASTCALL,
     "Check tensors and run the model on them: a list of its outputs, or None for an unusual call."},
    {"run", (PyCFunction)engine_run, METH_O, "Run the model on a list of tensors, unchecked."},
    {"find_place", (PyCFunction)engine_find_place, METH_O,
     "Find where Python objects of tensors hold the tensor; whether it was found."},
    {"find_flags", (PyCFunction)engine_find_flags, METH_VARARGS,
     "Find where tensors say that they are negated or conjugated; whether it was found."},
    {"expect", (PyCFunction)engine_expect, METH_O, "Tell what the tensors of a usual call are."},
    {"constants", (PyCFunction)engine_constants, METH_NOARGS,
     "The constants that the library expects: name, DLPack's code and bits of the dtype, bytes."},
    {"set_constants", (PyCFunction)engine_set_constants, METH_O,
     "Hand over the constants, which are used in place."},
    {"grow", (PyCFunction)engine_grow, METH_VARARGS, "Let several calls run at once."},
    {"hold", (PyCFunction)engine_hold, METH_NOARGS, "Let calls wait until release()."},
    {"release", (PyCFunction)engine_release, METH_NOARGS, "Let calls go on after hold()."},
    {"unlock", (PyCFunction)engine_unlock, METH_NOARGS, "Forget calls of a parent process."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "A library compiled by AOTInductor, on the CPU."},
    {Py_tp_new, engine_new},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_methods, engine_methods},
    {0, NULL},
};

static PyType_Spec engine_spec = {
    .name = "_engine.Engine",
    .basicsize = sizeof(Engine),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = engine_slots,
};

/* ---- A model that is called ---- */

/* The base of the class of a model: a usual call does not go through Python. */
typedef struct {
  PyObject_HEAD
  Engine *engine;    /* NULL: every call goes through Python */
  PyObject *names;   /* of the parameters, a tensor each */
  PyObject *results; /* how the outputs nest, see build() */
  Py_ssize_t positional;
} Model;

/* An output from the list of all: an index; None; or (type, keys, items) for a tuple, a list or a
 * dict of them.
 */
static PyObject *build(PyObject *results, PyObject *outputs) {
  if (results == Py_None) return Py_NewRef(Py_None);
  if (PyLong_Check(results))
    return Py_XNewRef(PyList_GetItem(outputs, PyLong_AsSsize_t(results)));
  PyObject *type = PyTuple_GetItem(results, 0), *keys = PyTuple_GetItem(results, 1);
  PyObject *items = PyTuple_GetItem(results, 2);
  if (!type || !keys || !items) return NULL;
  Py_ssize_t count = PyTuple_Size(items);
  bool is_dict = type == (PyObject *)&PyDict_Type, is_list = type == (PyObject *)&PyList_Type;
  PyObject *built = is_dict ? PyDict_New() : is_list ? PyList_New(count) : PyTuple_New(count);
  for (Py_ssize_t i = 0; built && i < count; i++) {
    PyObject *item = build(PyTuple_GetItem(items, i), outputs);
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

/* Raise what the model makes of a RuntimeError of the compiled code. */
static void tell(PyObject *self) {
  PyObject *type, *error, *traceback;
  if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) return;
  PyErr_Fetch(&type, &error, &traceback);
  PyErr_NormalizeException(&type, &error, &traceback);
  PyObject *told = PyObject_CallMethod(self, "_failure", "O", error);
  if (told) {
    if (told != error) PyException_SetCause(told, Py_NewRef(error));
    PyErr_SetObject((PyObject *)Py_TYPE(told), told);
  }
  Py_XDECREF(told);
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(traceback);
}

/* The values of a call in the order of the parameters, with a reference to each; 0 if some are
 * missing or unknown.
 */
static int order(Model *self, PyObject *args, PyObject *kwargs, PyObject **values) {
  Py_ssize_t given = PyTuple_Size(args), named = kwargs ? PyDict_Size(kwargs) : 0;
  Py_ssize_t count = (Py_ssize_t)self->engine->input_count;
  if (count > FEW || given + named != count || given > self->positional) return 0;
  for (Py_ssize_t i = 0; i < count; i++) {
    values[i] = i < given ? PyTuple_GetItem(args, i)
                          : PyDict_GetItemWithError(kwargs, PyTuple_GetItem(self->names, i));
    if (!values[i]) return PyErr_Clear(), 0;
  }
  /* Another thread may take them out of a dict of arguments while the model runs. */
  for (Py_ssize_t i = 0; i < count; i++) Py_INCREF(values[i]);
  return 1;
}

static PyObject *model_call(Model *self, PyObject *args, PyObject *kwargs) {
  PyObject *values[FEW] = {0};
  if (self->engine && order(self, args, kwargs, values)) {
    /* What the call uses stays, whatever another thread does meanwhile. */
    Engine *engine = (Engine *)Py_NewRef((PyObject *)self->engine);
    PyObject *results = Py_NewRef(self->results), *answer = NULL;
    Py_ssize_t count = (Py_ssize_t)engine->input_count;
    PyObject *outputs = engine_call(engine, values, count);
    for (Py_ssize_t i = 0; i < count; i++) Py_DECREF(values[i]);
    if (!outputs)
      tell((PyObject *)self);
    else if (outputs != Py_None)
      answer = build(results, outputs);
    Py_DECREF((PyObject *)engine);
    Py_DECREF(results);
    bool usual = outputs != Py_None;
    Py_XDECREF(outputs);
    if (usual) return answer;
  }
  PyObject *checked = PyObject_GetAttrString((PyObject *)self, "_checked");
  PyObject *answer = checked ? PyObject_Call(checked, args, kwargs) : NULL;
  Py_XDECREF(checked);
  return answer;
}

/* _bind(engine, names, positional, results): let an engine have the usual calls; None: no more. */
static PyObject *model_bind(Model *self, PyObject *args) {
  PyObject *engine, *names, *results;
  Py_ssize_t positional;
  if (!PyArg_ParseTuple(args, "OO!nO", &engine, &PyTuple_Type, &names, &positional, &results))
    return NULL;
  PyObject *old[] = {(PyObject *)self->engine, self->names, self->results};
  self->engine = engine == Py_None ? NULL : (Engine *)Py_NewRef(engine);
  self->names = Py_NewRef(names);
  self->results = Py_NewRef(results);
  self->positional = positional;
  for (int i = 0; i < 3; i++) Py_XDECREF(old[i]);
  Py_RETURN_NONE;
}

static void model_dealloc(Model *self) {
  PyTypeObject *type = Py_TYPE((PyObject *)self);
  Py_XDECREF((PyObject *)self->engine);
  Py_XDECREF(self->names);
  Py_XDECREF(self->results);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef model_methods[] = {
    {"_bind", (PyCFunction)model_bind, METH_VARARGS, "Let an engine have the usual calls."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot model_slots[] = {
    {Py_tp_doc, "A model whose usual calls do not go through Python; the others are _checked()."},
    {Py_tp_call, model_call},
    {Py_tp_dealloc, model_dealloc},
    {Py_tp_methods, model_methods},
    {0, NULL},
};

static PyType_Spec model_spec = {
    .name = "_engine.Model",
    .basicsize = sizeof(Model),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = model_slots,
};

static int add(PyObject *module, const char *name, PyType_Spec *spec) {
  PyObject *type = PyType_FromSpec(spec);
  if (!type) return -1;
  int failed = PyModule_AddObjectRef(module, name, type);
  Py_DECREF(type);
  return failed;
}

static int fill(PyObject *module) {
  return add(module, "Engine", &engine_spec) || add(module, "Model", &model_spec) ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_engine",
    .m_doc = "Runs compiled models without holding the interpreter's lock.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&module); }
