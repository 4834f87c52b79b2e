/* The C ABI of torch and of libraries compiled by AOTInductor, and the features of the CPU.
 *
 * Nothing here knows Python: the engine and the C interface of a package (aotbuild/c_interface)
 * have it in common.
 */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- torch's and the library's C ABI: 0 is success ---- */

typedef void* Handle; /* AtenTensorHandle */

typedef struct {
  const char* name;
  Handle handle;
} Constant; /* AOTInductorConstantMapEntry */

enum { DTYPE_COUNT = 15 };

typedef struct {
  int (*from_blob)(void*, int64_t, const int64_t*, const int64_t*, int64_t, int32_t, int32_t,
                   int32_t, Handle*);
  int (*packed_from_blob)(void*, int64_t, const int64_t*, const int64_t*, int64_t, int32_t, int32_t,
                          int32_t, Handle*, int32_t, const uint8_t*, int64_t);
  int32_t (*packed_layout)(void); /* oneDNN's; both may be NULL */
  int (*copy)(Handle, Handle*);   /* a further handle of the same tensor */
  int (*release)(Handle);
  int (*data)(Handle, void**);
  int (*ndim)(Handle, int64_t*);
  int (*sizes)(Handle, int64_t**);
  int (*strides)(Handle, int64_t**);
  int (*dtype)(Handle, int32_t*);
  int (*get_threads)(void); /* OpenMP's; may be NULL */
  void (*set_threads)(int); /* of the calling thread */
  void (*use_threads)(int); /* of all threads; NULL in torch */
} Torch;

typedef struct {
  int (*create)(void**, size_t, const char*, const char*);
  int (*destroy)(void*);
  int (*run)(void*, Handle*, size_t, Handle*, size_t, void*, void*);
  int (*inputs)(void*, size_t*);
  int (*outputs)(void*, size_t*);
  int (*constants)(void*, size_t*);
  int (*constant_name)(void*, size_t, const char**);
  int (*constant_dtype)(void*, size_t, int32_t*);
  int (*constant_size)(void*, size_t, size_t*);
  int (*set_constants)(void*, const Constant*, size_t, bool, bool);
  int (*last_error)(const char**); /* may be NULL: newer than the rest */
} Library;

typedef struct {
  const char* torch; /* the function that gives torch's number of the dtype */
  uint8_t code, bits;
} Dtype;

extern const Dtype DTYPES[DTYPE_COUNT];

/* The index in DTYPES of a dtype by DLPack's code and bits; -1 where there is none. */
int dtype_index(int code, int bits);

/* Look up the functions of torch: in torch's library, or, where that is NULL, in a library of a
 * model that has its own.
 *
 * dtypes: gets torch's numbers of DTYPES; -1 where it has none.
 * Returns NULL, or the name of a function that is needed and missing.
 */
const char* find_torch(void* torch, void* library, Torch* found, int32_t* dtypes);

/* Look up the functions of a model's library, in the same way. */
const char* find_library(void* library, Library* found);

/* The index of the first output that has the same handle as output i. A library gives one handle
 * for all outputs that are one tensor: it is released once, and they are one object.
 */
size_t first_output(const Handle* outputs, size_t i);

/* ---- What calls are checked by ---- */

typedef struct {
  int64_t dim;    /* index of a Dim; -1: the size is always `offset` */
  int64_t factor; /* the size is factor * dim + offset */
  int64_t offset;
} Size;

/* ---- cpu.c ---- */

/* The name of a feature that levels need, as torch.cpu.get_capabilities() has it; NULL behind the
 * last one. */
const char* cpu_feature(size_t i);

/* Whether this CPU has a feature, and the operating system saves its registers. */
bool cpu_has(const char* feature);

#endif
