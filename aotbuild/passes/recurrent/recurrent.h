// Recurrent layers of float32 whose products with the inputs are known: per step, the product with
// the last state, and what the kind of cell makes of both. With x the product with the input, h
// that with the last state (biases are in them), s the logistic function and * element by element:
//
//   Lstm     c' = s(x_f + h_f) * c + s(x_i + h_i) * tanh(x_g + h_g),  state = s(x_o + h_o) *
//   tanh(c') Gru      r, z = s(x_r + h_r), s(x_z + h_z),  n = tanh(x_n + r * h_n),  state = n + z *
//   (state - n) RnnTanh  state = tanh(x + h)        RnnRelu  state = max(x + h, 0)
//
// (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000; Cho et al. 2014; gates
// in torch's order. Gru applies r after the product with the state, as torch and cuDNN do.)
//
// Units are taken in blocks of 16. The recurrent weights of a block lie together, packed as
// [blocks][k][gates][16], the last block filled up with zeros; so do the products with the inputs,
// [blocks][gates][16]. Each element is summed in the same order, whatever the number of rows or
// threads.
#ifndef AOTBUILD_RECURRENT_H
#define AOTBUILD_RECURRENT_H

#include <algorithm>
#include <cstdint>

#include "../simd/exponential.h"
#include "../simd/panels.h"
#include "../simd/vectors.h"

namespace aotbuild {

// What kinds of cells make of sums [gates][16]. kFrom is the first gate whose recurrent product is
// apart from that with the input, and starts with a bias of its own.
struct Lstm {
  static constexpr int kGates = 4, kFrom = 4;
  static constexpr bool kHasCell = true;
  static AOTBUILD_INLINE Vec next(const float* sums, const float*, Vec, Vec& cell) {
    const Vec input = logistic(load(sums)), forget = logistic(load(sums + kPanel));
    const Vec update = hyperbolic_tangent(load(sums + 2 * kPanel)),
              output = logistic(load(sums + 3 * kPanel));
    cell = fma(forget, cell, input * update);
    return output * hyperbolic_tangent(cell);
  }
};
struct Gru {
  static constexpr int kGates = 3, kFrom = 2;
  static constexpr bool kHasCell = false;
  static AOTBUILD_INLINE Vec next(const float* sums, const float* inputs, Vec state, Vec&) {
    const Vec reset = logistic(load(sums)), update = logistic(load(sums + kPanel));
    const Vec fresh =
        hyperbolic_tangent(fma(reset, load(sums + 2 * kPanel), load(inputs + 2 * kPanel)));
    return fma(update, state - fresh, fresh);
  }
};
struct RnnTanh {
  static constexpr int kGates = 1, kFrom = 1;
  static constexpr bool kHasCell = false;
  static AOTBUILD_INLINE Vec next(const float* sums, const float*, Vec, Vec&) {
    return hyperbolic_tangent(load(sums));
  }
};
struct RnnRelu {
  static constexpr int kGates = 1, kFrom = 1;
  static constexpr bool kHasCell = false;
  static AOTBUILD_INLINE Vec next(const float* sums, const float*, Vec, Vec&) {
    const Vec x = load(sums);
    return x < splat(0.f) ? splat(0.f) : x;
  }
};

// Numbers of a layer: [step][row] with distances, and how many of each.
struct Layer {
  const float* inputs;  // [steps][rows][blocks][gates][16]
  int64_t input_step, input_row;
  const float* weights;  // [blocks][units][gates][16]
  const float* bias;     // [blocks][gates - kFrom][16], or none
  const float* state;    // [rows][units]
  int64_t state_row;
  const float* first_cell;  // [rows][units]
  int64_t first_cell_row;
  float* output;  // [steps][rows][units]
  int64_t output_step, output_row;
  float* cell;  // [rows][units], the last one
  int64_t steps, rows, units;
};

constexpr int kSums = kLanes == 16 ? 24 : kLanes == 8 ? 12 : 8;  // vectors that stay in registers

// Multiplications of a step from which on threads pay: few where each has rows of its own, more
// where all of them wait for one another in each step.
constexpr int64_t kParallelByRows = 1 << 14, kParallelByBlocks = 1 << 18;

template <class Cell>
struct Blocking {
  static constexpr int kWidth = Cell::kGates * kPanel;
  static constexpr int kGateVectors = Cell::kGates * kVectors;
  // Vectors of a block that are summed at once.
  static constexpr int kAtOnce = kGateVectors <= kSums ? kGateVectors : kVectors;
  static constexpr int kBlockRows = std::min(6, std::max(1, kSums / kAtOnce));
  // Blocks that are summed at once for one row: enough to hide how long a sum takes.
  static constexpr int kBlocks = std::max(1, std::min(kSums, 4) / kAtOnce);
};

// sums[R][B][kWidth] += state[R][units] weights, for B blocks.
template <class Cell, int R, int B>
AOTBUILD_INLINE void add_products(const float* state, int64_t row, int64_t units,
                                  const float* weights,
                                  float (&sums)[R][B][Blocking<Cell>::kWidth]) {
  constexpr int N = Blocking<Cell>::kAtOnce, kWidth = Blocking<Cell>::kWidth;
  for (int part = 0; part < Blocking<Cell>::kGateVectors; part += N) {
    const float* w = weights + part * kLanes;
    Vec acc[R][B][N];
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 32
      for (int b = 0; b < B; b++)
#pragma GCC unroll 32
        for (int i = 0; i < N; i++) acc[r][b][i] = load(sums[r][b] + (part + i) * kLanes);
    for (int64_t k = 0; k < units; k++, w += kWidth) {
#pragma GCC unroll 32
      for (int r = 0; r < R; r++) {
        const Vec x = splat(state[r * row + k]);
#pragma GCC unroll 32
        for (int b = 0; b < B; b++)
#pragma GCC unroll 32
          for (int i = 0; i < N; i++)
            acc[r][b][i] = fma(x, load(w + b * units * kWidth + i * kLanes), acc[r][b][i]);
      }
    }
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 32
      for (int b = 0; b < B; b++)
#pragma GCC unroll 32
        for (int i = 0; i < N; i++) store(sums[r][b] + (part + i) * kLanes, acc[r][b][i]);
  }
}

// A step of R rows and B blocks. The state is that of the step before.
template <class Cell, int R, int B>
AOTBUILD_INLINE void step_block(const Layer& layer, const float* state, int64_t state_row,
                                const float* cell, int64_t cell_row, int64_t step, int64_t row,
                                int64_t block) {
  constexpr int kWidth = Blocking<Cell>::kWidth, kApart = Cell::kGates - Cell::kFrom;
  alignas(64) float sums[R][B][kWidth];
  const float* inputs =
      layer.inputs + step * layer.input_step + row * layer.input_row + block * kWidth;
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) {
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; i += kLanes) {
        const int own = i - Cell::kFrom * kPanel;
        store(sums[r][b] + i, own < 0      ? load(inputs + r * layer.input_row + b * kWidth + i)
                              : layer.bias ? load(layer.bias + (block + b) * kApart * kPanel + own)
                                           : splat(0.f));
      }
    }
  add_products<Cell, R, B>(state + row * state_row, state_row, layer.units,
                           layer.weights + block * layer.units * kWidth, sums);
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++)
      for (int i = 0; i < kPanel; i += kLanes) {
        const int64_t unit = (block + b) * kPanel + i, left = layer.units - unit;
        if (left <= 0) break;
        Vec before = splat(0.f), own = splat(0.f);
        if (Cell::kFrom < Cell::kGates)
          before = load_up_to(state + (row + r) * state_row + unit, left);
        if (Cell::kHasCell) own = load_up_to(cell + (row + r) * cell_row + unit, left);
        const Vec next =
            Cell::next(sums[r][b] + i, inputs + r * layer.input_row + b * kWidth + i, before, own);
        if (Cell::kHasCell) store_up_to(layer.cell + (row + r) * layer.units + unit, own, left);
        store_up_to(layer.output + step * layer.output_step + (row + r) * layer.output_row + unit,
                    next, left);
      }
}

