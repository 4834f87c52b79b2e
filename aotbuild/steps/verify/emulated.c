/* Runs a stand-alone library that was compiled for another architecture, in an emulator.
 *
 * emulated.py, which starts it and talks to it through pipes, verifies libraries by it. A request
 * is a number of a Request and a number of tensors, or of threads; a tensor is the length of its
 * name and the name, DLPack's code and bits, the number of dimensions, sizes, strides (in
 * elements), the number of bytes from its first element to its last, and these bytes. All numbers
 * have 64 bits. The answer is 0 and the tensors of the result, without names, and for a call the
 * number of bytes of each input and these bytes, which it may have changed; or 1, the length of a
 * message, and it.
 */
#define _POSIX_C_SOURCE 200809L

#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum { CONSTANTS = 1, RUN = 2, THREADS = 3 } Request;

enum { ALIGNMENT = 64, MOST_DIMS = 64, TROUBLE = 3 };

typedef struct {
  Torch torch;
  Library library;
  int32_t dtypes[DTYPE_COUNT];
  void* container;
} Loaded;

static FILE* answers; /* what was the standard output: models may print */

/* The other side is gone, or there is no memory. */
static void stop(const char* reason) {
  fprintf(stderr, "%s\n", reason);
  exit(TROUBLE);
}

static void* room(size_t bytes) {
  size_t whole = (bytes / ALIGNMENT + 1) * ALIGNMENT;
  void* memory = aligned_alloc(ALIGNMENT, whole);
  if (!memory) stop("there is not enough memory");
  return memory;
}

static void take(void* to, size_t bytes) {
  if (bytes && fread(to, 1, bytes, stdin) != bytes) stop("a request ends early");
}

static int64_t number(void) {
  int64_t value;
  take(&value, sizeof value);
  return value;
}

static void give(const void* from, size_t bytes) {
  if (bytes && fwrite(from, 1, bytes, answers) != bytes) stop("nobody takes the answer");
}

static void give_number(int64_t value) { give(&value, sizeof value); }

static void refuse(const char* message) {
  give_number(1);
  give_number((int64_t)strlen(message));
  give(message, strlen(message));
}

static void refuse_by(const Loaded* loaded) {
  const char* message = NULL;
  if (loaded->library.last_error) loaded->library.last_error(&message);
  refuse(message && *message ? message : "the compiled code failed");
}

/* Take a tensor; the caller frees its name and its memory. */
static Handle take_tensor(const Loaded* loaded, char** name, void** memory, size_t* bytes) {
  size_t length = (size_t)number();
  *name = room(length + 1);
  take(*name, length);
  (*name)[length] = '\0';
  int code = (int)number(), bits = (int)number();
  int64_t ndim = number(), sizes[MOST_DIMS], strides[MOST_DIMS];
  if (ndim > MOST_DIMS) stop("a tensor has too many dimensions");
  take(sizes, (size_t)ndim * sizeof *sizes);
  take(strides, (size_t)ndim * sizeof *strides);
  *bytes = (size_t)number();
  *memory = room(*bytes);
  take(*memory, *bytes);
  int dtype = dtype_index(code, bits);
  Handle handle = NULL;
  if (dtype < 0 || loaded->torch.from_blob(*memory, ndim, sizes, strides, 0, loaded->dtypes[dtype],
                                           0, 0, &handle))
    stop("a tensor cannot be made");
  return handle;
}

