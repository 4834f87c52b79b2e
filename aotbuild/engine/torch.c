/* Opening torch's library, without its Python side. */
#define _GNU_SOURCE
#include "engine.h"

#include <dlfcn.h>
#include <string.h>

PyObject* refuse(const char* what) {
  PyErr_Format(PyExc_OSError, "%s", what);
  return NULL;
}

#if defined(__linux__)
#include <link.h>
#include <sys/mman.h>

/* Release the pages that opening a library has read from its file: a third of the memory that torch
 * takes then. They stay in the page cache for later use. Writable segments are left alone.
 */
static int drop_pages(struct dl_phdr_info* info, size_t size, void* opened) {
  (void)size;
  if (info->dlpi_addr != ((struct link_map*)opened)->l_addr) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)* segment = &info->dlpi_phdr[i];
    uintptr_t page = 4096, start = info->dlpi_addr + segment->p_vaddr;
    uintptr_t from = (start + page - 1) / page * page;
    uintptr_t to = (start + segment->p_memsz) / page * page;
    if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) && from < to)
      madvise((void*)from, to - from, MADV_DONTNEED); /* fails where pages are larger: no matter */
  }
  return 1;
}

/* Release the pages of a library that was just opened. */
static void release_pages(void* opened) {
  struct link_map* map = NULL;
  if (!dlinfo(opened, RTLD_DI_LINKMAP, &map) && map) dl_iterate_phdr(drop_pages, map);
}
#else
static void release_pages(void* opened) { (void)opened; }
#endif

void* open_torch(const char* path) {
  PyThreadState* state = PyEval_SaveThread(); /* it takes a while */
  void* opened = dlopen(path, RTLD_NOLOAD | RTLD_LAZY);
  if (!opened) {
    opened = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (opened) release_pages(opened);
  }
  const char* error = opened ? NULL : dlerror();
  PyEval_RestoreThread(state);
  if (!opened) refuse(error);
  return opened;
}

PyObject* interface_version(PyObject* module, PyObject* args) {
  (void)module;
  const char* path;
  if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
  void* torch = open_torch(path);
  if (!torch) return NULL;
  uint64_t (*version)(void);
  void* symbol = dlsym(torch, "aoti_torch_abi_version");
  memcpy(&version, &symbol, sizeof symbol);
  return PyLong_FromUnsignedLongLong(symbol ? version() : 0);
}

PyObject* missing(PyObject* module, PyObject* args) {
  (void)module;
  const char* path;
  PyObject* names;
  if (!PyArg_ParseTuple(args, "sO!", &path, &PyList_Type, &names)) return NULL;
  void* torch = open_torch(path);
  if (!torch) return NULL;
  PyObject* absent = PyList_New(0);
  for (Py_ssize_t i = 0; absent && i < PyList_Size(names); i++) {
    PyObject* name = PyList_GetItem(names, i);
    const char* text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (!text || (!dlsym(torch, text) && PyList_Append(absent, name))) Py_CLEAR(absent);
  }
  return absent;
}