// A step of some rows and blocks.
template <class Cell, int R = Blocking<Cell>::kBlockRows>
__attribute__((noinline)) void step_part(const Layer& layer, const float* state, int64_t state_row,
                                         const float* cell, int64_t cell_row, int64_t step,
                                         int64_t row, int64_t row_end, int64_t block,
                                         int64_t block_end) {
  constexpr int B = R == 1 ? Blocking<Cell>::kBlocks : 1;
  for (; row + R <= row_end; row += R) {
    int64_t i = block;
    for (; i + B <= block_end; i += B)
      step_block<Cell, R, B>(layer, state, state_row, cell, cell_row, step, row, i);
    if constexpr (B > 1)
      for (; i < block_end; i++)
        step_block<Cell, R, 1>(layer, state, state_row, cell, cell_row, step, row, i);
  }
  if constexpr (R > 1)
    step_part<Cell, R - 1>(layer, state, state_row, cell, cell_row, step, row, row_end, block,
                           block_end);
}

// All steps, from the last to the first if Reverse.
template <class Cell, bool Reverse>
void recurrent(const Layer& layer) {
  const int64_t blocks = (layer.units + kPanel - 1) / kPanel;
  const int64_t work = layer.units * blocks * Blocking<Cell>::kWidth;  // of a step, for each row
  // Threads share the rows, or the blocks of each step where that is much.
  const bool by_rows = layer.rows >= 2 * Blocking<Cell>::kBlockRows;
  const int64_t rows = by_rows ? Blocking<Cell>::kBlockRows : layer.rows;
  const int64_t part = by_rows ? blocks : Blocking<Cell>::kBlocks;
  const int64_t parts = (blocks + part - 1) / part * ((layer.rows + rows - 1) / rows);
#pragma omp parallel if (work * layer.rows >= (by_rows ? kParallelByRows : kParallelByBlocks))
  {
    for (int64_t t = 0; t < layer.steps; t++) {
      const int64_t step = Reverse ? layer.steps - 1 - t : t;
      const float* state =
          t ? layer.output + (Reverse ? step + 1 : step - 1) * layer.output_step : layer.state;
      const int64_t state_row = t ? layer.output_row : layer.state_row;
      const float* cell = t ? layer.cell : layer.first_cell;
      const int64_t cell_row = t ? layer.units : layer.first_cell_row;
#pragma omp for schedule(static)
      for (int64_t j = 0; j < parts; j++) {
        // Back and forth: the weights that were used last are still in the first cache.
        const int64_t i = t % 2 ? parts - 1 - j : j;
        const int64_t row = by_rows ? i * rows : 0, block = by_rows ? 0 : i * part;
        step_part<Cell>(layer, state, state_row, cell, cell_row, step, row,
                        row + rows < layer.rows ? row + rows : layer.rows, block,
                        block + part < blocks ? block + part : blocks);
      }
    }
  }
}

}  // namespace aotbuild
#endif
