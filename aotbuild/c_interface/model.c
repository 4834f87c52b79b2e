/* Models: opened, called from any thread, closed. */
#include "interface.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_RUNNERS = 64, MAX_THREADS = 256 };

/* A container, which runs one call at a time. AOTInductor's own queue of them is not used: when a
 * call fails, it does not wake the calls that wait. */
typedef struct {
  void* container;
  pthread_mutex_t lock;
} Runner;

/* A method with the library that runs it. */
typedef struct {
  const Method* method;
  Torch torch;
  Library library;
  int32_t dtypes[DTYPE_COUNT];
  Constant* weights; /* NULL until all are made */
  size_t weight_count;
  Runner runners[MAX_RUNNERS]; /* they share the weights */
  int runner_count;
  unsigned turn;
} Loaded;

struct Model {
  const Table* table;
  bool open;
  int runners; /* that calls may use */
  int threads; /* of a call; 0: those of the thread that calls */
  Model* next;
  Loaded methods[];
};

/* Held while a model is opened or closed, and while the process forks. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
/* All that were opened. A model that is closed waits for the next one who opens it: AOTInductor's
 * containers do not free all that they have, nor could the code of a library be unloaded. */
static Model* models;
static int threads_of_all;

/* ---- Forks: another thread of the parent may have held the lock of a runner ---- */

static void before_fork(void) { pthread_mutex_lock(&opening); }
static void after_fork(void) { pthread_mutex_unlock(&opening); }

static void after_fork_in_child(void) {
  for (Model* model = models; model; model = model->next)
    for (size_t i = 0; i < model->table->method_count; i++)
      for (int k = 0; k < model->methods[i].runner_count; k++)
        pthread_mutex_init(&model->methods[i].runners[k].lock, NULL);
  pthread_mutex_unlock(&opening);
}

static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

/* ---- Opening ---- */

/* Note the error of a library. */
static int failed(const Loaded* loaded, const char* function, int code) {
  const char* message = NULL;
  if (loaded->library.last_error) loaded->library.last_error(&message);
  if (message && strstr(message, "std::bad_alloc")) return no_memory(function);
  return refuse(code, "%s(): %s", function,
                message && *message ? message : "the compiled code failed");
}

/* A feature that a variant needs and this CPU lacks; NULL if it has all. */
static const char* lacking(const Variant* variant) {
  for (const char* const* feature = variant->features; *feature; feature++)
    if (!cpu_has(*feature)) return *feature;
  return NULL;
}

/* Add to a text, as far as there is room. */
static void append(char* text, size_t room, const char* first, const char* second) {
  size_t length = strlen(text);
  snprintf(text + length, room - length, "%s%s", first, second);
}

/* The best variant that this CPU can run, or that AOTBUILD_CPU_LEVEL asks for; NULL with an error
 * noted. */
static const Variant* choose(const Method* method) {
  const char* level = getenv("AOTBUILD_CPU_LEVEL");
  char levels[256] = "", reasons[1024] = "";
  bool known = false;
  for (size_t i = 0; i < method->variant_count; i++) {
    const Variant* variant = &method->variants[i];
    append(levels, sizeof levels, i ? ", " : "", variant->level);
    if (level && *level && strcmp(level, variant->level)) continue;
    const char* feature = lacking(variant);
    if (!feature) return variant;
    known = true;
    append(reasons, sizeof reasons, "\n  cpu-", variant->level);
    append(reasons, sizeof reasons, ": this CPU lacks ", feature);
  }
  if (level && *level && !known)
    refuse(LOAD,
           "AOTBUILD_CPU_LEVEL=%s: %s was compiled for %s; set it to one of these, or unset it",
           level, method->name, levels);
  else
    refuse(LOAD,
           "no variant of %s can run here:%s\n"
           "Use another machine, or build the package for this one",
           method->name, reasons);
  return NULL;
}

