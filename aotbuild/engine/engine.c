/* A library compiled by AOTInductor: opened, given its constants, run. */
#include "engine.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

int find_dtype(DLDataType dtype) {
  return dtype.lanes == 1 ? dtype_index(dtype.code, dtype.bits) : -1;
}

int find_torch_dtype(Engine* self, int32_t number) {
  for (int i = 0; i < DTYPE_COUNT; i++)
    if (self->dtypes[i] == number) return i;
  return -1;
}

int borrow(Engine* self, const DLTensor* tensor, Handle* handle) {
  int dtype = find_dtype(tensor->dtype);
  if (dtype < 0 || self->dtypes[dtype] < 0 || tensor->device.type != CPU) return -1;
  void* data = (char*)tensor->data + tensor->byte_offset;
  return self->torch.from_blob(data, tensor->ndim, tensor->shape, tensor->strides, 0,
                               self->dtypes[dtype], 0, 0, handle);
}

PyObject* fail(Engine* self) {
  const char* message = NULL;
  if (self->library.last_error) self->library.last_error(&message);
  if (message && strstr(message, "std::bad_alloc")) return PyErr_NoMemory();
  PyErr_SetString(PyExc_RuntimeError, message && *message ? message : "the compiled code failed");
  return NULL;
}

/* A runner that no call uses, locked; NULL if there is none. */
static Runner* free_runner(Engine* self) {
  for (size_t i = 0; i < self->runner_count; i++)
    if (PyThread_acquire_lock(self->runners[i].lock, NOWAIT_LOCK)) return &self->runners[i];
  return NULL;
}

bool run_library(Engine* self, Handle* handles) {
  Handle* outputs = handles + self->input_count;
  Runner* runner = free_runner(self);
  bool waits = !runner;
  if (waits) runner = &self->runners[NEXT_TURN(self->turn) % self->runner_count];
  PyThreadState* state = PyEval_SaveThread();
  if (waits) PyThread_acquire_lock(runner->lock, WAIT_LOCK);
  int before = self->threads ? self->torch.get_threads() : 0;
  if (self->threads) self->torch.set_threads(self->threads);
  int failed = self->library.run(runner->container, handles, self->input_count, outputs,
                                 self->output_count, NULL, NULL);
  if (self->threads) self->torch.set_threads(before);
  PyThread_release_lock(runner->lock);
  PyEval_RestoreThread(state);
  if (failed) fail(self);
  return !failed;
}

void release_outputs(Engine* self, const Handle* outputs, size_t i) {
  for (; i < self->output_count; i++)
    if (first_output(outputs, i) == i) self->torch.release(outputs[i]);
}

/* ---- Loading ---- */

/* Look up the functions of torch and of the library; not 0, with an error set, if one is missing.
 */
static int find_functions(Engine* self, void* torch, void* library) {
  const char* lacking = find_torch(torch, library, &self->torch, self->dtypes);
  if (!lacking) lacking = find_library(library, &self->library);
  return lacking ? refuse(lacking), -1 : 0;
}

/* Create one more container; not 0, with an error set, if that fails. */
static int add_runner(Engine* self) {
  Runner* runner = &self->runners[self->runner_count];
  runner->lock = PyThread_allocate_lock();
  if (!runner->lock) return PyErr_NoMemory(), -1;
  if (self->library.create(&runner->container, 1, "cpu", NULL)) return fail(self), -1;
  self->runner_count++;
  return 0;
}

/* Engine(library, torch): open a library.
 *
 * library: path of the compiled library. torch: path of torch's library, which is loaded if it is
 * not; None for a library that has what it needs of torch in itself. What needs torch's Python side
 * waits for attach().
 */
static PyObject* engine_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  const char *library_path, *torch_path;
  if (kwargs && PyDict_Size(kwargs)) {
    PyErr_SetString(PyExc_TypeError, "Engine() takes no keyword arguments");
    return NULL;
  }
  if (!PyArg_ParseTuple(args, "sz", &library_path, &torch_path)) return NULL;
  void* torch = torch_path ? open_torch(torch_path) : NULL;
  if (torch_path && !torch) return NULL;
  /* Opening a library may run code that waits for another thread. */
  PyThreadState* state = PyEval_SaveThread();
  void* library = dlopen(library_path, RTLD_LAZY | RTLD_LOCAL);
  const char* error = library ? NULL : dlerror();
  PyEval_RestoreThread(state);
  if (!library) return refuse(error);
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  Engine* self = (Engine*)allocate(type, 0);
  if (!self) return NULL;
  void* container = NULL;
  if (!find_functions(self, torch, library) && !add_runner(self))
    container = self->runners[0].container;
  if (!container || self->library.inputs(container, &self->input_count) ||
      self->library.outputs(container, &self->output_count)) {
    if (!PyErr_Occurred()) fail(self);
    Py_DECREF(self);
    return NULL;
  }
  return (PyObject*)self;
}

