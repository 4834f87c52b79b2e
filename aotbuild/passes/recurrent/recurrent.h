// Recurrent layers of float32 whose products with the inputs are known: per step, the product with the
// last state, and what the kind of cell makes of both.
//
// Units are taken in blocks of 16. The recurrent weights of a block lie together, packed as
// [blocks][k][gates][16], the last block filled up with zeros; so do the products with the inputs,
// [blocks][gates][16]. Each element is summed in the same order, whatever the number of rows or threads.
//
// Used after gemm.h and exponential.h.
#ifndef AOTBUILD_RECURRENT_H
#define AOTBUILD_RECURRENT_H

#include <cstdint>
#include <type_traits>

namespace aotbuild {

// em / (em + 2), where em is e^(2 |x|) - 1, exact also near 0; NaN stays NaN.
AOTBUILD_INLINE Vec hyperbolic_tangent(Vec x) {
  const Vec size = magnitude(x);
  const Vec y = size > splat(10.f) ? splat(20.f) : size + size;
  const Vec shift = splat(12582912.f);
  Vec n = fma(y, splat(1.44269504088896341f), shift);
  const Vec power = from_bits((bits(n) << 23) + bits(splat(1.f)));
  n = n - shift;
  Vec f = fma(n, splat(-0.693145751953125f), y);
  f = fma(n, splat(-1.42860682030941723e-6f), f);
  Vec p = fma(splat(0.0013814320554956794f), f, splat(0.008368851616978645f));
  p = fma(p, f, splat(0.041668400168418884f));
  p = fma(p, f, splat(0.1666651964187622f));
  p = fma(p, f, splat(0.4999999403953552f));
  p = fma(p, f * f, f);
  const Vec em = fma(p, power, power - splat(1.f));
  const Vec result = em / (em + splat(2.f));
  return from_bits(bits(result) | (bits(x) & ~0x7fffffff));
}
AOTBUILD_INLINE Vec logistic(Vec x) {
  const Vec y = splat(0.f) - x;
  return splat(1.f) / (splat(1.f) + exponential(y > splat(87.f) ? splat(87.f) : y));
}

AOTBUILD_INLINE Vec load_some(const float* p, int64_t n) {
  if (n >= LANES) return load(p);
  float x[LANES] = {};
  for (int64_t i = 0; i < n; i++) x[i] = p[i];
  return load(x);
}
AOTBUILD_INLINE void store_some(float* p, Vec x, int64_t n) {
  if (n >= LANES) return store(p, x);
  float y[LANES];
  store(y, x);
  for (int64_t i = 0; i < n; i++) p[i] = y[i];
}

// What kinds of cells make of sums [gates][16]. FROM is the first gate whose recurrent product is
// apart from that with the input, and starts with a bias of its own.
struct Lstm {
  static constexpr int GATES = 4, FROM = 4;
  static constexpr bool CELL = true;
  static AOTBUILD_INLINE Vec next(const float* sums, const float*, Vec, Vec& cell) {
    const Vec input = logistic(load(sums)), forget = logistic(load(sums + PANEL));
    const Vec update = hyperbolic_tangent(load(sums + 2 * PANEL)), output = logistic(load(sums + 3 * PANEL));
    cell = fma(forget, cell, input * update);
    return output * hyperbolic_tangent(cell);
  }
};
struct Gru {
  static constexpr int GATES = 3, FROM = 2;
  static constexpr bool CELL = false;
  static AOTBUILD_INLINE Vec next(const float* sums, const float* inputs, Vec state, Vec&) {
    const Vec reset = logistic(load(sums)), update = logistic(load(sums + PANEL));
    const Vec fresh = hyperbolic_tangent(fma(reset, load(sums + 2 * PANEL), load(inputs + 2 * PANEL)));
    return fma(update, state - fresh, fresh);
  }
};
struct RnnTanh {
  static constexpr int GATES = 1, FROM = 1;
  static constexpr bool CELL = false;
  static AOTBUILD_INLINE Vec next(const float* sums, const float*, Vec, Vec&) {
    return hyperbolic_tangent(load(sums));
  }
};
struct RnnRelu {
  static constexpr int GATES = 1, FROM = 1;
  static constexpr bool CELL = false;
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
  const float* bias;     // [blocks][gates - FROM][16], or none
  const float* state;    // [rows][units]
  int64_t state_row;
  const float* first_cell;  // [rows][units]
  int64_t first_cell_row;
  float* output;  // [steps][rows][units]
  int64_t output_step, output_row;
  float* cell;  // [rows][units], the last one
  int64_t steps, rows, units;
};

constexpr int SUMS = LANES == 16 ? 24 : LANES == 8 ? 12 : 8;  // vectors that stay in registers

constexpr int at_most(int a, int b) { return a < b ? a : b; }
constexpr int at_least_one(int a) { return a < 1 ? 1 : a; }

template <class Cell>
struct Shape {
  static constexpr int WIDTH = Cell::GATES * PANEL;
  static constexpr int VECTORS = Cell::GATES * VECS;
  // Vectors of a block that are summed at once.
  static constexpr int AT_ONCE = VECTORS <= SUMS ? VECTORS : VECS;
  static constexpr int ROWS = at_most(6, at_least_one(SUMS / AT_ONCE));
  // Blocks that are summed at once for one row: enough to hide how long a sum takes.
  static constexpr int BLOCKS = at_least_one(at_most(SUMS, 4) / AT_ONCE);
};

// sums[R][B][WIDTH] += state[R][units] weights, for B blocks.
template <class Cell, int R, int B>
AOTBUILD_INLINE void add_products(const float* state, int64_t row, int64_t units, const float* weights,
                                  float (&sums)[R][B][Shape<Cell>::WIDTH]) {
  constexpr int N = Shape<Cell>::AT_ONCE, WIDTH = Shape<Cell>::WIDTH;
  for (int part = 0; part < Shape<Cell>::VECTORS; part += N) {
    const float* w = weights + part * LANES;
    Vec acc[R][B][N];
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 32
      for (int b = 0; b < B; b++)
#pragma GCC unroll 32
        for (int i = 0; i < N; i++) acc[r][b][i] = load(sums[r][b] + (part + i) * LANES);
    for (int64_t k = 0; k < units; k++, w += WIDTH) {
#pragma GCC unroll 32
      for (int r = 0; r < R; r++) {
        const Vec x = splat(state[r * row + k]);
#pragma GCC unroll 32
        for (int b = 0; b < B; b++)
#pragma GCC unroll 32
          for (int i = 0; i < N; i++)
            acc[r][b][i] = fma(x, load(w + b * units * WIDTH + i * LANES), acc[r][b][i]);
      }
    }
#pragma GCC unroll 32
    for (int r = 0; r < R; r++)
#pragma GCC unroll 32
      for (int b = 0; b < B; b++)
#pragma GCC unroll 32
        for (int i = 0; i < N; i++) store(sums[r][b] + (part + i) * LANES, acc[r][b][i]);
  }
}

// A step of R rows and B blocks. The state is that of the step before.
template <class Cell, int R, int B>
AOTBUILD_INLINE void step_block(const Layer& layer, const float* state, int64_t state_row, const float* cell,
                                int64_t cell_row, int64_t step, int64_t row, int64_t block) {
  constexpr int WIDTH = Shape<Cell>::WIDTH, APART = Cell::GATES - Cell::FROM;
  alignas(64) float sums[R][B][WIDTH];
  const float* inputs = layer.inputs + step * layer.input_step + row * layer.input_row + block * WIDTH;
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) {
#pragma GCC unroll 16
      for (int i = 0; i < WIDTH; i += LANES) {
        const int own = i - Cell::FROM * PANEL;
        store(sums[r][b] + i, own < 0      ? load(inputs + r * layer.input_row + b * WIDTH + i)
                              : layer.bias ? load(layer.bias + (block + b) * APART * PANEL + own)
                                           : splat(0.f));
      }
    }
  add_products<Cell, R, B>(state + row * state_row, state_row, layer.units,
                           layer.weights + block * layer.units * WIDTH, sums);
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++)
      for (int i = 0; i < PANEL; i += LANES) {
        const int64_t unit = (block + b) * PANEL + i, left = layer.units - unit;
        if (left <= 0) break;
        Vec before = splat(0.f), own = splat(0.f);
        if (Cell::FROM < Cell::GATES) before = load_some(state + (row + r) * state_row + unit, left);
        if (Cell::CELL) own = load_some(cell + (row + r) * cell_row + unit, left);
        const Vec next =
            Cell::next(sums[r][b] + i, inputs + r * layer.input_row + b * WIDTH + i, before, own);
        if (Cell::CELL) store_some(layer.cell + (row + r) * layer.units + unit, own, left);
        store_some(layer.output + step * layer.output_step + (row + r) * layer.output_row + unit, next, left);
      }
}

