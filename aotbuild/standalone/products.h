// Products of matrices, and the parts they are made of.
// Defined in products.cpp and multiply.cpp.
#pragma once

#include <cstdint>

#include "lanes.h"
#include "tensor.h"

namespace aotbuild::standalone {

// A matrix in memory, with the distances of its rows and of its columns in elements.
template <typename T>
struct Matrix {
  T* data;
  int64_t row, column;

  T* at(int64_t i, int64_t j) const { return data + i * row + j * column; }
  Matrix from(int64_t i, int64_t j) const { return {at(i, j), row, column}; }
  Matrix transposed() const { return {data, column, row}; }
  operator Matrix<const T>() const { return {data, row, column}; }
};

// A block of so many rows and columns is kept in registers.
template <typename T>
constexpr int kRows = std::is_integral_v<T> ? 4
                      : kVectorBytes == 64  ? 14
                                            : 6;
#if defined(__aarch64__)
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif
template <typename T>
constexpr int kWidth = kVectors * kLanes<T>;

// So many terms of the sums are added at once, for so many columns: that stays in the caches.
template <typename T>
constexpr int64_t kTerms = 2048 / sizeof(T);
constexpr int64_t kColumns = 192;

template <typename T>
constexpr int64_t kLine = 64 / sizeof(T);

// What products need beside their operands, for each thread. Its size does not depend on them.
template <typename T>
class Scratch {
 public:
  static constexpr int64_t kSize = kTerms<T> * (kColumns + kWidth<T>)+  // of b
                                   (kTerms<T> + kLine<T>)*kRows<T>;     // of a
  explicit Scratch(int64_t threads) : storage_(allocate(threads * kSize * sizeof(T))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { release(storage_); }
  T* of(int64_t thread) const { return reinterpret_cast<T*>(storage_->data) + thread * kSize; }

 private:
  Storage* storage_;
};

// The functions below are there for float, double, int32_t and int64_t; integers wrap.

// c = alpha a b, or c + alpha a b where `add` is set, with a [m, k] and b [k, n], by one thread.
template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, T alpha, Matrix<const T> a, Matrix<const T> b,
              bool add, Matrix<T> c, T* scratch);
// The same by several threads where there is enough to do.
template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, T alpha, Matrix<const T> a, Matrix<const T> b,
              bool add, Matrix<T> c);
// c = init + a b, or c + a b where `init` is null, for at most kTerms<T> terms. `init` has a number
// for each row. The rows of a are contiguous, and b lies in panels,
// [ceil(n / kWidth<T>)][k][kWidth<T>].
template <typename T>
void multiply_panels(int64_t m, int64_t n, int64_t k, const T* a, int64_t row, const T* panels,
                     const T* init, Matrix<T> c);

}  // namespace aotbuild::standalone
