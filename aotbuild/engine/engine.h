/* What the files of the native engine share.
 *
 * The engine runs a library compiled by AOTInductor on the CPU, and checks its arguments. It uses
 * Python's limited API, AOTInductor's C ABI, and DLPack and buffers for arrays. It links nothing of
 * torch: functions of torch are looked up in torch's library, those of the model in its own.
 *
 * A Python without the GIL has no such limited API, and gets an engine of its own. There, methods
 * run in several threads at once. What calls read is complete before they can find it, and never
 * changed: see PUBLISH(). What is set only once, before an engine is in use, says so.
 *
 * A "usual" call is one whose tensors the compiled code can read as they are. The engine runs those
 * and answers None to all others: the Python side converts their arguments, or says what is wrong.
 */
#ifndef ENGINE_H
#define ENGINE_H

#define PY_SSIZE_T_CLEAN
#include <pyconfig.h>
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include "library.h"

/* ---- Pythons with and without the GIL ---- */

/* Let other threads find memory by a pointer, and find it so. BEGIN_ALONE and END_ALONE enclose
 * what one thread at a time does to an object. With the GIL, all this is already so.
 */
#ifdef Py_GIL_DISABLED
#define PUBLISH(pointer, value) __atomic_store_n(&(pointer), value, __ATOMIC_RELEASE)
#define PUBLISHED(pointer) __atomic_load_n(&(pointer), __ATOMIC_ACQUIRE)
#define NEXT_TURN(count) __atomic_fetch_add(&(count), 1, __ATOMIC_RELAXED)
#define LEAVE(count) __atomic_fetch_sub(&(count), 1, __ATOMIC_RELAXED)
#define BEGIN_ALONE(object) Py_BEGIN_CRITICAL_SECTION((PyObject*)(object))
#define END_ALONE Py_END_CRITICAL_SECTION()
#else
#define PUBLISH(pointer, value) ((pointer) = (value))
#define PUBLISHED(pointer) (pointer)
#define NEXT_TURN(count) ((count)++)
#define LEAVE(count) ((count)--)
#define BEGIN_ALONE(object) {
#define END_ALONE }
#endif

/* Where it is compiled on a machine of another architecture, Python's configuration is that one's.
 */
_Static_assert(SIZEOF_VOID_P == sizeof(void*) && SIZEOF_LONG == sizeof(long) &&
                   SIZEOF_LONG_LONG == sizeof(long long) && SIZEOF_SIZE_T == sizeof(size_t) &&
                   SIZEOF_WCHAR_T == sizeof(wchar_t) && SIZEOF_DOUBLE == sizeof(double),
               "pyconfig.h is of another architecture");
#ifdef WORDS_BIGENDIAN
#error "pyconfig.h is of another architecture"
#endif

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
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides; /* in elements */
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(struct DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor dl_tensor;
} DLManagedTensorVersioned;

typedef struct {
  DLPackVersion version;
  void* previous;
  int (*allocate)(DLTensor*, DLManagedTensorVersioned**, void*,
                  void (*)(void*, const char*, const char*));
  int (*managed_from_object)(void*, DLManagedTensorVersioned**);
  int (*managed_to_object)(DLManagedTensorVersioned*, void**);
  int (*tensor_from_object)(void*, DLTensor*);
  int (*current_stream)(int32_t, int32_t, void**);
} DLPackExchangeAPI;

typedef struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(struct DLManagedTensor*);
} DLManagedTensor; /* that of DLPack before 1.0 */

enum { CPU = 1 }; /* kDLCPU */

/* ---- The rules of a usual call, read from a table that Python wrote ---- */

typedef struct {
  int64_t min, max, multiple; /* max < 0: none */
} Dim;

typedef struct {
  int64_t code, bits; /* DLPack's dtype */
  int64_t ndim;
  const Size* sizes;
  const int64_t* order; /* dimensions as they lie in memory, the widest stride first */
} Input;

typedef struct {
  int64_t dim_count, input_count;
  const Dim* dims;
  Input* inputs;
  int64_t* words; /* the memory that the other pointers point into */
} Rules;

enum { MAX_DIMS = 64 };

/* A bit in a tensor itself (a TensorImpl) that marks it as lazily negated or conjugated: the offset
 * of its word, 0 if that is not known, and the bit. */