// A step of some rows and blocks.
template <class Cell, int R = Shape<Cell>::ROWS>
__attribute__((noinline)) void step_part(const Layer& layer, const float* state, int64_t state_row,
                                         const float* cell, int64_t cell_row, int64_t step, int64_t row,
                                         int64_t row_end, int64_t block, int64_t block_end) {
  constexpr int B = R == 1 ? Shape<Cell>::BLOCKS : 1;
  for (; row + R <= row_end; row += R) {
    int64_t i = block;
    for (; i + B <= block_end; i += B)
      step_block<Cell, R, B>(layer, state, state_row, cell, cell_row, step, row, i);
    if constexpr (B > 1)
      for (; i < block_end; i++) step_block<Cell, R, 1>(layer, state, state_row, cell, cell_row, step, row, i);
  }
  if constexpr (R > 1)
    step_part<Cell, R - 1>(layer, state, state_row, cell, cell_row, step, row, row_end, block, block_end);
}

// All steps, from the last to the first if REVERSE.
template <class Cell, bool REVERSE>
void recurrent(const Layer& layer) {
  const int64_t blocks = (layer.units + PANEL - 1) / PANEL;
  const int64_t work = layer.units * blocks * Shape<Cell>::WIDTH;  // of a step, for each row
  // Threads share the rows, or the blocks of each step where that is much.
  const bool by_rows = layer.rows >= 2 * Shape<Cell>::ROWS;
  const int64_t rows = by_rows ? Shape<Cell>::ROWS : layer.rows;
  const int64_t part = by_rows ? blocks : Shape<Cell>::BLOCKS;
  const int64_t parts = (blocks + part - 1) / part * ((layer.rows + rows - 1) / rows);
#pragma omp parallel if (work * layer.rows >= (by_rows ? 1 << 14 : 1 << 18))
  {
    for (int64_t t = 0; t < layer.steps; t++) {
      const int64_t step = REVERSE ? layer.steps - 1 - t : t;
      const float* state = t ? layer.output + (REVERSE ? step + 1 : step - 1) * layer.output_step : layer.state;
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
