// Operators that work on each element: their dtypes, and where their results lie.
#pragma once

#include <cstdint>
#include <vector>

#include "dtypes.h"
#include "tensor.h"

namespace aotbuild::standalone {

// The dtype of a result, as torch's type promotion has it: a tensor without dimensions counts only
// where its kind of number is the higher one.
int32_t common_dtype(int32_t a, int32_t b);  // of values of both
int32_t promoted(const Tensor* a, const Tensor* b);
int32_t promoted(int32_t dtype, double number);  // a whole number counts as an integer

// The operands of one operator, and its result, over which one loop can run.
class Elements {
 public:
  // The sizes of the result are those that the operands broadcast to; its strides follow theirs.
  Elements(const std::vector<const Tensor*>& operands, int32_t result);
  ~Elements();
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;

  // Element i lies at i * step(k) of values<T>(k), once it is of the dtype.
  void convert(int operand, int32_t dtype);
  template <typename T>
  const T* values(int operand) const {
    return used_[operand]->as<T>();
  }
  int64_t step(int operand) const { return used_[operand]->numel == 1 ? 0 : 1; }

  template <typename T>
  T* results() const {
    return made_->as<T>();
  }
  int64_t count() const { return made_->numel; }
  Tensor* take() { return made_.take(); }

 private:
  std::vector<int64_t> sizes_;
  std::vector<int> order_;  // of the dimensions, by the strides of the result
  std::vector<const Tensor*> operands_;
  std::vector<Tensor*> used_;
  Owned made_;
};

}  // namespace aotbuild::standalone
