/* What the files of a package's C interface share.
 *
 * The interface is a shared library of the package. It opens the compiled libraries beside it, maps
 * the weights, and runs calls; there is no Python in it. A generated file has the tables that tell
 * what the package holds, and a function for each that its headers declare.
 */
#ifndef INTERFACE_H
#define INTERFACE_H

#include "library.h"

/* ---- What the package holds: tables of the generated file ---- */

typedef struct {
  const char* name; /* path in the package */
  int64_t size;
  uint32_t checksum; /* see has_checksum() in files.c */
} File;

typedef struct {
  const char* name;
  int64_t min, max, multiple; /* max < 0: none */
  const char* range;          /* in words */
} Dim;

typedef struct {
  const char* name;
  uint8_t code, bits; /* DLPack's dtype */
  int32_t ndim;
  const Size* sizes;
  const int64_t* order; /* dimensions as they lie in memory, the widest stride first */
} Input;

typedef struct {
  const char* name; /* in the library */
  uint8_t code, bits;
  int32_t ndim;
  const int64_t *sizes, *strides;
  int64_t offset; /* in the weights file */
} Weight;

typedef struct {
  const char* level; /* such as x86-64-v3 */
  File library;
  const char* const* features; /* that the CPU has to have; NULL behind the last one */
  const Weight* weights;
  size_t weight_count;
} Variant;

/* What must hold between sizes, in the words of the manifest. */
typedef struct {
  const char* text;
  bool (*holds)(const int64_t* dims);
} Condition;

/* What a buffer of the state is before the first call. */
typedef struct {
  const int64_t* sizes; /* NULL: all zeros */
  int64_t offset;       /* in the weights file */
} Initial;

typedef struct {
  const char* name;     /* as users write it: net.encode */
  const char* function; /* as messages name it: digits_net_encode */
  const Dim* dims;
  size_t dim_count;
  const Input* inputs;
  size_t input_count, output_count;
  const Condition* conditions;
  size_t condition_count;
  const Variant* variants; /* the best first */
  size_t variant_count;
  const Initial* buffers; /* of the state, which are the last inputs */
  size_t buffer_count;
} Method;

typedef struct {
  const char* open; /* as messages name it: digits_net_open */
  const Method* methods;
  size_t method_count;
} Table;

typedef struct {
  const char* name; /* the import package */
  int depth;        /* names in it */
  File weights;
  const char* distribution; /* that has the weights; NULL: the package itself */
  const char* directory;    /* its import package */
  bool outside;             /* whether AOTBUILD_WEIGHTS tells where the weights are */
} Package;

extern const Package PACKAGE;

/* ---- errors.c ---- */

/* The codes of the generated header, in its order. */
enum { OK, ARGUMENT, LOAD, MEMORY, FAILED };

/* Note the text of an error for this thread, and return its code. */
__attribute__((format(printf, 2, 3))) int refuse(int code, const char* format, ...);
int no_memory(const char* function);
/* The text of this thread's last error; empty if there was none. */
const char* error_text(void);

/* ---- checksum.c ---- */

/* The checksum of bytes, whose beginning has the checksum `before`; 0 if there is none. */
uint32_t checksum(uint32_t before, const void* bytes, size_t count);

/* ---- files.c ---- */

/* The path of a file of the package, or of what lies beside it, so many directories up. The caller
 * frees it; NULL if there is no memory.
 */
char* package_path(const char* name, int up);

/* Open a file, and make sure that it is the one that was built; -1, with an error noted, if not. */
int open_checked(const char* path, const File* expected);

/* The mapped weights, for the life of the process; for one thread at a time. Not OK, with an error
 * noted, if that fails. */
int map_weights(char** bytes);

/* ---- arguments.c ---- */

enum { MAX_RANK = 64 };

/* The memory of an input. */
typedef struct {
  const char* start;
  int64_t bytes;
} Memory;

/* Whether sizes are those that a method takes; a code with an error of a function noted if not. */
int check_dims(const Method* method, const char* function, const int64_t* dims);
/* The sizes and strides of an input in the caller's memory; a code with an error noted if it cannot
 * be there. sizes, strides: room for MAX_RANK. */
int place_input(const Method* method, const char* function, size_t index, const void* data,
                const int64_t* dims, int64_t* sizes, int64_t* strides, Memory* memory);

/* ---- state.c ---- */

/* Write what the state of a method is before the first call, to the memory of each buffer. Its
 * model is open. */
int begin_state(const Method* method, const char* function, void* const* data, const int64_t* dims);

/* ---- model.c ---- */

typedef struct Model Model;

typedef struct {
  void* data;           /* in C order */
  const int64_t* sizes; /* as long as the results */
} Result;

typedef struct Results Results;

int open_model(const Table* table, Model** opened, int runners, int threads);
void close_model(Model* model);

/* Run a method.
 *
 * data: the memory of each input. dims: the size of each dimension.
 * results: gets what free_results() takes. Returns OK, or a code with an error noted.
 */
int run_model(Model* model, size_t method, const void* const* data, const int64_t* dims,
              Results** results);
Result result(const Results* results, size_t i);
void free_results(Results* results);

int use_threads(const char* function, int count);

/* ---- conditions.c: arithmetic as Python has it ---- */

typedef __int128 Whole;

Whole floor_divided(Whole a, Whole b, bool* failed);
Whole modulo(Whole a, Whole b, bool* failed);
Whole power(Whole base, Whole exponent, bool* failed);
Whole least(Whole a, Whole b);
Whole largest(Whole a, Whole b);
double divided(double a, double b, bool* failed);
double rest(double a, double b, bool* failed);
Whole whole(double value, bool* failed);          /* of a number without a fraction */
double finite_number(double value, bool* failed); /* what Python raises an error for fails */

#endif