/* Open the library of a variant, if it is the one that was built. */
static int open_library(Loaded* loaded, const Variant* variant) {
  char* path = package_path(variant->library.name, 0);
  if (!path) return no_memory(loaded->method->name);
  int file = open_checked(path, &variant->library);
  void* opened = NULL;
  if (file >= 0) {
    close(file);
    opened = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* and never closed: its threads stay */
    const char* missing = NULL;
    if (!opened)
      refuse(LOAD, "%s cannot be loaded: %s", path, dlerror());
    else if ((missing = find_torch(NULL, opened, &loaded->torch, loaded->dtypes)) ||
             (missing = find_library(opened, &loaded->library)))
      opened = NULL, refuse(LOAD, "%s cannot be loaded: it has no %s", path, missing);
  }
  free(path);
  return opened ? OK : LOAD;
}

/* Make the tensors of the weights, over the mapped file. */
static int make_weights(Loaded* loaded, const Variant* variant) {
  char* bytes;
  int code = map_weights(&bytes);
  if (code) return code;
  loaded->weights = calloc(variant->weight_count + 1, sizeof *loaded->weights);
  if (!loaded->weights) return no_memory(loaded->method->name);
  for (size_t i = 0; i < variant->weight_count; i++) {
    const Weight* weight = &variant->weights[i];
    Constant* made = &loaded->weights[i];
    int dtype = dtype_index(weight->code, weight->bits);
    made->name = weight->name;
    if (dtype < 0 ||
        loaded->torch.from_blob(bytes + weight->offset, weight->ndim, weight->sizes,
                                weight->strides, 0, loaded->dtypes[dtype], 0, 0, &made->handle))
      return refuse(LOAD, "%s: the weight %s cannot be mapped", loaded->method->name, weight->name);
    loaded->weight_count++;
  }
  return OK;
}

static int add_runner(Loaded* loaded, const char* function) {
  Runner* runner = &loaded->runners[loaded->runner_count];
  const Library* library = &loaded->library;
  if (library->create(&runner->container, 1, "cpu", NULL)) return failed(loaded, function, LOAD);
  if (library->set_constants(runner->container, loaded->weights, loaded->weight_count, false,
                             true)) {
    int code = failed(loaded, function, LOAD);
    if (library->destroy) library->destroy(runner->container);
    return code;
  }
  pthread_mutex_init(&runner->lock, NULL);
  loaded->runner_count++;
  return OK;
}

/* Whether a library has as many inputs and outputs as the tables say. */
static bool agrees(const Loaded* loaded) {
  size_t inputs = 0, outputs = 0;
  void* container = loaded->runners[0].container;
  return !loaded->library.inputs(container, &inputs) &&
         !loaded->library.outputs(container, &outputs) && inputs == loaded->method->input_count &&
         outputs == loaded->method->output_count;
}

static int load(Loaded* loaded, const Method* method, const char* function) {
  loaded->method = method;
  const Variant* variant = choose(method);
  if (!variant) return LOAD;
  int code = open_library(loaded, variant);
  if (!code) code = make_weights(loaded, variant);
  if (!code) code = add_runner(loaded, function);
  if (!code && !agrees(loaded))
    code = refuse(LOAD, "%s: %s is not the library of this method; install the package again",
                  method->name, variant->library.name);
  if (!code && threads_of_all && loaded->torch.use_threads)
    loaded->torch.use_threads(threads_of_all);
  return code;
}

static void unload(Loaded* loaded) {
  for (int i = 0; i < loaded->runner_count; i++) {
    if (loaded->library.destroy) loaded->library.destroy(loaded->runners[i].container);
    pthread_mutex_destroy(&loaded->runners[i].lock);
  }
  for (size_t i = 0; i < loaded->weight_count; i++)
    loaded->torch.release(loaded->weights[i].handle);
  free(loaded->weights);
}

/* A model that is closed; a new one where there is none. NULL, with a
 * code and an error noted, if that fails. */
static Model* find_model(const Table* table, int* code) {
  for (Model* model = models; model; model = model->next)
    if (model->table == table && !model->open) return model;
  Model* model = calloc(1, sizeof *model + table->method_count * sizeof *model->methods);
  *code = model ? OK : no_memory(table->open);
  if (!model) return NULL;
  model->table = table;
  for (size_t i = 0; !*code && i < table->method_count; i++)
    *code = load(&model->methods[i], &table->methods[i], table->open);
  if (*code) {
    for (size_t i = 0; i < table->method_count; i++) unload(&model->methods[i]);
    free(model);
    return NULL;
  }
  model->next = models;
  models = model;
  return model;
}

