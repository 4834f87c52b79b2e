// Numbers of bfloat16: the upper halves of float32, in which they are computed with.
#ifndef AOTBUILD_BFLOAT16_H
#define AOTBUILD_BFLOAT16_H

#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace aotbuild {

// As float32. For either type, so that one text serves both.
AOTBUILD_INLINE float widen(float x) { return x; }
AOTBUILD_INLINE float widen(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// Stores the nearest number of a type; of two, the one whose last bit is 0, as torch rounds.
AOTBUILD_INLINE void store_nearest(float* to, float x) { *to = x; }
AOTBUILD_INLINE void store_nearest(uint16_t* to, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  *to = is_nan ? 0x7fc0 : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

AOTBUILD_INLINE Vec load(const uint16_t* from) {
  typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
  typedef uint32_t Wide __attribute__((vector_size(kLanes * 4)));
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return from_bits((Ints)(__builtin_convertvector(halves, Wide) << 16));
}
AOTBUILD_INLINE Vec load_partial(const uint16_t* from, int64_t count) {
  alignas(64) uint16_t values[kLanes] = {};
  std::memcpy(values, from, sizeof(uint16_t) * count);
  return load(values);
}

}  // namespace aotbuild

#endif
