// What newer C libraries have and older ones do not, so that a library runs with both. It is linked
// where the headers or the compiler's own libraries of the build call it (steps/older_glibc.py).

#include <dlfcn.h>
#include <link.h>

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

// ---- 2.29: logarithms whose NaN for a negative number has the sign that the CPU gives ----

// The linker calls these for `log` and `log2`, and the older function by the other name
// (`--wrap=log`). Both compute the same but for that sign.
extern "C" {
double __real_log(double);
double __real_log2(double);
double __wrap_log(double x) { return x < 0 ? (x - x) / (x - x) : __real_log(x); }
double __wrap_log2(double x) { return x < 0 ? (x - x) / (x - x) : __real_log2(x); }
}

extern "C" {

// ---- 2.32: whether the process has one thread; the C++ library counts references by it ----

char __libc_single_threaded = 0;  // it may have several: counts are atomic

// ---- 2.38: numbers in C23's form; what they read here are decimals ----

long plain_strtol(const char*, char**, int) __asm__("strtol");
unsigned long plain_strtoul(const char*, char**, int) __asm__("strtoul");
long long plain_strtoll(const char*, char**, int) __asm__("strtoll");
unsigned long long plain_strtoull(const char*, char**, int) __asm__("strtoull");
int plain_vsscanf(const char*, const char*, va_list) __asm__("__isoc99_vsscanf");
int plain_vfscanf(FILE*, const char*, va_list) __asm__("__isoc99_vfscanf");

long __isoc23_strtol(const char* text, char** end, int base) {
  return plain_strtol(text, end, base);
}
unsigned long __isoc23_strtoul(const char* text, char** end, int base) {
  return plain_strtoul(text, end, base);
}
long long __isoc23_strtoll(const char* text, char** end, int base) {
  return plain_strtoll(text, end, base);
}
unsigned long long __isoc23_strtoull(const char* text, char** end, int base) {
  return plain_strtoull(text, end, base);
}
int __isoc23_sscanf(const char* text, const char* format, ...) {
  va_list values;
  va_start(values, format);
  int count = plain_vsscanf(text, format, values);
  va_end(values);
  return count;
}
int __isoc23_fscanf(FILE* file, const char* format, ...) {
  va_list values;
  va_start(values, format);
  int count = plain_vfscanf(file, format, values);
  va_end(values);
  return count;
}

}  // extern "C"

// ---- 2.35: where the tables lie by which exceptions unwind the stack ----

#ifdef DLFO_STRUCT_HAS_EH_DBASE
namespace {

struct Search {
  uintptr_t address;
  dl_find_object* found;
};

int holds(dl_phdr_info* object, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  uintptr_t first = UINTPTR_MAX, last = 0, tables = 0;
  bool inside = false;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const auto& part = object->dlpi_phdr[i];
    uintptr_t start = object->dlpi_addr + part.p_vaddr, end = start + part.p_memsz;
    if (part.p_type == PT_GNU_EH_FRAME) tables = start;
    if (part.p_type != PT_LOAD) continue;
    inside |= start <= search->address && search->address < end;
    if (start < first) first = start;
    if (end > last) last = end;
  }
  if (!inside || !tables) return 0;
  *search->found = {};
  search->found->dlfo_map_start = reinterpret_cast<void*>(first);
  search->found->dlfo_map_end = reinterpret_cast<void*>(last);
  search->found->dlfo_eh_frame = reinterpret_cast<void*>(tables);
  return 1;
}

}  // namespace

extern "C" int _dl_find_object(void* address, dl_find_object* found) noexcept {
  Search search{reinterpret_cast<uintptr_t>(address), found};
  return dl_iterate_phdr(holds, &search) ? 0 : -1;
}
#endif
