// Embedding bags: the sum, the mean or the largest of rows of a table.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "dtypes.h"
#include "layout.h"

using namespace aotbuild::standalone;

namespace {

enum Mode { kSum = 0, kMean = 1, kMax = 2 };

constexpr int64_t kBlock = 256;  // columns at a time

struct Bags {
  int64_t count;
  const int64_t* indices;
  std::vector<int64_t> bounds;  // where the bags begin, and where the last one ends
  int64_t mode, ignored;
};

template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Numbers of a row that lies anywhere.
using Floats = float __attribute__((vector_size(32), aligned(4), may_alias));

constexpr int64_t kAhead = 8;  // rows that the CPU cannot foresee
constexpr int64_t kLine = 16;  // numbers in a line of the cache

template <int kVectors>
constexpr int64_t kColumns = kVectors * sizeof(Floats) / sizeof(float);

// The sums of some columns of one bag, which stay in registers. A sum waits for the one before, so
// that eight take the time of four.
template <int kVectors>
void add_rows(const Bags& bags, int64_t bag, const Tensor* table, const float* factors,
              int64_t column, float* result) {
  Floats sums[kVectors] = {};
  int64_t used = 0, stride = table->strides()[0];
  for (int64_t i = bags.bounds[bag]; i < bags.bounds[bag + 1]; i++) {
    int64_t index = bags.indices[i];
    if (i + kAhead < bags.bounds.back()) {
      const float* later = table->as<float>() + bags.indices[i + kAhead] * stride + column;
      for (int64_t k = 0; k < kColumns<kVectors>; k += kLine) __builtin_prefetch(later + k);
    }
    if (index == bags.ignored) continue;
    auto row = reinterpret_cast<const Floats*>(table->as<float>() + index * stride + column);
    if (factors)
      for (int v = 0; v < kVectors; v++) sums[v] += factors[i] * row[v];
    else
      for (int v = 0; v < kVectors; v++) sums[v] += row[v];
    used++;
  }
  float share = bags.mode == kMean && used ? static_cast<float>(used) : 1.0f;
  for (int v = 0; v < kVectors; v++) reinterpret_cast<Floats*>(result)[v] = sums[v] / share;
}

// Some columns of one bag.
template <typename T>
void gather(const Bags& bags, int64_t bag, const Tensor* table, const T* factors, int64_t column,
            int64_t columns, T* result, int64_t* rows) {
  using W = Wide<T>;
  if constexpr (std::is_same_v<T, float>) {
    if (bags.mode != kMax && table->strides()[1] == 1) {
      auto take = [&]<int kVectors>(std::integral_constant<int, kVectors>) {
        constexpr int64_t wide = kColumns<kVectors>;
        for (; columns >= wide; column += wide, columns -= wide, result += wide)
          add_rows<kVectors>(bags, bag, table, factors, column, result);
      };
      take(std::integral_constant<int, 8>());
      take(std::integral_constant<int, 4>());
      take(std::integral_constant<int, 1>());
      if (!columns) return;
    }
  }
  W values[kBlock];
  std::fill_n(values, columns, W(0));
  int64_t used = 0, step = table->strides()[1];
  if (rows) std::fill_n(rows, columns, 0);
  for (int64_t i = bags.bounds[bag]; i < bags.bounds[bag + 1]; i++) {
    int64_t index = bags.indices[i];
    if (index == bags.ignored) continue;
    const T* row = table->as<T>() + index * table->strides()[0] + column * step;
    W factor = factors ? static_cast<W>(factors[i]) : W(1);
    if (bags.mode == kMax) {
      for (int64_t k = 0; k < columns; k++) {
        W value = row[k * step];
        if (!used || value > values[k] || std::isnan(value)) {
          values[k] = value;
          if (rows) rows[k] = index;
        }
      }
    } else if (step == 1) {
#pragma omp simd
      for (int64_t k = 0; k < columns; k++) values[k] += factor * static_cast<W>(row[k]);
    } else {
      for (int64_t k = 0; k < columns; k++) values[k] += factor * static_cast<W>(row[k * step]);
    }
    used++;
  }
  W share = bags.mode == kMean && used ? static_cast<W>(used) : W(1);
  for (int64_t k = 0; k < columns; k++) result[k] = static_cast<T>(values[k] / share);
}

void check(Tensor* weight, Tensor* indices, Tensor* offsets, int64_t mode, Tensor* factors) {
  for (const Tensor* each : {indices, offsets}) {
    if (each->dtype != kInt32 && each->dtype != kInt64) refuse("embedding_bag", each->dtype);
    if (each->ndim != 1) throw std::runtime_error("embedding_bag needs indices of one dimension");
  }
  if (weight->ndim != 2) throw std::runtime_error("embedding_bag needs a table of two dimensions");
  if (mode < kSum || mode > kMax)
    throw std::runtime_error("embedding_bag has no mode with the number " + std::to_string(mode));
  if (!factors) return;
  if (mode != kSum) throw std::runtime_error("embedding_bag takes weights of samples for sums");
  if (factors->dtype != weight->dtype || factors->ndim != 1 || factors->numel != indices->numel)
    throw std::runtime_error("embedding_bag needs one weight of the table's dtype per index");
}

Bags bags_of(const Tensor* weight, const Tensor* indices, const Tensor* offsets, bool ended,
             int64_t mode, int64_t ignored) {
  int64_t rows = weight->sizes()[0];
  Bags bags{offsets->numel - ended,
            indices->as<int64_t>(),
            {},
            mode,
            ignored < -1 ? ignored + rows : ignored};
  if (bags.count < 0) throw std::runtime_error("embedding_bag needs a last offset");
  bags.bounds.assign(offsets->as<int64_t>(), offsets->as<int64_t>() + offsets->numel);
  if (!ended) bags.bounds.push_back(indices->numel);
  if (offsets->numel && bags.bounds[0] != 0)
    throw std::runtime_error("embedding_bag: the first offset must be 0");
  for (size_t i = 1; i < bags.bounds.size(); i++)
    if (bags.bounds[i] < bags.bounds[i - 1] || bags.bounds[i] > indices->numel)
      throw std::runtime_error("embedding_bag: offsets must rise, up to the number of indices");
  for (int64_t i = 0; i < indices->numel; i++)
    if (bags.indices[i] < 0 || bags.indices[i] >= rows)
      throw std::runtime_error("embedding_bag: index " + std::to_string(bags.indices[i]) +
                               " of a table of " + std::to_string(rows) + " rows");
  return bags;
}

void embedding_bag(Tensor* weight, Tensor* given, Tensor* starts, int64_t mode,
                   Tensor* given_factors, bool ended, int64_t ignored, bool forward_only,
                   AtenTensorHandle* results) {
  check(weight, given, starts, mode, given_factors);
  Owned indices(contiguous(given, kInt64)), offsets(contiguous(starts, kInt64));
  Owned factors(given_factors ? contiguous(given_factors, weight->dtype) : nullptr);
  Bags bags = bags_of(weight, indices.tensor, offsets.tensor, ended, mode, ignored);
  int64_t columns = weight->sizes()[1], blocks = (columns + kBlock - 1) / kBlock;
  int32_t dtype = given->dtype == kInt64 || starts->dtype == kInt64 ? kInt64 : kInt32;
  int64_t sizes[] = {bags.count, columns};
  Owned made(new_tensor(weight->dtype, 2, sizes));
  // What a backward pass would read; of the sizes that torch gives it.
  bool fast = (weight->dtype == kFloat || weight->dtype == kHalf) && weight->strides()[1] == 1 &&
              ignored < 0 && (!given_factors || given_factors->strides()[0] == 1);
  Owned bag_of(new_tensor(kInt64, 1,
                          mode == kSum && fast ? std::vector<int64_t>{0}.data() : given->sizes()));
  Owned bag_size(new_tensor(kInt64, 1, forward_only ? starts->sizes() : sizes));
  Owned largest(new_tensor(kInt64, mode == kMax ? 2 : 1, sizes));
  for (const Owned* each : {&bag_of, &bag_size, &largest})
    std::fill_n((*each)->as<int64_t>(), (*each)->numel, 0);
  for (int64_t bag = 0; bag < bags.count; bag++)
    for (int64_t i = bags.bounds[bag]; i < bags.bounds[bag + 1]; i++) {
      if (bag_of->numel) bag_of->as<int64_t>()[i] = bag;
      if (bags.indices[i] != bags.ignored) bag_size->as<int64_t>()[bag]++;
    }
  bool known = with_real(weight->dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* scale = factors.tensor ? factors->as<T>() : nullptr;
#pragma omp parallel for num_threads(workers(indices->numel* columns, bags.count* blocks))
    for (int64_t part = 0; part < bags.count * blocks; part++) {
      int64_t bag = part / blocks, column = part % blocks * kBlock;
      gather(bags, bag, weight, scale, column, std::min(kBlock, columns - column),
             made->as<T>() + bag * columns + column,
             mode == kMax ? largest->as<int64_t>() + bag * columns + column : nullptr);
    }
  });
  if (!known) refuse("embedding_bag", weight->dtype);
  Owned second(contiguous(bag_of.tensor, dtype)), third(contiguous(bag_size.tensor, dtype));
  results[3] = contiguous(largest.tensor, dtype);
  results[0] = made.take();
  results[1] = second.take();
  results[2] = third.take();
}

}  // namespace

#define EMBEDDING_BAG(kind, forward_only)                                                          \
  AOTITorchError aoti_torch_cpu__embedding_bag##kind(                                              \
      AtenTensorHandle weight, AtenTensorHandle indices, AtenTensorHandle offsets, int32_t,        \
      int64_t mode, int32_t, AtenTensorHandle* per_sample_weights, int32_t include_last_offset,    \
      int64_t padding_idx, AtenTensorHandle* ret0, AtenTensorHandle* ret1, AtenTensorHandle* ret2, \
      AtenTensorHandle* ret3) {                                                                    \
    AtenTensorHandle results[4];                                                                   \
    embedding_bag(weight, indices, offsets, mode,                                                  \
                  per_sample_weights ? *per_sample_weights : nullptr, include_last_offset != 0,    \
                  padding_idx, forward_only, results);                                             \
    *ret0 = results[0], *ret1 = results[1], *ret2 = results[2], *ret3 = results[3];                \
    return AOTI_TORCH_SUCCESS;                                                                     \
  }

EMBEDDING_BAG(, false)
EMBEDDING_BAG(_forward_only, true)
