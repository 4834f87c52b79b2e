// Convolutions with kernels of 3 x 3 that move by one, by Winograd's F(2 x 2, 3 x 3): 16 products
// for each 4 results and channel instead of 36 (Lavin & Gray, "Fast Algorithms for Convolutional
// Neural Networks", arXiv:1509.09308, 2015). For a tile d of the image and a kernel g
//
//   result = A' ((G g G') * (B' d B)) A,  with * element by element, summed over the channels, and
//
//        1  0 -1  0           1    0    0
//   B' = 0  1  1  0      G = 1/2  1/2  1/2      A' = 1  1  1  0
//        0 -1  1  0          1/2 -1/2  1/2           0  1 -1 -1
//        0  1  0 -1           0    0    1
//
// An image is divided into tiles of 4 x 4 that overlap by 2. Each is transformed, channel by
// channel, into 16 numbers; each of these is multiplied with the 16 of the transformed kernel,
// summed over the channels: 16 products of matrices [tiles, ic] x [ic, oc]. Of what these give,
// again 16 numbers for each tile, the results are sums and differences. All transformations but
// that of the kernel consist of additions only, so that little of the accuracy is lost.
//
// The transformed weights G g G' lie as [16][ceil(oc / 16)][ic][16]; winograd.py computes them.
#ifndef AOTBUILD_WINOGRAD_H
#define AOTBUILD_WINOGRAD_H

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>

#include "../simd/activations.h"
#include "../simd/panels.h"
#include "../simd/vectors.h"
#include "convolution.h"

