/* The features of this CPU. */
#include "library.h"

#include <string.h>

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

/* XCR0: the registers that the operating system saves. */
static uint64_t saved_registers(void) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* no XGETBV */
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (uint64_t)d << 32 | a;
}

static bool has(const Feature* feature) {
  unsigned words[4] = {0};
  if (!__get_cpuid_count(feature->leaf, 0, &words[0], &words[1], &words[2], &words[3]))
    return false;
  return words[feature->word] >> feature->bit & 1 &&
         (saved_registers() & feature->saved) == feature->saved;
}

const char* cpu_feature(size_t i) {
  return i < sizeof FEATURES / sizeof *FEATURES ? FEATURES[i].name : NULL;
}

bool cpu_has(const char* feature) {
  for (size_t i = 0; cpu_feature(i); i++)
    if (!strcmp(cpu_feature(i), feature)) return has(&FEATURES[i]);
  return false;
}
#else
const char* cpu_feature(size_t i) {
  (void)i;
  return NULL; /* no level of this architecture needs any */
}

bool cpu_has(const char* feature) {
  (void)feature;
  return false;
}
#endif
