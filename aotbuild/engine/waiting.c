/* Waiting for another thread without giving up the core. */
#include "engine.h"

#include <time.h>

/* What one thread waits for, and another one sets. */
typedef struct {
  PyObject_HEAD char set;
} Signal;

enum { LOOKS = 64 }; /* between two looks at the clock */

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static bool is_set(const Signal* self) { return __atomic_load_n(&self->set, __ATOMIC_RELAXED); }

/* wait(seconds): use the core, without the interpreter's lock, until this is set, or for that long.
 */
static PyObject* signal_wait(Signal* self, PyObject* given) {
  double seconds = PyFloat_AsDouble(given);
  if (seconds == -1 && PyErr_Occurred()) return NULL;
  Py_BEGIN_ALLOW_THREADS;
  for (double end = now() + seconds; !is_set(self) && now() < end;)
    for (int i = 0; i < LOOKS && !is_set(self); i++) pause_briefly();
  Py_END_ALLOW_THREADS;
  return PyBool_FromLong(is_set(self));
}

static PyObject* signal_set(Signal* self, PyObject* none) {
  (void)none;
  __atomic_store_n(&self->set, 1, __ATOMIC_RELAXED);
  Py_RETURN_NONE;
}

static void signal_dealloc(Signal* self) {
  PyTypeObject* type = Py_TYPE((PyObject*)self);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef signal_methods[] = {
    {"wait", (PyCFunction)signal_wait, METH_O,
     "Use the core until this is set, or for some seconds; whether it is set."},
    {"set", (PyCFunction)signal_set, METH_NOARGS, "Let a thread that waits go on."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot signal_slots[] = {
    {Py_tp_doc, "What a thread waits for that does not give up its core."},
    {Py_tp_dealloc, signal_dealloc},
    {Py_tp_methods, signal_methods},
    {0, NULL},
};

PyType_Spec signal_spec = {
    .name = "_engine.Signal",
    .basicsize = sizeof(Signal),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = signal_slots,
};
