// Operators that work on each element: their dtypes, and where their results lie.

#include "elementwise.h"

#include "layout.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace aotbuild::standalone {
namespace {

int kind(int32_t dtype) {
  return dtype == kBool ? 0 : is_complex(dtype) ? 3 : is_real(dtype) ? 2 : 1;
}

int32_t real_of(int32_t dtype) {
  switch (dtype) {
    case kComplexHalf:
      return kHalf;
    case kComplexFloat:
      return kFloat;
    case kComplexDouble:
      return kDouble;
  }
  return dtype;
}

int32_t complex_of(int32_t dtype) {
  switch (dtype) {
    case kHalf:
      return kComplexHalf;
    case kDouble:
      return kComplexDouble;
  }
  return kComplexFloat;
}

}  // namespace

int32_t common_dtype(int32_t a, int32_t b) {
  if (a == b) return a;
  if (kind(a) < kind(b)) std::swap(a, b);
  if (kind(a) == 3) {
    int32_t real = kind(b) >= 2 ? common_dtype(real_of(a), real_of(b)) : real_of(a);
    return complex_of(real);
  }
  if (kind(a) > kind(b)) return a;
  if (kind(a) == 2) {
    if (size_of(a) == size_of(b)) return kFloat;  // float16 and bfloat16
    return size_of(a) > size_of(b) ? a : b;
  }
  auto natural = [](int32_t dtype) { return dtype == kUInt8 || dtype >= kUInt16; };
  if (natural(a) && natural(b)) return size_of(a) > size_of(b) ? a : b;
  if (natural(a)) std::swap(a, b);
  if (!natural(b)) return size_of(a) > size_of(b) ? a : b;
  if (b == kUInt8) return a == kInt8 ? static_cast<int32_t>(kInt16) : a;
  throw std::runtime_error("there is no dtype for both signed and large unsigned integers");
}

int32_t promoted(const Tensor* a, const Tensor* b) {
  if (!a->ndim == !b->ndim) return common_dtype(a->dtype, b->dtype);
  int32_t high = a->ndim ? a->dtype : b->dtype, low = a->ndim ? b->dtype : a->dtype;
  if (kind(high) >= kind(low)) return high;
  return kind(high) == 2 ? complex_of(high) : common_dtype(high, low);
}

int32_t promoted(int32_t dtype, double number) {
  bool whole = std::floor(number) == number && std::abs(number) < 1e18;
  if (!whole && kind(dtype) < 2) return kFloat;
  return dtype == kBool ? static_cast<int32_t>(kInt64) : dtype;
}

Elements::Elements(const std::vector<const Tensor*>& operands, int32_t result)
    : operands_(operands), used_(operands.size(), nullptr), made_(nullptr) {
  int ndim = 0;
  for (const Tensor* each : operands) ndim = std::max(ndim, each->ndim);
  sizes_.assign(ndim, 1);
  for (const Tensor* each : operands)
    for (int i = 0; i < each->ndim; i++) {
      int64_t size = each->sizes()[i], &all = sizes_[ndim - each->ndim + i];
      if (size != 1 && all != 1 && size != all)
        throw std::runtime_error("sizes " + std::to_string(all) + " and " + std::to_string(size) +
                                 " do not broadcast");
      if (size != 1) all = size;
    }
  bool plain = true;
  std::vector<Sizes> lists;  // of strides, 0 where an operand is broadcast
  for (const Tensor* each : operands) {
    plain &= each->ndim == ndim && is_contiguous(each) &&
             std::equal(sizes_.begin(), sizes_.end(), each->sizes());
    Sizes strides(ndim, 0);
    for (int i = 0, d = ndim - each->ndim; i < each->ndim; i++, d++)
      if (each->sizes()[i] == sizes_[d]) strides[d] = each->strides()[i];
    lists.push_back(strides);
  }
  if (plain)
    for (int d = ndim - 1; d >= 0; d--) order_.push_back(d);
  else
    order_ = by_stride(sizes_, lists);
  Sizes strides = strides_in_order(sizes_, order_);
  made_.tensor = new_tensor(result, ndim, sizes_.data(), strides.data());
  std::reverse(order_.begin(), order_.end());
}

Elements::~Elements() {
  for (Tensor* each : used_)
    if (each) destroy(each);
}

void Elements::convert(int operand, int32_t dtype) {
  const Tensor* source = operands_[operand];
  int ndim = static_cast<int>(sizes_.size()), missing = ndim - source->ndim;
  std::vector<int64_t> sizes, strides;
  for (int d : order_) {
    int i = d - missing;
    bool single = source->numel == 1;  // stays one
    sizes.push_back(single ? 1 : sizes_[d]);
    strides.push_back(i < 0 || source->sizes()[i] != sizes_[d] ? 0 : source->strides()[i]);
  }
  Owned ordered(tensor_over(share(source->storage), source->offset, source->dtype, ndim,
                            sizes.data(), strides.data()));
  used_[operand] = contiguous(ordered.tensor, dtype);
}

}  // namespace aotbuild::standalone
