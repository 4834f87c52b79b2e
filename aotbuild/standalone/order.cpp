// Values as unsigned numbers of the same order.

#include "order.h"

#include <stdexcept>
#include <type_traits>

#include "dtypes.h"

namespace aotbuild::standalone {
namespace {

// The bits of a float, and where its exponent ends.
template <typename Bits, int kFraction>
struct Float {
  Bits bits;
};
using Half = Float<uint16_t, 10>;
using BFloat16 = Float<uint16_t, 7>;
using Single = Float<uint32_t, 23>;
using Double = Float<uint64_t, 52>;

// A key of 32 bits, or of 64 for values of eight bytes.
template <typename T>
using Key = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <typename Bits, int kFraction>
Key<Bits> key(Float<Bits, kFraction> value, Key<Bits> flip, Key<Bits> nan) {
  using K = Key<Bits>;
  constexpr K sign = K{1} << (8 * sizeof(Bits) - 1);
  constexpr K infinity = sign - (K{1} << kFraction);
  K bits = value.bits, size = bits & (sign - 1);
  bool below = bits > sign;  // -0.0 is not
  K ordered = below ? ~bits & (2 * sign - 1) : size | sign;
  return size > infinity ? nan : ordered ^ flip;
}

template <typename T>
Key<T> key(T value, Key<T> flip, Key<T>) {
  using Bits = std::make_unsigned_t<T>;
  Bits bits = static_cast<Bits>(value);
  // With the sign turned, negative numbers come first.
  if constexpr (std::is_signed_v<T>) bits ^= static_cast<Bits>(Bits{1} << (8 * sizeof(T) - 1));
  return static_cast<Key<T>>(bits) ^ flip;
}

void put(Narrow& item, uint64_t key, int64_t position) {
  item = key << 32 | static_cast<uint64_t>(position);
}
void put(Wide& item, uint64_t key, int64_t position) { item = {key, position}; }

template <typename T, typename Item>
void load_as(const Tensor* tensor, int64_t offset, int64_t stride, int64_t count, Order order,
             Item* items) {
  const T* values = tensor->as<T>() + offset;
  const Key<T> all = ~Key<T>{0};
  const Key<T> flip = order == Order::up ? 0 : all;
  const Key<T> nan = ~flip;
  if constexpr (sizeof(Key<T>) * 2 > sizeof(Item)) {
    return;  // narrow items do not hold such values
  } else if (stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) put(items[i], key(values[i], flip, nan), i);
  } else {
    for (int64_t i = 0; i < count; i++) put(items[i], key(values[i * stride], flip, nan), i);
  }
}

template <typename Item>
void load_any(const Tensor* tensor, int64_t offset, int64_t stride, int64_t count, Order order,
              Item* items) {
  switch (tensor->dtype) {
    case kUInt8:
    case kBool:
      return load_as<uint8_t>(tensor, offset, stride, count, order, items);
    case kInt8:
      return load_as<int8_t>(tensor, offset, stride, count, order, items);
    case kInt16:
      return load_as<int16_t>(tensor, offset, stride, count, order, items);
    case kInt32:
      return load_as<int32_t>(tensor, offset, stride, count, order, items);
    case kInt64:
      return load_as<int64_t>(tensor, offset, stride, count, order, items);
    case kUInt16:
      return load_as<uint16_t>(tensor, offset, stride, count, order, items);
    case kUInt32:
      return load_as<uint32_t>(tensor, offset, stride, count, order, items);
    case kUInt64:
      return load_as<uint64_t>(tensor, offset, stride, count, order, items);
    case kHalf:
      return load_as<Half>(tensor, offset, stride, count, order, items);
    case kBFloat16:
      return load_as<BFloat16>(tensor, offset, stride, count, order, items);
    case kFloat:
      return load_as<Single>(tensor, offset, stride, count, order, items);
    case kDouble:
      return load_as<Double>(tensor, offset, stride, count, order, items);
  }
  throw std::runtime_error("values of this dtype have no order");
}

}  // namespace

bool has_order(int32_t dtype) {
  switch (dtype) {
    case kUInt8:
    case kBool:
    case kInt8:
    case kInt16:
    case kInt32:
    case kInt64:
    case kUInt16:
    case kUInt32:
    case kUInt64:
      return true;
  }
  return is_real(dtype);
}

void load(const Tensor* tensor, int64_t offset, int64_t stride, int64_t count, Order order,
          Narrow* items) {
  load_any(tensor, offset, stride, count, order, items);
}
void load(const Tensor* tensor, int64_t offset, int64_t stride, int64_t count, Order order,
          Wide* items) {
  load_any(tensor, offset, stride, count, order, items);
}

}  // namespace aotbuild::standalone
