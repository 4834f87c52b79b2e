// Dimensions of tensors: checked, ordered, broadcast, and walked through.
#pragma once

#include "tensor.h"

#include <array>
#include <string>
#include <vector>

namespace aotbuild::standalone {

using Sizes = std::vector<int64_t>;

std::string name_of(int32_t dtype);       // as torch's messages have it: Float
std::string text_of(const Sizes& sizes);  // [2, 3]
inline Sizes sizes_of(const Tensor* tensor) {
  return {tensor->sizes(), tensor->sizes() + tensor->ndim};
}
inline Sizes strides_of(const Tensor* tensor) {
  return {tensor->strides(), tensor->strides() + tensor->ndim};
}

// The dimension by its number from the front; one number does for a tensor without dimensions.
int dimension(const Tensor* tensor, int64_t dim);

[[noreturn]] void refuse(const char* function, int32_t dtype);  // a dtype that is not covered
// The number of the first position that is not from 0 to before `size`, or `count`.
int64_t first_outside(const int64_t* positions, int64_t count, int64_t size);
[[noreturn]] void out_of_bounds(int64_t index, int64_t dim, int64_t size);

// Dimensions from the narrowest stride to the widest, by the first list that tells two apart: the
// order in which torch walks through operands of these strides.
std::vector<int> by_stride(const Sizes& sizes, const std::vector<Sizes>& lists);

// Strides without gaps whose dimensions lie in the given order.
Sizes strides_in_order(const Sizes& sizes, const std::vector<int>& order);

// The strides of a result that is laid out as a tensor is, with gaps and overlaps left out.
Sizes like(const Tensor* tensor);

bool same_sizes(const Tensor* a, const Tensor* b);

// A view of the tensor for sizes that it is expanded to; throws with `message` where it cannot be.
Tensor* expand(const Tensor* tensor, const Sizes& sizes, const std::string& message);
// Sizes that both can be expanded to.
Sizes broadcast(const Tensor* a, const Tensor* b);

// How many threads are worth while for so many elements.
int workers(int64_t elements, int64_t parts);

// Dimensions of several operands, from the widest to the narrowest; neighbours that lie next to
// each other in all operands are one.
template <size_t N>
class Walk {
 public:
  using Offsets = std::array<int64_t, N>;

  // `order` has the narrowest dimension first; without it, the last one is the narrowest.
  Walk(const Sizes& sizes, const std::array<const int64_t*, N>& strides,
       const std::vector<int>* order = nullptr) {
    int ndim = static_cast<int>(sizes.size());
    for (int i = ndim - 1; i >= 0; i--) {
      int dim = order ? (*order)[i] : ndim - 1 - i;
      if (sizes[dim] == 0) empty_ = true;
      if (sizes[dim] == 1) continue;
      Offsets steps;
      for (size_t k = 0; k < N; k++) steps[k] = strides[k][dim];
      bool joined = !sizes_.empty();
      for (size_t k = 0; k < N && joined; k++) joined = steps_.back()[k] == sizes[dim] * steps[k];
      if (joined) {
        sizes_.back() *= sizes[dim];
        steps_.back() = steps;
      } else {
        sizes_.push_back(sizes[dim]);
        steps_.push_back(steps);
      }
    }
    if (sizes_.empty()) sizes_.push_back(1), steps_.push_back({});
    inner_ = sizes_.back(), step_ = steps_.back();
    sizes_.pop_back(), steps_.pop_back();
  }

  int64_t rows() const {
    int64_t count = empty_ ? 0 : 1;
    for (int64_t size : sizes_) count *= size;
    return count;
  }
  // The same walk, whose rows have one element each.
  Walk singly() const {
    Walk all = *this;
    all.sizes_.push_back(inner_);
    all.steps_.push_back(step_);
    all.inner_ = 1;
    return all;
  }
  int64_t inner() const { return inner_; }
  const Offsets& step() const { return step_; }