/* grow(runners, threads): let several calls run at once, each with so many threads; 0 leaves those
 * of the thread that calls. All constants are to be set again. It is for an engine that is not in
 * use yet.
 */
static PyObject* engine_grow(Engine* self, PyObject* args) {
  int count, threads;
  if (!PyArg_ParseTuple(args, "ii", &count, &threads)) return NULL;
  if (count < 1 || count > MAX_RUNNERS)
    return PyErr_Format(PyExc_ValueError, "a pool has 1 to %d runners, not %d", MAX_RUNNERS, count);
  if (threads && (!self->torch.get_threads || !self->torch.set_threads))
    return PyErr_Format(PyExc_ValueError, "this torch does not tell OpenMP's threads");
  while (self->runner_count < (size_t)count)
    if (add_runner(self)) return NULL;
  self->threads = threads;
  Py_RETURN_NONE;
}

/* constants(): what the library expects, as a list of (name, (code, bits), bytes). */
static PyObject* engine_constants(Engine* self, PyObject* none) {
  (void)none;
  size_t count;
  void* container = self->runners[0].container;
  if (self->library.constants(container, &count)) return fail(self);
  PyObject* constants = PyList_New(0);
  for (size_t i = 0; constants && i < count; i++) {
    const char* name;
    int32_t dtype;
    size_t size;
    if (self->library.constant_name(container, i, &name) ||
        self->library.constant_dtype(container, i, &dtype) ||
        self->library.constant_size(container, i, &size)) {
      Py_DECREF(constants);
      return fail(self);
    }
    int known = find_torch_dtype(self, dtype);
    PyObject* constant = Py_BuildValue("s(ii)n", name, known < 0 ? -1 : DTYPES[known].code,
                                       known < 0 ? -1 : DTYPES[known].bits, (Py_ssize_t)size);
    if (!constant || PyList_Append(constants, constant)) Py_CLEAR(constants);
    Py_XDECREF(constant);
  }
  return constants;
}

/* Hand constants to the library, to each of its containers, and free the list of them. They need
 * not be all: others stay what they are.
 */
static PyObject* hand_constants(Engine* self, Constant* pairs, Py_ssize_t count) {
  int failed = 0;
  for (size_t i = 0; !failed && i < self->runner_count; i++)
    failed =
        self->library.set_constants(self->runners[i].container, pairs, (size_t)count, false, false);
  free(pairs);
  if (failed) return fail(self);
  Py_RETURN_NONE;
}

/* set_constants(tensors): hand over constants, a dict of tensors, of capsules with handles or of
 * DLPack with strides, or of Arrays.
 */
static PyObject* engine_set_constants(Engine* self, PyObject* tensors) {
  if (!PyDict_Check(tensors)) {
    PyErr_SetString(PyExc_TypeError, "expected a dict of tensors");
    return NULL;
  }
  /* Names and tensors stay for good, as the library does, which goes on using their memory. */
  PyObject* items = PyDict_Items(tensors);
  if (!items) return NULL;
  Py_ssize_t count = PyList_Size(items);
  Constant* pairs = malloc((size_t)count * sizeof *pairs + 1);
  if (!pairs) return PyErr_NoMemory();
  for (Py_ssize_t i = 0; i < count; i++) {
    PyObject* item = PyList_GetItem(items, i);
    DLTensor tensor;
    pairs[i].name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(item, 0), NULL);
    PyObject* value = PyTuple_GetItem(item, 1);
    /* a handle, of what is not exchanged */
    if (pairs[i].name && PyCapsule_CheckExact(value) && !PyCapsule_GetName(value)) {
      pairs[i].handle = PyCapsule_GetPointer(value, NULL);
      if (pairs[i].handle) continue;
    }
    const DLTensor* own = tensor_of_array(value);
    if (own) tensor = *own;
    bool taken = pairs[i].name && (own || (tensor_of_capsule(value, &tensor) && tensor.strides) ||
                                   tensor_of_torch(self, value, &tensor));
    if (!taken || borrow(self, &tensor, &pairs[i].handle)) {
      free(pairs);
      return PyErr_Occurred() ? NULL
                              : refuse("the compiled code cannot take a constant of this kind");
    }
  }
  return hand_constants(self, pairs, count);
}