typedef struct {
  size_t place;
  uint64_t bit;
} Flag;

/* One container, which runs one call at a time. AOTInductor's own queue of runners is not used:
 * when a call fails, it does not wake the calls that wait. */
typedef struct {
  void* container;
  PyThread_type_lock lock;
} Runner;

enum { MAX_RUNNERS = 64 };

/* What is known of torch's Python side, of which tensors are exchanged; see engine_attach(). */
typedef struct {
  const DLPackExchangeAPI* exchange;
  PyObject *tensor_type, *modes, *is_neg, *is_conj;
  void* const* (*tracing)(void); /* torch's function whose result is not NULL in a trace; or NULL */
  size_t place;              /* offset of the tensor in its Python object; 0 if that is not known */
  PyObject* (*wrap)(Handle); /* torch's function that makes the Python object; or NULL */
  Flag neg, conj;
} Tensors;

/* Numpy's functions, and the type of its arrays. */
typedef struct {
  void* const* functions;
  PyObject* array_type;
} Numpy;

typedef struct {
  PyObject_HEAD size_t input_count, output_count;
  Runner runners[MAX_RUNNERS]; /* they share the constants */
  size_t runner_count, turn;
  int threads; /* of a call; 0: those of the thread that calls */
  Torch torch;
  Library library;
  int32_t dtypes[DTYPE_COUNT]; /* torch's numbers of DTYPES; -1 where it has none */
  Rules rules;
  bool checks;              /* whether there are rules */
  PyObject* fallback;       /* takes calls with anything but torch's tensors; NULL: there is none */
  const Tensors* exchanged; /* NULL until torch is imported; published */
  const Numpy* numpy;       /* NULL until numpy is imported; published */
} Engine;

/* ---- torch.c ---- */

PyObject* refuse(const char* what); /* raise an OSError */
/* torch's library, opened if it is not; NULL, with an error set, if it cannot be. */
void* open_torch(const char* path);
/* interface_version(torch): the version of its interface in C, major << 56 | minor << 48. */
PyObject* interface_version(PyObject* module, PyObject* args);

/* missing(torch, names): those of the names that torch's library does not have. */
PyObject* missing(PyObject* module, PyObject* args);

/* ---- waiting.c ---- */

extern PyType_Spec signal_spec;

/* ---- engine.c ---- */

PyObject* fail(Engine* self); /* raise a RuntimeError with the library's last error */

/* The index in DTYPES of a dtype of DLPack, or of torch's number of it; -1 where there is none. */
int find_dtype(DLDataType dtype);
int find_torch_dtype(Engine* self, int32_t number);

/* Make a handle over the memory of a tensor, which the caller keeps alive; not 0 if that fails. */
int borrow(Engine* self, const DLTensor* tensor, Handle* handle);

/* Run the library, without the interpreter's lock.
 *
 * handles: those of the inputs, which the library takes over, and room for those of the outputs.
 * Returns false, with an error set, if the library fails.
 */
bool run_library(Engine* self, Handle* handles);

/* Release the handles of the outputs from i on, but for those that earlier outputs have. */
void release_outputs(Engine* self, const Handle* outputs, size_t i);

extern PyType_Spec engine_spec;

/* ---- checks.c ---- */

/* Begin the checks of a call: mark the size of every dimension as not known yet. */
void forget_sizes(Engine* self, int64_t* known);

/* Whether a tensor is what the compiled code reads for an input: device, dtype, sizes and strides.
 *
 * known: the sizes of the dimensions, by the inputs checked before; new ones are added.
 */
bool matches_rules(Engine* self, size_t input, const DLTensor* tensor, int64_t* known);

PyObject* engine_expect(Engine* self, PyObject* table);
void free_rules(Engine* self);

/* Whether an address is in the memory of a tensor. */
bool contains_address(const DLTensor* tensor, const char* data);

/* ---- tensors.c: torch's tensors ---- */

/* Check values and run the model on them: the list of its outputs, or None for an unusual call. */
PyObject* engine_call(Engine* self, PyObject* const* values, Py_ssize_t count);
/* Whether a call with these values is one that engine_call runs. */
PyObject* engine_fits(Engine* self, PyObject* const* values, Py_ssize_t count);
PyObject* engine_run(Engine* self, PyObject* given);
/* The calls of all engines that may be in a function of torch. */
PyObject* running_calls(PyObject* module, PyObject* none);
PyObject* engine_attach(Engine* self, PyObject* args);
/* The tensor of a torch.Tensor; false for anything else, or if torch is not attached. */
bool tensor_of_torch(Engine* self, PyObject* value, DLTensor* tensor);
void free_exchanged(const Tensors* exchanged);

