// Sleef's functions for vectors of NEON, which torch's vectors call. The header of a torch for
// another architecture, by which libraries for this one can be cross-compiled, does not have them.
#pragma once
#pragma GCC system_header
#include_next <sleef.h>

#if defined(__aarch64__)
#include <arm_neon.h>

extern "C" {
#define AOTBUILD_ONE(name)                                              \
  float32x4_t Sleef_##name##f4_u10(float32x4_t) __attribute__((const)); \
  float64x2_t Sleef_##name##d2_u10(float64x2_t) __attribute__((const));
#define AOTBUILD_TWO(name, error)                                                       \
  float32x4_t Sleef_##name##f4##error(float32x4_t, float32x4_t) __attribute__((const)); \
  float64x2_t Sleef_##name##d2##error(float64x2_t, float64x2_t) __attribute__((const));
AOTBUILD_ONE(acos)
AOTBUILD_ONE(acosh)
AOTBUILD_ONE(asin)
AOTBUILD_ONE(asinh)
AOTBUILD_ONE(atan)
AOTBUILD_ONE(atanh)
AOTBUILD_ONE(cos)
AOTBUILD_ONE(cosh)
AOTBUILD_ONE(erf)
AOTBUILD_ONE(exp)
AOTBUILD_ONE(exp2)
AOTBUILD_ONE(expm1)
AOTBUILD_ONE(lgamma)
AOTBUILD_ONE(log)
AOTBUILD_ONE(log10)
AOTBUILD_ONE(log1p)
AOTBUILD_ONE(log2)
AOTBUILD_ONE(sin)
AOTBUILD_ONE(sinh)
AOTBUILD_ONE(tan)
AOTBUILD_ONE(tanh)
AOTBUILD_TWO(atan2, _u10)
AOTBUILD_TWO(copysign, )
AOTBUILD_TWO(fmod, )
AOTBUILD_TWO(hypot, _u05)
AOTBUILD_TWO(nextafter, )
AOTBUILD_TWO(pow, _u10)
float32x4_t Sleef_erfcf4_u15(float32x4_t) __attribute__((const));
float64x2_t Sleef_erfcd2_u15(float64x2_t) __attribute__((const));
float32x4_t Sleef_sinf4_u35(float32x4_t) __attribute__((const));
float32x4_t Sleef_cosf4_u35(float32x4_t) __attribute__((const));
float64x2_t Sleef_sind2_u35(float64x2_t) __attribute__((const));
float64x2_t Sleef_cosd2_u35(float64x2_t) __attribute__((const));
#undef AOTBUILD_ONE
#undef AOTBUILD_TWO
}
#endif