/* The numbers of a tuple; false with an error set if it does not hold `count` of them. */
static bool numbers(PyObject* tuple, Py_ssize_t count, int64_t* values) {
  if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != count) {
    PyErr_SetString(PyExc_ValueError, "sizes and strides are tuples of as many numbers");
    return false;
  }
  for (Py_ssize_t i = 0; i < count; i++) {
    values[i] = PyLong_AsLongLong(PyTuple_GetItem(tuple, i));
    if (values[i] == -1 && PyErr_Occurred()) return false;
  }
  return true;
}

enum { MAX_RANK = 64 };

/* A handle over mapped bytes, as an entry of map_constants() describes it. */
static int map_constant(Engine* self, const Py_buffer* file, PyObject* entry, Constant* constant) {
  int code, bits;
  Py_ssize_t offset, size, packing_size;
  PyObject *sizes, *strides;
  const char* packing;
  int64_t shape[MAX_RANK], stride[MAX_RANK];
  if (!PyArg_ParseTuple(entry, "s(ii)OOnny#", &constant->name, &code, &bits, &sizes, &strides,
                        &offset, &size, &packing, &packing_size))
    return -1;
  Py_ssize_t rank = PyTuple_Check(sizes) ? PyTuple_Size(sizes) : 0;
  if (rank > MAX_RANK || offset < 0 || size < 0 || offset > file->len - size)
    return refuse("a constant is not within the weights file"), -1;
  if (!numbers(sizes, rank, shape) || !numbers(strides, rank, stride)) return -1;
  int dtype = find_dtype((DLDataType){(uint8_t)code, (uint8_t)bits, 1});
  char* data = (char*)file->buf + offset;
  const Torch* torch = &self->torch;
  int failed = dtype < 0 || self->dtypes[dtype] < 0 ||
               (packing_size && (!torch->packed_from_blob || !torch->packed_layout));
  if (!failed && packing_size)
    failed = torch->packed_from_blob(data, rank, shape, stride, 0, self->dtypes[dtype], 0, 0,
                                     &constant->handle, torch->packed_layout(),
                                     (const uint8_t*)packing, packing_size);
  else if (!failed)
    failed = torch->from_blob(data, rank, shape, stride, 0, self->dtypes[dtype], 0, 0,
                              &constant->handle);
  return failed ? refuse("a constant of this kind cannot be mapped"), -1 : 0;
}

/* map_constants(file, constants): hand over constants that lie in a mapped file, for good.
 *
 * file: what has a buffer of its bytes. constants: for each a tuple of its name, DLPack's code and
 * bits of its dtype, sizes, strides, byte offset, bytes, and how oneDNN packed it (empty if not).
 */
static PyObject* engine_map_constants(Engine* self, PyObject* args) {
  PyObject *file, *constants;
  Py_buffer bytes; /* which is kept for good, as the names are */
  if (!PyArg_ParseTuple(args, "OO!", &file, &PyList_Type, &constants) ||
      PyObject_GetBuffer(file, &bytes, PyBUF_SIMPLE))
    return NULL;
  PyObject* held = PyList_AsTuple(constants);
  Py_ssize_t count = held ? PyTuple_Size(held) : 0;
  Constant* pairs = held ? malloc((size_t)count * sizeof *pairs + 1) : NULL;
  if (!pairs) return PyErr_NoMemory();
  for (Py_ssize_t i = 0; i < count; i++) {
    if (map_constant(self, &bytes, PyTuple_GetItem(held, i), &pairs[i])) {
      free(pairs);
      return NULL;
    }
  }
  return hand_constants(self, pairs, count);
}

/* set_fallback(callable): let a callable have the calls with anything but torch's tensors. It gets
 * the values, and returns the list of outputs or None. It is for an engine that is not in use yet.
 */
static PyObject* engine_set_fallback(Engine* self, PyObject* callable) {
  PyObject* old = self->fallback;
  self->fallback = Py_NewRef(callable);
  Py_XDECREF(old);
  Py_RETURN_NONE;
}

/* hold(): wait for the calls that run, and let others wait, so that constants can change. */
static PyObject* engine_hold(Engine* self, PyObject* none) {
  (void)none;
  PyThreadState* state = PyEval_SaveThread();
  for (size_t i = 0; i < self->runner_count; i++)
    PyThread_acquire_lock(self->runners[i].lock, WAIT_LOCK);
  PyEval_RestoreThread(state);
  Py_RETURN_NONE;
}

