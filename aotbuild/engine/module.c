/* The extension module: its types and functions, and the features of the CPU. */
#include "engine.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Where CPUID has each feature, by the names of torch.cpu.get_capabilities(). */
typedef struct {
  const char* name;
  unsigned leaf;
  int word; /* 0 to 3: eax, ebx, ecx, edx */
  unsigned bit;
  uint64_t saved; /* bits of XCR0: the registers that the operating system has to save for it */
} Feature;

enum { AVX = 6, AVX512 = 0xe6 };

static const Feature FEATURES[] = {
    {"sse3", 1, 2, 0, 0},
    {"ssse3", 1, 2, 9, 0},
    {"sse4_1", 1, 2, 19, 0},
    {"sse4_2", 1, 2, 20, 0},
    {"popcnt", 1, 2, 23, 0},
    {"fma3", 1, 2, 12, AVX},
    {"avx", 1, 2, 28, AVX},
    {"f16c", 1, 2, 29, AVX},
    {"bmi", 7, 1, 3, 0},
    {"avx2", 7, 1, 5, AVX},
    {"bmi2", 7, 1, 8, 0},
    {"avx512_f", 7, 1, 16, AVX512},
    {"avx512_dq", 7, 1, 17, AVX512},
    {"avx512_cd", 7, 1, 28, AVX512},
    {"avx512_bw", 7, 1, 30, AVX512},
    {"avx512_vl", 7, 1, 31, AVX512},
    {"lzcnt", 0x80000001, 2, 5, 0},
};

/* Whether the CPU has a feature, and the operating system saves its registers. */
static bool has(const Feature* feature, uint64_t saved) {
  unsigned words[4] = {0};
  if (!__get_cpuid_count(feature->leaf, 0, &words[0], &words[1], &words[2], &words[3]))
    return false;
  return words[feature->word] >> feature->bit & 1 && (saved & feature->saved) == feature->saved;
}

/* XCR0: the registers that the operating system saves. */
static uint64_t saved_registers(void) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* no XGETBV */
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (uint64_t)d << 32 | a;
}

static PyObject* cpu_features(PyObject* module, PyObject* none) {
  (void)module, (void)none;
  uint64_t saved = saved_registers();
  PyObject* features = PyDict_New();
  for (size_t i = 0; features && i < sizeof FEATURES / sizeof *FEATURES; i++) {
    PyObject* answer = has(&FEATURES[i], saved) ? Py_True : Py_False;
    if (PyDict_SetItemString(features, FEATURES[i].name, answer)) Py_CLEAR(features);
  }
  return features;
}
#else
static PyObject* cpu_features(PyObject* module, PyObject* none) {
  (void)module, (void)none;
  return PyDict_New(); /* no level of this architecture needs any */
}
#endif

static PyMethodDef functions[] = {
    {"missing", missing, METH_VARARGS, "Those of the names that torch's library does not have."},
    {"view", view_of, METH_VARARGS, "An array over a part of a buffer."},
    {"laid_out", laid_out, METH_VARARGS, "A copy of a buffer in an order of dimensions."},
    {"stay_awake", stay_awake, METH_VARARGS,
     "Use the core until a byte is set, or for some seconds."},
    {"cpu_features", cpu_features, METH_NOARGS,
     "Whether this CPU has each feature that levels need."},
    {NULL, NULL, 0, NULL},
};

static int add(PyObject* module, const char* name, PyType_Spec* spec) {
  PyObject* type = PyType_FromSpec(spec);
  if (!type) return -1;
  int failed = PyModule_AddObjectRef(module, name, type);
  Py_DECREF(type);
  return failed;
}

/* Add the types to the module. */
static int fill(PyObject* module) {
  bool failed = add(module, "Engine", &engine_spec) || add(module, "Model", &model_spec) ||
                add(module, "Array", &array_spec) || keep_array_type(module);
  return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_engine",
    .m_doc = "Runs compiled models without holding the interpreter's lock.",
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&module); }