  // Calls `use(offsets)` for the start of each row from one to before another.
  template <typename F>
  void run(int64_t from, int64_t to, F&& use) const {
    if (from >= to) return;
    std::array<int64_t, 64> at;
    Offsets offsets{};
    int last = static_cast<int>(sizes_.size()) - 1;
    int64_t rest = from;
    for (int i = last; i >= 0; i--) {
      at[i] = rest % sizes_[i];
      rest /= sizes_[i];
      for (size_t k = 0; k < N; k++) offsets[k] += at[i] * steps_[i][k];
    }
    while (true) {
      use(offsets);
      if (++from == to) return;
      for (int i = last;; i--) {
        for (size_t k = 0; k < N; k++) offsets[k] += steps_[i][k];
        if (++at[i] < sizes_[i]) break;
        at[i] = 0;
        for (size_t k = 0; k < N; k++) offsets[k] -= sizes_[i] * steps_[i][k];
      }
    }
  }
  template <typename F>
  void run(F&& use) const {
    run(0, rows(), use);
  }

 private:
  Sizes sizes_;
  std::vector<Offsets> steps_;
  int64_t inner_;
  Offsets step_;
  bool empty_ = false;
};

Sizes without(const Sizes& values, int dim);  // one dimension less

// The lines along one dimension of tensors whose sizes differ in that dimension only.
template <size_t N>
class Lines {
 public:
  Lines(const std::array<const Tensor*, N>& tensors, int dim)
      : walk_(walk(tensors, dim)), length_(tensors[0]->ndim ? tensors[0]->sizes()[dim] : 1) {
    for (size_t k = 0; k < N; k++) steps_[k] = tensors[k]->ndim ? tensors[k]->strides()[dim] : 1;
    workers_ = workers(walk_.rows() * length_, walk_.rows());
  }
  int64_t count() const { return walk_.rows(); }
  int64_t length() const { return length_; }          // of a line of the first tensor
  int64_t step(size_t k) const { return steps_[k]; }  // the stride within a line
  int threads() const { return workers_; }

  // Calls `use(thread, offsets)` for each line, with where it starts; `use` does not throw.
  template <typename F>
  void run(F&& use) const {
    int64_t rows = walk_.rows();
    if (workers_ == 1) {
      walk_.run([&](const auto& offsets) { use(0, offsets); });
      return;
    }
#pragma omp parallel for num_threads(workers_)
    for (int part = 0; part < workers_; part++)
      walk_.run(rows * part / workers_, rows * (part + 1) / workers_,
                [&](const auto& offsets) { use(part, offsets); });
  }

 private:
  static Walk<N> walk(const std::array<const Tensor*, N>& tensors, int dim) {
    std::array<Sizes, N> strides;
    std::array<const int64_t*, N> pointers;
    for (size_t k = 0; k < N; k++) {
      strides[k] = without(strides_of(tensors[k]), dim);
      pointers[k] = strides[k].data();
    }
    return Walk<N>(without(sizes_of(tensors[0]), dim), pointers).singly();
  }

  Walk<N> walk_;
  int64_t length_;
  std::array<int64_t, N> steps_;
  int workers_;
};

// Memory for a call's own use, out of the blocks that are kept.
template <typename T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : bytes_(made(count * sizeof(T))) {}
  T* items() const { return reinterpret_cast<T*>(bytes_->data()); }

 private:
  static Tensor* made(int64_t bytes) { return new_tensor(kUInt8, 1, &bytes); }
  Owned bytes_;
};

// Calls `use` with a value of an unsigned type of so many bytes, for code that only moves elements.
struct Wide16 {
  uint64_t words[2];
};
template <typename F>
void with_size(int64_t bytes, F&& use) {
  switch (bytes) {
    case 1:
      return use(uint8_t{});
    case 2:
      return use(uint16_t{});
    case 4:
      return use(uint32_t{});
    case 8:
      return use(uint64_t{});
    default:
      return use(Wide16{});
  }
}

}  // namespace aotbuild::standalone
