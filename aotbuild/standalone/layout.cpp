// Dimensions of tensors: checked, ordered, and broadcast.

#include "layout.h"
#include "threads.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace aotbuild::standalone {

std::string name_of(int32_t dtype) {
  switch (dtype) {
    case kUInt8:
      return "Byte";
    case kInt8:
      return "Char";
    case kInt16:
      return "Short";
    case kInt32:
      return "Int";
    case kInt64:
      return "Long";
    case kHalf:
      return "Half";
    case kFloat:
      return "Float";
    case kDouble:
      return "Double";
    case kComplexHalf:
      return "ComplexHalf";
    case kComplexFloat:
      return "ComplexFloat";
    case kComplexDouble:
      return "ComplexDouble";
    case kBool:
      return "Bool";
    case kBFloat16:
      return "BFloat16";
    case kUInt16:
      return "UInt16";
    case kUInt32:
      return "UInt32";
    case kUInt64:
      return "UInt64";
  }
  return "dtype number " + std::to_string(dtype);
}

std::string text_of(const Sizes& sizes) {
  std::string text = "[";
  for (size_t i = 0; i < sizes.size(); i++) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + "]";
}

int dimension(const Tensor* tensor, int64_t dim) {
  int64_t count = std::max(tensor->ndim, 1);
  if (dim < -count || dim >= count)
    throw std::runtime_error("Dimension out of range (expected to be in range of [" +
                             std::to_string(-count) + ", " + std::to_string(count - 1) +
                             "], but got " + std::to_string(dim) + ")");
  return static_cast<int>(dim < 0 ? dim + count : dim);
}

void refuse(const char* function, int32_t dtype) {
  throw std::runtime_error(std::string(function) + " is not implemented for '" + name_of(dtype) +
                           "'");
}

int64_t first_outside(const int64_t* positions, int64_t count, int64_t size) {
  int64_t low = 0, high = -1;
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < count; i++) {
    low = std::min(low, positions[i]);
    high = std::max(high, positions[i]);
  }
  if (low >= 0 && high < size) return count;
  return std::find_if(positions, positions + count,
                      [=](int64_t position) { return position < 0 || position >= size; }) -
         positions;
}

void out_of_bounds(int64_t index, int64_t dim, int64_t size) {
  throw std::runtime_error("index " + std::to_string(index) + " is out of bounds for dimension " +
                           std::to_string(dim) + " with size " + std::to_string(size));
}

std::vector<int> by_stride(const Sizes& sizes, const std::vector<Sizes>& lists) {
  int ndim = static_cast<int>(sizes.size());
  std::vector<int> order(ndim);
  for (int i = 0; i < ndim; i++) order[i] = ndim - 1 - i;
  // Above zero: the first is the wider one. Zero: neither, whatever lies between them decides.
  auto compare = [&](int a, int b) {
    for (const Sizes& strides : lists) {
      if (strides[a] == 0 || strides[b] == 0) continue;
      if (strides[a] != strides[b]) return strides[a] < strides[b] ? -1 : 1;
      if (sizes[a] > sizes[b]) return 1;
    }
    return 0;
  };
  for (int i = 1; i < ndim; i++) {
    int moved = i;
    for (int j = i - 1; j >= 0; j--) {
      int answer = compare(order[j], order[moved]);
      if (answer > 0) {
        std::swap(order[j], order[moved]);
        moved = j;
      } else if (answer < 0) {
        break;
      }
    }
  }
  return order;
}

Sizes strides_in_order(const Sizes& sizes, const std::vector<int>& order) {
  Sizes strides(sizes.size());
  int64_t next = 1;
  for (int dim : order) {
    strides[dim] = next;
    next *= std::max<int64_t>(sizes[dim], 1);
  }
  return strides;
}

namespace {

// Whether a tensor's elements fill a block of memory, each place once.
bool fills_block(const Tensor* tensor) {
  Sizes sizes = sizes_of(tensor), strides = strides_of(tensor);
  std::vector<int> order(sizes.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = static_cast<int>(i);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    if (sizes[a] < 2) return false;
    return sizes[b] < 2 || strides[a] < strides[b];
  });
  int64_t expected = 1;
  for (int dim : order) {
    if (sizes[dim] < 2) return true;
    if (strides[dim] != expected) return false;
    expected *= sizes[dim];
  }
  return true;
}

}  // namespace

Sizes like(const Tensor* tensor) {
  if (fills_block(tensor)) return strides_of(tensor);
  Sizes sizes = sizes_of(tensor);
  return strides_in_order(sizes, by_stride(sizes, {strides_of(tensor)}));
}

bool same_sizes(const Tensor* a, const Tensor* b) {
  return a->ndim == b->ndim && !std::memcmp(a->sizes(), b->sizes(), a->ndim * sizeof(int64_t));
}

Tensor* expand(const Tensor* tensor, const Sizes& sizes, const std::string& message) {
  int more = static_cast<int>(sizes.size()) - tensor->ndim;
  if (more < 0) throw std::runtime_error(message);
  Sizes strides(sizes.size(), 0);
  for (int i = 0; i < tensor->ndim; i++) {
    int64_t size = tensor->sizes()[i];
    if (size == sizes[i + more]) {
      strides[i + more] = tensor->strides()[i];
    } else if (size != 1) {
      throw std::runtime_error(message);
    }
  }
  return tensor_over(share(tensor->storage), tensor->offset, tensor->dtype, sizes.size(),
                     sizes.data(), strides.data());
}

Sizes broadcast(const Tensor* a, const Tensor* b) {
  int ndim = std::max(a->ndim, b->ndim);
  Sizes sizes(ndim);
  for (int i = 0; i < ndim; i++) {
    int at = i - ndim + a->ndim, bt = i - ndim + b->ndim;
    int64_t of_a = at < 0 ? 1 : a->sizes()[at], of_b = bt < 0 ? 1 : b->sizes()[bt];
    if (of_a != of_b && of_a != 1 && of_b != 1)
      throw std::runtime_error("The size of tensor a (" + std::to_string(of_a) +
                               ") must match the size of tensor b (" + std::to_string(of_b) +
                               ") at non-singleton dimension " + std::to_string(i));
    sizes[i] = of_a == 1 ? of_b : of_a;
  }
  return sizes;
}

int workers(int64_t elements, int64_t parts) {
  if (elements < 32768 || parts < 2) return 1;
  return static_cast<int>(std::min<int64_t>(parts, threads()));
}

Sizes without(const Sizes& values, int dim) {
  Sizes left = values;
  if (!left.empty()) left.erase(left.begin() + dim);
  return left;
}

Tensor* clone(const Tensor* tensor) {
  Owned made(new_tensor(tensor->dtype, tensor->ndim, tensor->sizes(), like(tensor).data()));
  copy(made.tensor, tensor);
  return made.take();
}

}  // namespace aotbuild::standalone
