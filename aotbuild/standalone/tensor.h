// Tensors of stand-alone libraries: sizes and strides over memory that several tensors may share.
//
// Generated code knows them by torch's handle, `AtenTensorOpaque*`, and calls the functions that
// torch declares in `torch/csrc/inductor/aoti_torch/c/shim.h`. The files of this directory define
// those functions, without torch: the compiler checks them against torch's declarations.
// Defined in tensors.cpp, memory.cpp and layout.cpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

namespace aotbuild::standalone {

// Memory, by reference counts; borrowed memory is never freed.
struct Storage {
  char* data;
  int64_t bytes;
  std::atomic<int64_t> users;
  bool owned;
};

Storage* allocate(int64_t bytes);            // throws std::bad_alloc
Storage* borrow(void* data, int64_t bytes);  // the caller keeps it alive
inline Storage* share(Storage* storage) {
  storage->users.fetch_add(1, std::memory_order_relaxed);
  return storage;
}
void release(Storage* storage);

// Numbers of dtypes as torch's ScalarType has them, which generated code gets from functions only.
enum Dtype : int32_t {
  kUInt8 = 0,
  kInt8 = 1,
  kInt16 = 2,
  kInt32 = 3,
  kInt64 = 4,
  kHalf = 5,
  kFloat = 6,
  kDouble = 7,
  kComplexHalf = 8,
  kComplexFloat = 9,
  kComplexDouble = 10,
  kBool = 11,
  kBFloat16 = 15,
  kFloat8E5M2 = 23,
  kFloat8E4M3 = 24,
  kFloat8E5M2Fnuz = 25,
  kFloat8E4M3Fnuz = 26,
  kUInt16 = 27,
  kUInt32 = 28,
  kUInt64 = 29,
  kFloat8E8M0 = 44,
};

int64_t size_of(int32_t dtype);  // bytes of an element; throws for a dtype that is not known

}  // namespace aotbuild::standalone

// A tensor; its sizes and strides lie behind it.
struct AtenTensorOpaque {
  aotbuild::standalone::Storage* storage;
  int64_t offset;  // in elements
  int64_t numel;
  int64_t itemsize;
  int32_t dtype;
  int32_t ndim;

  int64_t* sizes() { return reinterpret_cast<int64_t*>(this + 1); }
  const int64_t* sizes() const { return reinterpret_cast<const int64_t*>(this + 1); }
  int64_t* strides() { return sizes() + ndim; }
  const int64_t* strides() const { return sizes() + ndim; }
  char* data() const { return storage->data + offset * itemsize; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(storage->data) + offset;
  }
};

namespace aotbuild::standalone {

using Tensor = AtenTensorOpaque;

// A tensor over memory, of which it takes a reference over.
Tensor* tensor_over(Storage* storage, int64_t offset, int32_t dtype, int64_t ndim,
                    const int64_t* sizes, const int64_t* strides);
// A new tensor, not initialised; contiguous where no strides are given. Throws std::bad_alloc.
Tensor* new_tensor(int32_t dtype, int64_t ndim, const int64_t* sizes,
                   const int64_t* strides = nullptr);
void destroy(Tensor* tensor);

// Copies what one tensor holds into another one of the same sizes, and converts it.
void copy(Tensor* to, const Tensor* from);
// Gives each element the value of a tensor without dimensions.
void fill(Tensor* tensor, const Tensor* number);
bool is_contiguous(const Tensor* tensor);

// A tensor of the same values, with strides as torch's `clone` gives them.
Tensor* clone(const Tensor* tensor);
// The tensor itself, by a further handle, where it is contiguous and of the dtype; else a copy.
Tensor* contiguous(Tensor* tensor, int32_t dtype);

// Gives handles back when a scope is left by an exception.
struct Owned {
  Tensor* tensor;
  explicit Owned(Tensor* tensor) : tensor(tensor) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (tensor) destroy(tensor);
  }
  Tensor* operator->() const { return tensor; }
  Tensor* take() {
    Tensor* taken = tensor;
    tensor = nullptr;
    return taken;
  }
};

}  // namespace aotbuild::standalone