int open_model(const Table* table, Model** opened, int runners, int threads) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (!opened) return refuse(ARGUMENT, "%s(): model is NULL", table->open);
  *opened = NULL;
  if (runners < 1 || runners > MAX_RUNNERS)
    return refuse(ARGUMENT, "%s(): runners is %d, expected 1 to %d", table->open, runners,
                  MAX_RUNNERS);
  if (threads < 0 || threads > MAX_THREADS)
    return refuse(ARGUMENT, "%s(): threads is %d, expected 0 to %d", table->open, threads,
                  MAX_THREADS);
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&opening);
  int code = OK;
  Model* model = find_model(table, &code);
  for (size_t i = 0; !code && i < table->method_count; i++)
    while (!code && model->methods[i].runner_count < runners)
      code = add_runner(&model->methods[i], table->open);
  if (!code) {
    model->open = true;
    model->runners = runners;
    model->threads = threads;
    *opened = model;
  }
  pthread_mutex_unlock(&opening);
  return code;
}

void close_model(Model* model) {
  if (!model) return;
  pthread_mutex_lock(&opening);
  model->open = false;
  pthread_mutex_unlock(&opening);
}

int use_threads(const char* function, int count) {
  if (count < 1 || count > MAX_THREADS)
    return refuse(ARGUMENT, "%s(): count is %d, expected 1 to %d", function, count, MAX_THREADS);
  pthread_mutex_lock(&opening);
  threads_of_all = count;
  for (Model* model = models; model; model = model->next)
    for (size_t i = 0; i < model->table->method_count; i++)
      if (model->methods[i].torch.use_threads) model->methods[i].torch.use_threads(count);
  pthread_mutex_unlock(&opening);
  return OK;
}

/* Make the tensor of an input, over the memory of the caller. */
static int make_input(const Loaded* loaded, size_t index, const void* data, const int64_t* dims,
                      Memory* memory, Handle* handle) {
  const Method* method = loaded->method;
  const Input* input = &method->inputs[index];
  int64_t sizes[MAX_RANK], strides[MAX_RANK];
  int code = place_input(method, method->function, index, data, dims, sizes, strides, memory);
  if (code) return code;
  if (loaded->torch.from_blob((void*)(uintptr_t)data, input->ndim, sizes, strides, 0,
                              loaded->dtypes[dtype_index(input->code, input->bits)], 0, 0, handle))
    return no_memory(method->function);
  return OK;
}

/* ---- Results ---- */

typedef struct {
  Handle handle; /* NULL: an output before has the same */
  void* copy;    /* of what does not lie in C order, or in memory of the caller */
  Result result;
} Item;

struct Results {
  int (*release)(Handle);
  size_t count;
  Item items[];
};

Result result(const Results* results, size_t i) { return results->items[i].result; }

void free_results(Results* results) {
  if (!results) return;
  for (size_t i = 0; i < results->count; i++) {
    if (results->items[i].handle) results->release(results->items[i].handle);
    free(results->items[i].copy);
  }
  free(results);
}

static bool in_order(int64_t ndim, const int64_t* sizes, const int64_t* strides) {
  int64_t expected = 1;
  for (int64_t i = ndim - 1; i >= 0; expected *= sizes[i--])
    if (sizes[i] != 1 && strides[i] != expected) return false;
  return true;
}

/* Copy elements into C order; returns where the next one goes. */
static char* copy_in_order(char* to, const char* from, int64_t ndim, const int64_t* sizes,
                           const int64_t* strides, size_t size) {
  if (!ndim) return memcpy(to, from, size), to + size;
  for (int64_t i = 0; i < *sizes; i++)
    to = copy_in_order(to, from + i * *strides * (int64_t)size, ndim - 1, sizes + 1, strides + 1,
                       size);
  return to;
}

