// Discrete Fourier transforms of many lines of numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace aotbuild::standalone {

// Lines of `length` numbers, and where their transforms go. They may be the same memory. Strides
// and steps are in T: a complex number is two of them.
template <typename T>
struct Signals {
  int64_t length;
  const T* from;
  T* to;
  int64_t from_step, to_step;                     // from a number to the next one of its line
  std::vector<int64_t> sizes;                     // of the dimensions in which the lines lie
  std::vector<int64_t> from_strides, to_strides;  // of these dimensions
  bool real;                                      // numbers are real; gives length / 2 + 1 of them
  bool inverse;                                   // of complex numbers
  T scale;                                        // of the results
};

template <typename T>
void transform(const Signals<T>& lines);  // for float and double

}  // namespace aotbuild::standalone