static void give_tensor(const Loaded* loaded, Handle handle) {
  const Torch* torch = &loaded->torch;
  void* data;
  int64_t ndim, *sizes, *strides, last = 0, count = 1;
  int32_t dtype;
  if (torch->data(handle, &data) || torch->ndim(handle, &ndim) || torch->sizes(handle, &sizes) ||
      torch->strides(handle, &strides) || torch->dtype(handle, &dtype))
    stop("a result cannot be read");
  int known = 0;
  while (known < DTYPE_COUNT && loaded->dtypes[known] != dtype) known++;
  if (known == DTYPE_COUNT) stop("a result has an unknown dtype");
  for (int64_t i = 0; i < ndim; i++) {
    count *= sizes[i];
    last += (sizes[i] - 1) * strides[i];
  }
  int64_t bytes = count ? (last + 1) * (DTYPES[known].bits / 8) : 0;
  give_number(DTYPES[known].code);
  give_number(DTYPES[known].bits);
  give_number(ndim);
  give(sizes, (size_t)ndim * sizeof *sizes);
  give(strides, (size_t)ndim * sizeof *strides);
  give_number(bytes);
  give(data, (size_t)bytes);
}

/* The constants stay for good: the library uses them in place. */
static void set_constants(const Loaded* loaded) {
  size_t count = (size_t)number();
  Constant* constants = room(count * sizeof *constants);
  for (size_t i = 0; i < count; i++) {
    char* name;
    void* memory;
    size_t bytes;
    constants[i].handle = take_tensor(loaded, &name, &memory, &bytes);
    constants[i].name = name;
  }
  if (loaded->library.set_constants(loaded->container, constants, count, false, true)) {
    refuse_by(loaded);
    return;
  }
  give_number(0);
  give_number(0);
}

static void use_threads(const Loaded* loaded) {
  int count = (int)number();
  if (loaded->torch.use_threads) loaded->torch.use_threads(count);
  give_number(0);
  give_number(0);
}

static void run(const Loaded* loaded) {
  size_t inputs = (size_t)number(), expected = 0, outputs = 0;
  if (loaded->library.inputs(loaded->container, &expected) ||
      loaded->library.outputs(loaded->container, &outputs) || expected != inputs)
    stop("the library takes another number of inputs");
  Handle* given = room(inputs * sizeof *given);
  void** memory = room(inputs * sizeof *memory);
  size_t* bytes = room(inputs * sizeof *bytes);
  Handle* results = room(outputs * sizeof *results);
  for (size_t i = 0; i < inputs; i++) {
    char* name;
    given[i] = take_tensor(loaded, &name, &memory[i], &bytes[i]);
    free(name);
  }
  if (loaded->library.run(loaded->container, given, inputs, results, outputs, NULL, NULL)) {
    refuse_by(loaded);
  } else {
    give_number(0);
    give_number((int64_t)outputs);
    for (size_t i = 0; i < outputs; i++) give_tensor(loaded, results[i]);
    for (size_t i = 0; i < inputs; i++) {
      give_number((int64_t)bytes[i]);
      give(memory[i], bytes[i]);
    }
    for (size_t i = 0; i < outputs; i++)
      if (first_output(results, i) == i) loaded->torch.release(results[i]);
  }
  for (size_t i = 0; i < inputs; i++) free(memory[i]);
  free(results);
  free(bytes);
  free(memory);
  free(given);
}

static void load(Loaded* loaded, const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) stop(dlerror());
  const char* missing = find_torch(NULL, library, &loaded->torch, loaded->dtypes);
  if (!missing) missing = find_library(library, &loaded->library);
  if (missing) {
    fprintf(stderr, "the library has no %s\n", missing);
    exit(TROUBLE);
  }
  if (loaded->library.create(&loaded->container, 1, "cpu", NULL))
    stop("the library makes no container");
}

int main(int count, char** arguments) {
  if (count != 2) stop("usage: emulated <library>");
  int own = dup(STDOUT_FILENO);
  answers = own < 0 ? NULL : fdopen(own, "wb");
  if (!answers || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) stop("there is no output");
  static Loaded loaded;
  load(&loaded, arguments[1]);
  int64_t request;
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    switch ((Request)request) {
      case CONSTANTS:
        set_constants(&loaded);
        break;
      case RUN:
        run(&loaded);
        break;
      case THREADS:
        use_threads(&loaded);
        break;
      default:
        stop("an unknown request");
    }
    if (fflush(answers)) stop("nobody takes the answer");
  }
  return 0;
}