namespace aotbuild {
namespace convolution {

constexpr int64_t kTransformed = 96 * 1024;  // values of tiles that are kept at once
constexpr int64_t kFewTiles = 49;            // for which reading the weights takes too long

// One tile: d[4][4] becomes B' d B.
template <class Load>
AOTBUILD_INLINE void transform_input(const Load& d, float* to, int64_t step) {
  Vec rows[4][4];
  auto column = [&](auto j) __attribute__((always_inline)) {
    constexpr int J = decltype(j)::value;
    const Vec a = d(0, J), b = d(1, J), c = d(2, J), e = d(3, J);
    rows[0][J] = a - c;
    rows[1][J] = b + c;
    rows[2][J] = c - b;
    rows[3][J] = b - e;
  };
  auto row = [&](auto i) __attribute__((always_inline)) {
    constexpr int I = decltype(i)::value;
    store(to + (I * 4 + 0) * step, rows[I][0] - rows[I][2]);
    store(to + (I * 4 + 1) * step, rows[I][1] + rows[I][2]);
    store(to + (I * 4 + 2) * step, rows[I][2] - rows[I][1]);
    store(to + (I * 4 + 3) * step, rows[I][1] - rows[I][3]);
  };
  auto four = [&](const auto& f) __attribute__((always_inline)) {
    f(std::integral_constant<int, 0>{});
    f(std::integral_constant<int, 1>{});
    f(std::integral_constant<int, 2>{});
    f(std::integral_constant<int, 3>{});
  };
  four(column);
  four(row);
}

// The tile whose first pixel is at (top, left), which may lie outside of the image, as may others.
// `ic` is a multiple of the length of a vector.
inline void transform_tile(const Shape& s, const float* in, int64_t top, int64_t left, float* to,
                           int64_t step) {
  const int64_t ic = s.in_channels;
  if (top >= 0 && left >= 0 && top + 4 <= s.in_height && left + 4 <= s.in_width) {
    const float* corner = in + top * s.step_height + left * s.step_width;
    for (int64_t c = 0; c < ic; c += kLanes)
      transform_input(
          [&](int i, int j) __attribute__((always_inline)) {
            return load(corner + i * s.step_height + j * s.step_width + c);
          },
          to + c, step);
    return;
  }
  const float* pixels[4][4];
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t h = top + i, w = left + j;
      const bool there = h >= 0 && w >= 0 && h < s.in_height && w < s.in_width;
      pixels[i][j] = there ? in + h * s.step_height + w * s.step_width : nullptr;
    }
  for (int64_t c = 0; c < ic; c += kLanes)
    transform_input([&](int i, int j) __attribute__((
                        always_inline)) { return pixels[i][j] ? load(pixels[i][j] + c) : zero(); },
                    to + c, step);
}

// The two results in one row of a tile, I = 0 or 1, for some channels from c on; the second may be
// outside of the image. `products` are [16][tiles][oc].
template <class Activation, int I>
AOTBUILD_INLINE void transform_output(const float* products, int64_t step, int64_t some, bool both,
                                      float* out, int64_t out_step, const Finish& finish,
                                      int64_t all) {
  const Vec low = splat(finish.low), high = splat(finish.high);
  for (int64_t c = 0; c < some; c += kLanes) {
    const int64_t count = some - c;
    auto m = [&](int i, int j)
                 __attribute__((always_inline)) { return load(products + (i * 4 + j) * step + c); };
    auto sum = [&](int j) __attribute__((always_inline)) {
      return I == 0 ? m(0, j) + m(1, j) + m(2, j) : m(1, j) - m(2, j) - m(3, j);
    };
    const Vec a = sum(0), b = sum(1), e = sum(2), d = sum(3);
    const Vec bias = finish.bias ? load_up_to(finish.bias + c, count) : zero();
    const float* summand = finish.summand ? finish.summand + c : nullptr;
    finish_up_to<Activation>(out + c, summand, a + b + e + bias, low, high, count);
    if (both)
      finish_up_to<Activation>(out + out_step + c, summand ? summand + all : nullptr,
                               b - e - d + bias, low, high, count);
  }
}

// The channels of the input must be innermost.
template <class Activation, class Sink>
void convolve_winograd(const Shape& s, const float* x, const float* weights, const Finish& finish,
                       const Sink& sink, int64_t threads) {
  const int64_t ic = s.in_channels, oc = s.out_channels;
  const int64_t panels = divide_up(oc, kPanel), groups = divide_up(panels, kPanels);
  const int64_t wide = panels * kPanel;
  const int64_t across = divide_up(s.out_width, 2), down = divide_up(s.out_height, 2);
  const int64_t fits = kTransformed / (16 * across * (ic + wide));
  const int64_t rows = std::min(down, std::max({fits, divide_up(kFewTiles, across), int64_t(1)}));
  const int64_t bands = divide_up(down, rows);
  const int64_t needed = 16 * rows * across * (ic + wide);
  // Where there are fewer bands than threads, these share the work on each of them.
  const int64_t count = rows * across;
  const std::unique_ptr<float[]> scratch(new float[needed + 16]);
  float* const transformed = at_line(scratch.get());
  float* products = transformed + 16 * count * ic;
  const Runs runs{1, 0, ic, 1, 0};
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t band = 0; band < s.batch * bands; ++band) {
    const int64_t image = band / bands, first = band % bands * rows;
    const int64_t last = std::min(down, first + rows), tiles = (last - first) * across;
    const float* in = x + image * s.step_batch;
#pragma omp for schedule(static)
    for (int64_t tile = 0; tile < tiles; ++tile)
      transform_tile(s, in, (first + tile / across) * 2 - s.pad_top, tile % across * 2 - s.pad_left,
                     transformed + tile * ic, tiles * ic);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < 16 * groups; ++task) {
      const int64_t place = task / groups;
      panels_of(task % groups, oc, [&](int64_t begin, auto wideness) {
        const float* w = weights + (place * panels + begin) * ic * kPanel;
        const float* next = task + 1 < 16 * groups ? w + wideness * ic * kPanel : nullptr;
        Group group{begin * kPanel, wide,        ic,      w,    ic * kPanel,
                    next,           ic * kPanel, nullptr, true, true};
        convolve_row<none, RowTiling<0, kRows>, decltype(wideness)::value>(
            0, tiles, 0, 0, transformed + place * tiles * ic, ic, runs, w, group, wide,
            Finish{nullptr, nullptr, -std::numeric_limits<float>::infinity(),
                   std::numeric_limits<float>::infinity()},
            Direct{products + place * tiles * wide, wide});
      });
    }
#pragma omp for schedule(static)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t h = (first + tile / across) * 2, w = tile % across * 2;
      const bool both = w + 1 < s.out_width;
      auto row = [&](auto i) __attribute__((always_inline)) {
        constexpr int I = decltype(i)::value;
        const int64_t place = (image * s.out_height + h + I) * s.out_width + w;
        for (int64_t c = 0; c < oc; c += kPanels * kPanel) {
          const int64_t some = std::min<int64_t>(kPanels * kPanel, oc - c);
          sink(place, place + 1 + both, c, c + some, [&](float* out, int64_t out_step) {
            transform_output<Activation, I>(products + tile * wide + c, tiles * wide, some, both,
                                            out, out_step, finish.at(place, c, oc), oc);
          });
        }
      };
      row(std::integral_constant<int, 0>{});
      if (h + 1 < s.out_height) row(std::integral_constant<int, 1>{});
    }
  }
}

}  // namespace convolution
}  // namespace aotbuild

#endif