/* ---- arrays.c: all other arrays ---- */

PyObject* engine_run_arrays(Engine* self, PyObject* given);

/* What keeps an array usable while the model runs. */
typedef struct {
  Py_buffer buffer; /* its `obj` is NULL where there is none */
  int64_t* strides; /* in elements; NULL where DLPack has them */
} Borrowed;

/* The tensor of an object with a buffer, or of a capsule of DLPack; false, without an error set, if
 * the engine cannot use it. give_back() ends it, in either case. */
bool borrow_array(PyObject* value, Borrowed* held, DLTensor* tensor);
void give_back(Borrowed* held);

/* Strides in elements, of those in bytes; false for an array that is not aligned to its elements.
 */
bool in_elements(const void* data, DLDataType dtype, const Py_ssize_t* bytes, int ndim,
                 int64_t* strides);
/* The tensor of a capsule of __dlpack__(), which stays its owner; false for anything else. */
bool tensor_of_capsule(PyObject* value, DLTensor* tensor);
/* Let a tensor have strides of its own: those that it has, or those of memory without gaps. */
void give_strides(DLTensor* tensor, int64_t* strides);

/* Run the model on tensors that passed the checks: the list of its outputs.
 *
 * owners: what has the memory of the tensors. wrap: takes over an Array, and gives what is returned
 * in its place; NULL for the Array itself.
 */
PyObject* run_on_arrays(Engine* self, PyObject* const* owners, const DLTensor* tensors,
                        Handle* handles, PyObject* (*wrap)(Engine* self, PyObject* array));

/* ---- scan.c ---- */

PyObject* engine_scan(Engine* self, PyObject* args);

/* ---- numpy.c ---- */

/* Whether all values are exactly arrays of numpy, once that is attached. */
bool are_numpy(Engine* self, PyObject* const* values);
/* Check arrays and run the model on them: the list of its outputs, or None for an unusual call. */
PyObject* call_with_numpy(Engine* self, PyObject* const* values);
PyObject* engine_attach_numpy(Engine* self, PyObject* args);
void free_numpy(const Numpy* numpy);

/* ---- array.c and array_*.c ---- */

extern PyType_Spec array_spec;
int keep_array_type(PyObject* module);

/* An Array over the memory of a tensor, with the handle that owns it, and what else keeps the
 * memory alive, or NULL. If there is an error, the handle is released. */
PyObject* new_array(const DLTensor* tensor, int (*release)(Handle), Handle handle, PyObject* owner);

/* The tensor of an Array; NULL for any other object. */
const DLTensor* tensor_of_array(PyObject* value);

/* A format without the sign of this machine's byte order; one of another order keeps its sign. */
const char* skip_byte_order(const char* format);
/* The dtype of a buffer's elements; false for a format that is not known. */
bool dtype_of(const char* format, DLDataType* dtype);
PyObject* view_of(PyObject* module, PyObject* args);
PyObject* from_capsule(PyObject* module, PyObject* capsule);
PyObject* laid_out(PyObject* module, PyObject* args);

/* ---- model.c ---- */

extern PyType_Spec model_spec;

/* ---- Space for the tensors of a call: on the stack, or on the heap for many ---- */

enum { STACK_TENSORS = 16 };
#define ALLOCATE(self, tensors, handles)                                                    \
  DLTensor stack_tensors[STACK_TENSORS], *tensors = stack_tensors;                          \
  Handle stack_handles[2 * STACK_TENSORS], *handles = stack_handles;                        \
  bool large = (self)->input_count > STACK_TENSORS || (self)->output_count > STACK_TENSORS; \
  if (large) {                                                                              \
    tensors = malloc((self)->input_count * sizeof *tensors + 1);                            \
    handles = malloc(((self)->input_count + (self)->output_count) * sizeof *handles + 1);   \
  }
#define RELEASE(tensors, handles) \
  if (large) {                    \
    free(tensors);                \
    free(handles);                \
  }

#endif