/* What a caller sees of an output. */
static int describe(const Loaded* loaded, const Memory* inputs, Item* item) {
  const Torch* torch = &loaded->torch;
  const char* function = loaded->method->function;
  int64_t ndim = 0, *sizes = NULL, *strides = NULL, count = 1;
  int32_t number = 0;
  void* data = NULL;
  int dtype = -1;
  if (!torch->data(item->handle, &data) && !torch->ndim(item->handle, &ndim) &&
      !torch->sizes(item->handle, &sizes) && !torch->strides(item->handle, &strides) &&
      !torch->dtype(item->handle, &number))
    for (int i = 0; i < DTYPE_COUNT && dtype < 0; i++)
      if (loaded->dtypes[i] == number) dtype = i;
  if (dtype < 0)
    return refuse(FAILED, "%s(): an output has a kind of tensor that cannot be returned", function);
  for (int64_t i = 0; i < ndim; i++) count *= sizes[i];
  bool borrowed = false;
  for (size_t i = 0; i < loaded->method->input_count; i++)
    borrowed |= (char*)data >= inputs[i].start && (char*)data < inputs[i].start + inputs[i].bytes;
  if (count && (borrowed || !in_order(ndim, sizes, strides))) {
    size_t size = DTYPES[dtype].bits / 8;
    item->copy = malloc((size_t)count * size);
    if (!item->copy) return no_memory(function);
    copy_in_order(item->copy, data, ndim, sizes, strides, size);
    data = item->copy;
  }
  item->result = (Result){data, sizes};
  return OK;
}

/* ---- Calls ---- */

/* A runner that no other call uses, locked. */
static Runner* take_runner(Loaded* loaded, int runners) {
  for (int i = 0; i < runners; i++)
    if (!pthread_mutex_trylock(&loaded->runners[i].lock)) return &loaded->runners[i];
  unsigned turn = __atomic_fetch_add(&loaded->turn, 1, __ATOMIC_RELAXED);
  Runner* runner = &loaded->runners[turn % (unsigned)runners];
  pthread_mutex_lock(&runner->lock);
  return runner;
}

/* Run the library; it takes the handles of the inputs over. */
static int run(Loaded* loaded, const Model* model, Handle* inputs, Handle* outputs) {
  const Torch* torch = &loaded->torch;
  int threads = torch->get_threads && torch->set_threads ? model->threads : 0;
  Runner* runner = take_runner(loaded, model->runners);
  int before = threads ? torch->get_threads() : 0;
  if (threads) torch->set_threads(threads);
  int code = OK;
  if (loaded->library.run(runner->container, inputs, loaded->method->input_count, outputs,
                          loaded->method->output_count, NULL, NULL))
    code = failed(loaded, loaded->method->function, FAILED);
  if (threads) torch->set_threads(before);
  pthread_mutex_unlock(&runner->lock);
  return code;
}

/* Room for what a call has in hand. */
typedef struct {
  Memory* memory;
  Handle *inputs, *outputs;
  Results* results;
} Call;

static bool begin(Call* call, size_t inputs, size_t outputs) {
  call->memory = malloc(inputs * sizeof *call->memory + 1);
  call->inputs = malloc((inputs + outputs) * sizeof *call->inputs + 1);
  call->outputs = call->inputs ? call->inputs + inputs : NULL;
  call->results = calloc(1, sizeof *call->results + outputs * sizeof *call->results->items);
  return call->memory && call->inputs && call->results;
}

int run_model(Model* model, size_t index, const void* const* data, const int64_t* dims,
              Results** results) {
  Loaded* loaded = &model->methods[index];
  const Method* method = loaded->method;
  *results = NULL;
  int code = check_dims(method, method->function, dims);
  if (code) return code;
  Call call;
  if (!begin(&call, method->input_count, method->output_count)) code = no_memory(method->function);
  size_t made = 0;
  for (; !code && made < method->input_count; made += !code)
    code = make_input(loaded, made, data[made], dims, &call.memory[made], &call.inputs[made]);
  if (code) {
    while (made--) loaded->torch.release(call.inputs[made]);
  } else {
    code = run(loaded, model, call.inputs, call.outputs);
  }
  if (!code) {
    call.results->release = loaded->torch.release;
    call.results->count = method->output_count;
    for (size_t i = 0; i < method->output_count; i++)
      call.results->items[i].handle = first_output(call.outputs, i) == i ? call.outputs[i] : NULL;
    for (size_t i = 0; !code && i < method->output_count; i++) {
      Item* item = &call.results->items[i];
      if (item->handle)
        code = describe(loaded, call.memory, item);
      else
        item->result = call.results->items[first_output(call.outputs, i)].result;
    }
  }
  free(call.memory);
  free(call.inputs);
  if (code)
    free_results(call.results);
  else
    *results = call.results;
  return code;
}