/* release(): let calls go on after hold(). */
static PyObject* engine_release(Engine* self, PyObject* none) {
  (void)none;
  for (size_t i = 0; i < self->runner_count; i++) PyThread_release_lock(self->runners[i].lock);
  Py_RETURN_NONE;
}

/* unlock(): for a forked child: another thread of the parent may have held a lock. */
static PyObject* engine_unlock(Engine* self, PyObject* none) {
  (void)none;
  for (size_t i = 0; i < self->runner_count; i++) {
    PyThread_type_lock lock = PyThread_allocate_lock();
    if (!lock) return PyErr_NoMemory();
    self->runners[i].lock = lock; /* the old one cannot be freed: it may be locked */
  }
  Py_RETURN_NONE;
}

/* set_threads(count): how many threads OpenMP uses in the calling thread. */
static PyObject* engine_set_threads(Engine* self, PyObject* threads) {
  long count = PyLong_AsLong(threads);
  if (count == -1 && PyErr_Occurred()) return NULL;
  if (self->torch.set_threads && count > 0) self->torch.set_threads((int)count);
  Py_RETURN_NONE;
}

/* use_threads(count): how many threads a stand-alone library uses in all threads. */
static PyObject* engine_use_threads(Engine* self, PyObject* threads) {
  long count = PyLong_AsLong(threads);
  if (count == -1 && PyErr_Occurred()) return NULL;
  if (self->torch.use_threads && count > 0) self->torch.use_threads((int)count);
  Py_RETURN_NONE;
}

/* The library, its containers and constants are never freed: outputs may point into constants. */
static void engine_dealloc(Engine* self) {
  PyTypeObject* type = Py_TYPE((PyObject*)self);
  Py_XDECREF(self->fallback);
  free_exchanged(self->exchanged);
  free_numpy(self->numpy);
  for (size_t i = 0; i < self->runner_count; i++) PyThread_free_lock(self->runners[i].lock);
  free_rules(self);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef engine_methods[] = {
    {"call", (PyCFunction)(void (*)(void))engine_call, METH_FASTCALL,
     "Check tensors and run the model on them: the list of outputs, or None for an unusual call."},
    {"fits", (PyCFunction)(void (*)(void))engine_fits, METH_FASTCALL,
     "Whether tensors are those of a usual call."},
    {"run", (PyCFunction)engine_run, METH_O, "Run the model on a list of tensors, unchecked."},
    {"run_arrays", (PyCFunction)engine_run_arrays, METH_O,
     "Check arrays and run the model on them: the list of outputs, or None for an unusual call."},
    {"scan", (PyCFunction)engine_scan, METH_VARARGS,
     "Check arrays and run the model on a sequence of steps: the list of outputs, or None."},
    {"set_fallback", (PyCFunction)engine_set_fallback, METH_O,
     "Set the callable for calls with anything but torch's tensors."},
    {"attach", (PyCFunction)engine_attach, METH_VARARGS,
     "Take torch's tensors from now on; whether it is known where Python objects hold them."},
    {"attach_numpy", (PyCFunction)engine_attach_numpy, METH_VARARGS,
     "Take numpy's arrays, and give such, from now on."},
    {"expect", (PyCFunction)engine_expect, METH_O, "Set the rules of a usual call."},
    {"constants", (PyCFunction)engine_constants, METH_NOARGS,
     "The constants that the library expects: name, DLPack's code and bits of the dtype, bytes."},
    {"set_constants", (PyCFunction)engine_set_constants, METH_O,
     "Hand over the constants, which are used in place."},
    {"map_constants", (PyCFunction)engine_map_constants, METH_VARARGS,
     "Hand over constants that lie in a mapped file."},
    {"grow", (PyCFunction)engine_grow, METH_VARARGS, "Let several calls run at once."},
    {"hold", (PyCFunction)engine_hold, METH_NOARGS, "Let calls wait until release()."},
    {"release", (PyCFunction)engine_release, METH_NOARGS, "Let calls go on after hold()."},
    {"unlock", (PyCFunction)engine_unlock, METH_NOARGS, "Forget calls of a parent process."},
    {"set_threads", (PyCFunction)engine_set_threads, METH_O,
     "Set how many threads OpenMP uses in the calling thread."},
    {"use_threads", (PyCFunction)engine_use_threads, METH_O,
     "Set how many threads a stand-alone library uses."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "A library compiled by AOTInductor, on the CPU."},
    {Py_tp_new, engine_new},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_methods, engine_methods},
    {0, NULL},
};

PyType_Spec engine_spec = {
    .name = "_engine.Engine",
    .basicsize = sizeof(Engine),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = engine_slots,
};
