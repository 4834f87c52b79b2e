// Kinds of dtypes, and the C++ types of their elements.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <type_traits>

#include "tensor.h"

namespace aotbuild::standalone {

inline bool is_real(int32_t dtype) {
  return dtype == kHalf || dtype == kFloat || dtype == kDouble || dtype == kBFloat16;
}
inline bool is_complex(int32_t dtype) { return dtype >= kComplexHalf && dtype <= kComplexDouble; }

// What a value of 16 bits is computed with, and any other one as it is.
template <typename T>
constexpr bool is_small = std::is_same_v<T, c10::Half> || std::is_same_v<T, c10::BFloat16>;
template <typename T>
using Computed = std::conditional_t<is_small<T>, float, T>;

// Each calls `use` with a value of the C++ type of a dtype; false where it is of another kind.
template <typename F>
bool with_integer(int32_t dtype, F&& use) {
  switch (dtype) {
    case kUInt8:
      return use(uint8_t()), true;
    case kInt8:
      return use(int8_t()), true;
    case kInt16:
      return use(int16_t()), true;
    case kInt32:
      return use(int32_t()), true;
    case kInt64:
      return use(int64_t()), true;
  }
  return false;
}
template <typename F>
bool with_real(int32_t dtype, F&& use) {
  switch (dtype) {
    case kHalf:
      return use(c10::Half()), true;
    case kBFloat16:
      return use(c10::BFloat16()), true;
    case kFloat:
      return use(float()), true;
    case kDouble:
      return use(double()), true;
  }
  return false;
}

}  // namespace aotbuild::standalone
