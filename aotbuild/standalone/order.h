// Values as unsigned numbers of the same order, so that one piece of code orders all dtypes.
//
// Equal values have equal keys: 0.0 and -0.0, and all NaNs, which are larger than any number.
#pragma once

#include "tensor.h"

namespace aotbuild::standalone {

enum class Order { up, down };  // down: larger values have smaller keys

// A value of up to four bytes, with its position in the lower half: one number holds both.
using Narrow = uint64_t;
// A value of eight bytes, or one of a row with more than 2^32 elements.
struct Wide {
  uint64_t key;
  int64_t position;
};

inline uint64_t key_of(Narrow item) { return item >> 32; }
inline uint64_t key_of(const Wide& item) { return item.key; }
inline int64_t position_of(Narrow item) { return static_cast<uint32_t>(item); }
inline int64_t position_of(const Wide& item) { return item.position; }

bool has_order(int32_t dtype);  // neither complex nor of eight bits with an exponent
// The key of NaN, in ascending order.
inline uint64_t nan_key(const Tensor* tensor) {
  return tensor->itemsize == 8 ? ~uint64_t{0} : 0xFFFFFFFF;
}
inline bool needs_wide(const Tensor* tensor, int64_t length) {
  return tensor->itemsize > 4 || length > 0xFFFFFFFF;
}

// The values of a row, with their positions.
void load(const Tensor* tensor, int64_t offset, int64_t stride, int64_t count, Order order,
          Narrow* items);
void load(const Tensor* tensor, int64_t offset, int64_t stride, int64_t count, Order order,
          Wide* items);

}  // namespace aotbuild::standalone
