// Convolutions of float32 images whose channels are innermost ("channels last"): x[n][h][w][c].
//
//   y[n][h][w][o] = activation(clamp(bias[o] + z[n][h][w][o] + sum over i, j, c of
//                   x[n][h * stride + i * dilation - pad][w * stride + j * dilation - pad][c]
//                   * weight[o][c][i][j]))
//
// with a second summand z where there is one, and zeros for pixels that lie outside of the image.
//
// A dense convolution is an implicit product of matrices: the rows are output pixels, the columns
// output channels, and the sum goes over taps and input channels. The weights lie in panels of 16
// output channels, [ceil(oc / 16)][kh][kw][ic][16], zero-padded, so that one step of the sum reads
// them in order (direct convolution on such a layout: Zhang, Franchetti & Low, "High Performance
// Zero-Memory Overhead Direct Convolutions", arXiv:1809.10170, 2018). The taps of one row of the
// kernel are next to one another in an image whose channels are innermost, so the innermost loop
// runs over kw * ic values (without dilation).
//
// A tile of R pixels of one output row by P panels is kept in registers. Rows of the kernel that
// lie above or below the image are left out; columns beside it are read as zeros from a padded copy
// of a band of rows, small enough for the second-level cache, which is made only where there are
// such columns or where the channels of the input are not innermost.
//
// With groups, the channels of a result are those of one group, and a sum goes over the channels of
// that group: the panels of each group begin anew. Groups of 2, 4 or 8 channels share a panel; the
// factors of its channels are picked out of the channels of a pixel.
//
// The order in which a result is summed depends on the shapes only, not on the number of threads.

#ifndef AOTBUILD_CONVOLUTION_H
#define AOTBUILD_CONVOLUTION_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

#include <omp.h>

#include "../simd/activations.h"
#include "../simd/panels.h"
#include "../simd/vectors.h"

namespace aotbuild {
namespace convolution {

struct Shape {
  int64_t batch, in_channels, in_height, in_width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_height, kernel_width, stride_height, stride_width;
  int64_t dilation_height, dilation_width, pad_top, pad_left, groups;
  // Of the input, in values.
  int64_t step_batch, step_channel, step_height, step_width;
};

// What happens to the sums before they are stored: bias, a second summand, bounds.
struct Finish {
  const float* bias;     // [oc] or null
  const float* summand;  // [pixel][oc] or null
  float low, high;       // bounds; infinite where there are none

  AOTBUILD_INLINE Finish at(int64_t pixel, int64_t channel, int64_t channels) const {
    return {bias ? bias + channel : nullptr,
            summand ? summand + pixel * channels + channel : nullptr, low, high};
  }
};

// Where results go: called with the pixels and the channels of a tile, and with what writes them to
// an address, with a distance from one pixel to the next.
struct Direct {
  float* out;
  int64_t channels;
  template <class Fill>
  AOTBUILD_INLINE void operator()(int64_t pixel, int64_t, int64_t channel, int64_t,
                                  const Fill& fill) const {
    fill(out + pixel * channels + channel, channels);
  }
};

// Activations that are applied in registers, beside those of activations.h.
struct none {
  static AOTBUILD_INLINE Vec of(Vec x) { return x; }
};
struct hardsigmoid {
  static AOTBUILD_INLINE Vec of(Vec x) {
    return clamp(x + splat(3.0f), zero(), splat(6.0f)) * splat(1.0f / 6.0f);
  }
};
struct hardswish {
  static AOTBUILD_INLINE Vec of(Vec x) { return x * hardsigmoid::of(x); }
};

// ---------------------------------------------------------------------------------- the tile

// The taps that one tile sums over, as runs of `length` values that follow one another.
struct Runs {
  int64_t count, step;  // rows of the kernel
  int64_t length;
  int64_t inner_count, inner_step;  // taps of one such row, where they are not next to another
};

// Addresses of rows at equal distances, as those of simd/strided_rows.h, for tiles that read many
// rows at once: x86 scales an index by 1, 2, 4 or 8, so that a base for every seventh row and the
// one-, three- and fivefold distance reach all of them. The compiler is kept from seeing how they
// hang together, lest it computes all addresses.
struct StridedRows {
  const char *first, *second, *third, *fourth;
  int64_t one, three, five;  // in bytes
  AOTBUILD_INLINE StridedRows(const float* from, int64_t step)
      : first(reinterpret_cast<const char*>(from)),
        second(first + step * 28),
        third(first + step * 56),
        fourth(first + step * 84),
        one(step * 4),
        three(step * 12),
        five(step * 20) {
    asm("" : "+r"(one), "+r"(three), "+r"(five));
    asm("" : "+r"(first), "+r"(second));
  }
  template <int R>
  AOTBUILD_INLINE float at(int64_t offset) const {
    const char* base = R < 7 ? first : R < 14 ? second : R < 21 ? third : fourth;
    constexpr int rest = R % 7;
    const int64_t distance = rest == 0   ? 0
                             : rest == 1 ? one
                             : rest == 2 ? one * 2
                             : rest == 3 ? three
                             : rest == 4 ? one * 4
                             : rest == 5 ? five
                                         : three * 2;
    return *reinterpret_cast<const float*>(base + distance + offset);
  }
  AOTBUILD_INLINE void advance(int64_t values) {
    first += 4 * values;
    second += 4 * values;
    third += 4 * values;
    fourth += 4 * values;
  }
};

template <int R, int P, size_t... I, size_t... J>
AOTBUILD_INLINE void step_tile(Vec (&sums)[R][P * kVectors], const StridedRows& rows,
                               int64_t offset, const float* weights, int64_t panel,
                               std::index_sequence<I...>, std::index_sequence<J...>) {
  const Vec w[] = {load(weights + (J / kVectors) * panel + (J % kVectors) * kLanes)...};
  auto row = [&](auto& sum, float value) __attribute__((always_inline)) {
    const Vec a = splat(value);
    ((sum[J] = fma(a, w[J], sum[J])), ...);
  };
  (row(sums[I], rows.template at<int(I)>(offset)), ...);
}

// All rows of the sums begin with the bias.
template <int R, int P, size_t... I, size_t... J>
AOTBUILD_INLINE void begin_tile(Vec (&sums)[R][P * kVectors], const float* bias, int64_t channels,
                                std::index_sequence<I...>, std::index_sequence<J...>) {
  auto column = [&](auto j) __attribute__((always_inline)) {
    constexpr int64_t J0 = decltype(j)::value, at = J0 * kLanes;
    Vec value = zero();
    if (bias && channels >= at + kLanes)
      value = load(bias + at);
    else if (bias && channels > at)
      value = load_partial(bias + at, channels - at);
    ((sums[I][J0] = value), ...);
  };
  (column(std::integral_constant<int64_t, int64_t(J)>{}), ...);
}

// Moves all sums to or from where they wait for the next turn.
template <int R, int P, size_t... I, size_t... J, class Move>
AOTBUILD_INLINE void move_tile(Vec (&sums)[R][P * kVectors], float* partial,
                               std::index_sequence<I...>, std::index_sequence<J...>,
                               const Move& move) {
  auto row = [&](Vec(&sum)[P* kVectors], float* p)
                 __attribute__((always_inline)) { (move(sum[J], p + J * kLanes), ...); };
  (row(sums[I], partial + I * P * kPanel), ...);
}

template <class Activation, int R, int P, size_t... I, size_t... J>
AOTBUILD_INLINE void finish_tile(Vec (&sums)[R][P * kVectors], float* out, int64_t out_step,
                                 const Finish& finish, int64_t step, int64_t channels,
                                 std::index_sequence<I...>, std::index_sequence<J...>) {
  const Vec low = splat(finish.low), high = splat(finish.high);
  const float* summand = finish.summand;
  auto column = [&](auto j) __attribute__((always_inline)) {
    constexpr int64_t J0 = decltype(j)::value, at = J0 * kLanes;
    const int64_t left = channels - at;
    if (left >= kLanes) {
      if (summand) ((sums[I][J0] += load(summand + I * step + at)), ...);
      ((store(out + I * out_step + at, Activation::of(clamp(sums[I][J0], low, high)))), ...);
    } else if (left > 0) {
      if (summand) ((sums[I][J0] += load_partial(summand + I * step + at, left)), ...);
      ((store_partial(out + I * out_step + at, Activation::of(clamp(sums[I][J0], low, high)),
                      left)),
       ...);
    }
  };
  (column(std::integral_constant<int64_t, int64_t(J)>{}), ...);
}

// What a tile does beside its sums.
struct Turn {
  const float* ahead;  // weights that are needed soon, two lines of the cache for every four steps
  int64_t ahead_step;  // 32, or 0 where there is nothing to fetch
  float* partial;      // the sums so far, [pixel][P * 16], where they are made in several turns
  bool first, last;    // of these turns
};

// R pixels by P panels: what `add` adds to sums that begin with the bias, or with those of the turn
// before, and what is applied to them in the last turn.
template <class Activation, int R, int P, class Add>
AOTBUILD_INLINE void sum_tile(float* out, int64_t out_step, const Finish& finish, int64_t all,
                              int64_t channels, const Turn& turn, const Add& add) {
  constexpr auto I = std::make_index_sequence<R>();
  constexpr auto J = std::make_index_sequence<P * kVectors>();
  Vec sums[R][P * kVectors];
  if (turn.first)
    begin_tile<R, P>(sums, finish.bias, channels, I, J);
  else
    move_tile<R, P>(sums, turn.partial, I, J, [](Vec& sum, float* p) { sum = load(p); });
  add(sums, I, J);
  if (turn.last)
    finish_tile<Activation, R, P>(sums, out, out_step, finish, all, channels, I, J);
  else
    move_tile<R, P>(sums, turn.partial, I, J, [](Vec& sum, float* p) { store(p, sum); });
}

// R pixels, `step` values from one to the next, by P panels, `panel` values from one to the next.
// Of the channels of the output, `all` in number, `channels` are left from here on.
template <class Activation, int R, int P>
__attribute__((noinline)) void tile(const float* in, int64_t step, const Runs& runs,
                                    const float* weights, int64_t panel, float* out,
                                    int64_t out_step, const Finish& finish, int64_t all,
                                    int64_t channels, const Turn& turn) {
  auto add = [&](auto& sums, auto I, auto J) __attribute__((always_inline)) {
    const float* ahead = turn.ahead;
    for (int64_t outer = 0; outer < runs.count; ++outer)
      for (int64_t inner = 0; inner < runs.inner_count; ++inner) {
        StridedRows rows(in + outer * runs.step + inner * runs.inner_step, step);
        int64_t k = 0;
        for (; k + 4 <= runs.length; k += 4) {
          __builtin_prefetch(ahead, 0, 2);
          __builtin_prefetch(ahead + 16, 0, 2);
          ahead += turn.ahead_step;
          step_tile<R, P>(sums, rows, 0, weights, panel, I, J);
          step_tile<R, P>(sums, rows, 4, weights + 16, panel, I, J);
          step_tile<R, P>(sums, rows, 8, weights + 32, panel, I, J);
          step_tile<R, P>(sums, rows, 12, weights + 48, panel, I, J);
          rows.advance(4);
          weights += 64;
        }
        for (; k < runs.length; ++k) {
          step_tile<R, P>(sums, rows, 0, weights, panel, I, J);
          rows.advance(1);
          weights += 16;
        }
      }
  };
  sum_tile<Activation, R, P>(out, out_step, finish, all, channels, turn, add);
}

// Pixels of a tile at most: as many as there are registers for their sums, two panels (one where
// the registers are few) wide.
#if defined(__aarch64__)
constexpr int kPanels = 1;
#else
constexpr int kPanels = kLanes == 16 ? 2 : 1;
#endif

// The tiles of convolutions whose panels have channels of one group only.
struct Apart {
  static constexpr bool shares = false;
  static constexpr int panels = kPanels;
  static constexpr int64_t first_input(int64_t) { return 0; }
  template <class Activation, int R, int P>
  static AOTBUILD_INLINE void compute(const float* in, int64_t step, int64_t, const Runs& runs,
                                      const float* weights, int64_t panel, float* out,
                                      int64_t out_step, const Finish& finish, int64_t all,
                                      int64_t channels, const Turn& turn) {
    tile<Activation, R, P>(in, step, runs, weights, panel, out, out_step, finish, all, channels,
                           turn);
  }
};

// Groups of K channels, each the sum over C channels of the input, of which 16 / K share a panel.
// Every lane has a factor of its own: of the 16 C / K numbers of a pixel that a panel needs, those
// of a vector's groups are loaded at once, and number c of each group is moved to its lanes.
template <int K, int C>
struct Sharing {
  static_assert(C <= K && kPanel % K == 0,
                "the numbers of a vector's groups fill no more than one");
  static constexpr bool shares = true;
  static constexpr int panels = 1;
  static constexpr int64_t first_input(int64_t panel) { return panel * (kPanel / K) * C; }

  // Adds one tap of the pixels to a vector of their sums; `left` numbers can be read of a pixel.
  template <int V, size_t... I>
  static AOTBUILD_INLINE void add_tap(Vec (&sums)[sizeof...(I)][kVectors], const float* in,
                                      int64_t step, int64_t left, const float* weights,
                                      std::index_sequence<I...>) {
    constexpr int first = V * kLanes / K * C;
    Vec w[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) w[c] = load(weights + c * kPanel + V * kLanes);
    if constexpr (K >= kLanes) {
      auto pixel = [&](Vec& sum, const float* from) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum = fma(splat(from[c]), w[c], sum);
      };
      (pixel(sums[I][V], in + I * step + first), ...);
    } else {
      Ints place[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c)
#pragma GCC unroll 16
        for (int lane = 0; lane < kLanes; ++lane) place[c][lane] = lane / K * C + c;
      auto pixel = [&](Vec& sum, Vec numbers) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum = fma(__builtin_shuffle(numbers, place[c]), w[c], sum);
      };
      if (left - first >= kLanes)
        (pixel(sums[I][V], load(in + I * step + first)), ...);
      else
        (pixel(sums[I][V], load_partial(in + I * step + first, left - first)), ...);
    }
  }

  template <class Activation, int R, int P>
  static __attribute__((noinline)) void compute(const float* in, int64_t step, int64_t left,
                                                const Runs& runs, const float* weights, int64_t,
                                                float* out, int64_t out_step, const Finish& finish,
                                                int64_t all, int64_t channels, const Turn& turn) {
    auto add = [&](auto& sums, auto I, auto J) __attribute__((always_inline)) {
      for (int64_t outer = 0; outer < runs.count; ++outer)
        for (int64_t inner = 0; inner < runs.inner_count; ++inner, weights += C * kPanel)
          each_vector(J, [&](auto v) __attribute__((always_inline)) {
            constexpr int V = decltype(v)::value;
            if (channels > V * kLanes)
              add_tap<V>(sums, in + outer * runs.step + inner * runs.inner_step, step, left,
                         weights, I);
          });
    };
    sum_tile<Activation, R, 1>(out, out_step, finish, all, channels, turn, add);
  }

 private:
  template <size_t... J, class F>
  static AOTBUILD_INLINE void each_vector(std::index_sequence<J...>, const F& f) {
    (f(std::integral_constant<int, int(J)>{}), ...);
  }
};

// How a row of pixels is divided into tiles. Where its length is known when the code is compiled
// (Known > 0) all tiles have the same number of pixels, but for one; else they are as large as
// possible, and the rest is divided in halves.
template <int64_t Known, int Most>
struct RowTiling {
  static constexpr int64_t tiles = Known ? (Known + Most - 1) / Most : 1;
  static constexpr int most = Known ? int((Known + tiles - 1) / tiles) : Most;
  static constexpr int least = Known ? int(Known / tiles) : 1;

  // Calls f(first pixel, number of pixels as a type) for all pixels from `first` to `last`, which
  // lie where tiles begin.
  template <class F>
  static AOTBUILD_INLINE void each(int64_t first, int64_t last, const F& f) {
    if constexpr (Known > 0 && most > 0) {
      for (int64_t tile = (first * tiles + Known - 1) / Known; first < last; ++tile) {
        const int64_t next = (tile + 1) * Known / tiles;
        if (least == most || next - first == most)
          f(first, std::integral_constant<int, most>{});
        else if constexpr (least > 0)
          f(first, std::integral_constant<int, least>{});
        first = next;
      }
    } else {
      halves<Most>(first, last, f);
    }
  }

  // Where the tile begins that is the nearest to a pixel, but not behind it.
  static int64_t start(int64_t pixel) {
    if (Known == 0) return pixel / Most * Most;
    return pixel >= Known ? Known : pixel * tiles / Known * Known / tiles;
  }

 private:
  template <int R, class F>
  static AOTBUILD_INLINE void halves(int64_t first, int64_t last, const F& f) {
    for (; last - first >= R; first += R) f(first, std::integral_constant<int, R>{});
    if constexpr (R > 1) halves<(R + 1) / 2 < R ? (R + 1) / 2 : 1>(first, last, f);
  }
};

// ------------------------------------------------------------------------ dense convolutions

// Where the first line of the cache begins in memory that has room for 16 numbers more.
inline float* at_line(float* memory) {
  return memory + -(reinterpret_cast<uintptr_t>(memory) / sizeof(float)) % 16;
}

constexpr int64_t kBand = 40 * 1024;  // values in the copy of a band of input rows
constexpr int64_t kNear = 6 * 1024;   // values that stay in the first cache
constexpr int64_t kTurn = 80 * 1024;  // weights that are read before they are read again

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define AOTBUILD_SHUFFLE
// One of three vectors of pixels of three colours, out of one vector of each colour.
template <int K, size_t... I>
AOTBUILD_INLINE Vec mixed(Vec a, Vec b, Vec c, std::index_sequence<I...>) {
  // What an element is: colour (K * kLanes + I) % 3 of pixel (K * kLanes + I) / 3.
  const Vec two =
      __builtin_shufflevector(a, b,
                              ((K * kLanes + I) % 3 == 0   ? (K * kLanes + I) / 3
                               : (K * kLanes + I) % 3 == 1 ? kLanes + (K * kLanes + I) / 3
                                                           : 0)...);
  return __builtin_shufflevector(
      two, c, ((K * kLanes + I) % 3 == 2 ? kLanes + (K * kLanes + I) / 3 : I)...);
}
AOTBUILD_INLINE void interleave(const float* from, int64_t step, float* to) {
  constexpr auto I = std::make_index_sequence<kLanes>();
  const Vec a = load(from), b = load(from + step), c = load(from + 2 * step);
  store(to, mixed<0>(a, b, c, I));
  store(to + kLanes, mixed<1>(a, b, c, I));
  store(to + 2 * kLanes, mixed<2>(a, b, c, I));
}
#endif
#endif

// Copies rows of the image, channels innermost, with zeros for the columns beside it; `pitch`
// values from one pixel to the next.
inline void copy_band(const Shape& s, const float* x, int64_t first, int64_t last, int64_t width,
                      int64_t pitch, float* to) {
  const int64_t ic = s.in_channels;
  const int64_t present = std::max<int64_t>(std::min(s.in_width, width - s.pad_left), 0);
  for (int64_t h = first; h < last; ++h, to += width * pitch) {
    const float* row = x + h * s.step_height;
    std::memset(to, 0, sizeof(float) * s.pad_left * pitch);
    float* inside = to + s.pad_left * pitch;
    if ((s.step_channel == 1 || ic == 1) && s.step_width == ic && pitch == ic) {
      std::memcpy(inside, row, sizeof(float) * present * ic);
    } else if (s.step_channel == 1) {
      for (int64_t w = 0; w < present; ++w)
        std::memcpy(inside + w * pitch, row + w * s.step_width, sizeof(float) * ic);
    } else {
      int64_t c = 0;
#if defined(AOTBUILD_SHUFFLE)
      if (pitch == 3 && s.step_width == 1) {
        int64_t w = 0;
        for (; w + kLanes <= present; w += kLanes)
          interleave(row + w, s.step_channel, inside + w * 3);
        for (; w < present; ++w)
          for (int64_t i = 0; i < 3; ++i) inside[w * 3 + i] = row[i * s.step_channel + w];
        c = ic;
      }
#endif
      for (; c + 8 <= ic; c += 8)
        for (int64_t w = 0; w < present; ++w)
          for (int64_t i = 0; i < 8; ++i)
            inside[w * pitch + c + i] = row[(c + i) * s.step_channel + w * s.step_width];
      for (; c < ic; ++c)
        for (int64_t w = 0; w < present; ++w)
          inside[w * pitch + c] = row[c * s.step_channel + w * s.step_width];
    }
    const int64_t after = s.pad_left + present;
    std::memset(to + after * pitch, 0, sizeof(float) * (width - after) * pitch);
  }
}

// The kernel's rows that lie in the image, for one row of the output.
struct Span {
  int64_t low, high;
};
AOTBUILD_INLINE Span inside(int64_t start, int64_t step, int64_t count, int64_t size) {
  Span span{0, count};
  if (start < 0) span.low = std::min(count, divide_up(-start, step));
  if (start + (count - 1) * step >= size)
    span.high = std::max(span.low, start < size ? divide_up(size - start, step) : 0);
  return span;
}

// The panels that are computed at once, and what their tiles fetch for those that come next.
struct Group {
  int64_t channel, end;  // the first, and that behind the last of those that lie in order
  int64_t inputs;        // channels of the input from the first that is read
  const float* weights;  // of this turn
  int64_t panel;         // from one panel to the next
  const float* next;     // weights of the next turn, or null
  int64_t length;        // of what one turn reads of a panel
  float* partial;
  bool first, last;
  int64_t tiles = 0;  // that were begun

  // Each of the first tiles fetches half of what the next turn reads of a panel.
  template <int P>
  AOTBUILD_INLINE Turn turn(int64_t pixel) {
    const int64_t half = tiles++;
    const bool fetch = next && half < 2 * P;
    return {fetch ? next + half / 2 * panel + half % 2 * length / 2 : weights, fetch ? 32 : 0,
            partial + pixel * P * kPanel, first, last};
  }
};

// The tiles of pixels `first` to `last` of a row by the P panels of a group. The row begins at
// pixel `origin` of the output, of which the partial sums are those from pixel `partial_origin` on;
// its input is at `in`.
template <class Activation, class Tiling, int P, class Tile = Apart, class Sink>
AOTBUILD_INLINE void convolve_row(int64_t first, int64_t last, int64_t origin,
                                  int64_t partial_origin, const float* in, int64_t step,
                                  const Runs& runs, const float* weights, Group& group, int64_t oc,
                                  const Finish& finish, const Sink& sink) {
  Tiling::each(first, last, [&](int64_t pixel, auto rows) __attribute__((always_inline)) {
    constexpr int R = decltype(rows)::value;
    const int64_t place = origin + pixel;
    const Turn turn = group.turn<P>(place - partial_origin);
    auto fill = [&](float* out, int64_t out_step) __attribute__((always_inline)) {
      Tile::template compute<Activation, R, P>(
          in + pixel * step, step, group.inputs, runs, weights, group.panel, out, out_step,
          finish.at(place, group.channel, oc), oc, group.end - group.channel, turn);
    };
    if (group.last)
      sink(place, place + R, group.channel, std::min(group.channel + P * kPanel, group.end), fill);
    else
      fill(nullptr, 0);
  });
}

// Calls f(first panel, number of panels as a type) for the panels that are computed at once, Most
// of them or the last one; so many channels lie in order.
template <int Most = kPanels, class F>
AOTBUILD_INLINE void panels_of(int64_t index, int64_t channels, const F& f) {
  const int64_t begin = index * Most;
  if (Most == 1 || divide_up(channels, kPanel) - begin >= Most)
    f(begin, std::integral_constant<int, Most>{});
  else if constexpr (Most > 1)
    f(begin, std::integral_constant<int, 1>{});
}

// Into how many parts the channels are divided where there are too few other tasks.
inline int64_t parts_for(int64_t threads, int64_t tasks, int64_t groups) {
  return threads > 1 && tasks % threads ? std::min(groups, divide_up(4 * threads, tasks)) : 1;
}

// A kernel of one pixel that moves by one: a product of matrices. Pixels are `step` values apart;
// Known is their number if it is known.
template <class Activation, int64_t Known, class Sink>
void convolve_pointwise(int64_t pixels, int64_t ic, int64_t oc, const float* x, int64_t step,
                        const float* weights, const Finish& finish, const Sink& sink,
                        int64_t threads) {
  using Tiling = RowTiling<Known, kRows>;
  const int64_t groups = divide_up(divide_up(oc, kPanel), kPanels);
  const int64_t chunk = std::max<int64_t>(kBand / ic / kRows, 1) * kRows;
  const int64_t chunks = divide_up(pixels, chunk), parts = parts_for(threads, chunks, groups);
  const Runs runs{1, 0, ic, 1, 0};
#pragma omp parallel for num_threads(threads) if (threads > 1 && chunks * parts > 1) \
    schedule(static)
  for (int64_t task = 0; task < chunks * parts; ++task) {
    const int64_t part = task % parts, from = task / parts;
    const int64_t first = Tiling::start(from * chunk);
    const int64_t last = from + 1 == chunks ? pixels : Tiling::start((from + 1) * chunk);
    const int64_t end = (part + 1) * groups / parts;
    for (int64_t index = part * groups / parts; index < end; ++index)
      panels_of(index, oc, [&](int64_t begin, auto count) {
        const float* w = weights + begin * ic * kPanel;
        const float* next = index + 1 < end ? w + kPanels * ic * kPanel : nullptr;
        Group group{begin * kPanel, oc, ic, w, ic * kPanel, next, ic * kPanel, nullptr, true, true};
        convolve_row<Activation, Tiling, decltype(count)::value>(first, last, 0, 0, x, step, runs,
                                                                 w, group, oc, finish, sink);
      });
  }
}

// Any other kernel. Known is the width of the output if it is known.
template <class Activation, int64_t Known, class Tile = Apart, class Sink>
void convolve(const Shape& s, const float* x, const float* weights, const Finish& finish,
              const Sink& sink, int64_t threads) {
  using Tiling = RowTiling<Known, kRows>;
  const int64_t ic = s.in_channels, oc = s.out_channels, height = s.out_height;
  // Channels that a sum goes over, and those of the output whose panels lie in order.
  const int64_t depth = ic / s.groups, ordered = Tile::shares ? oc : oc / s.groups;
  const int64_t panels = divide_up(ordered, kPanel), sets = divide_up(panels, Tile::panels);
  const int64_t groups = oc / ordered * sets;
  const int64_t panel = s.kernel_height * s.kernel_width * depth * kPanel;
  const int64_t reach = (s.kernel_width - 1) * s.dilation_width + 1;
  const int64_t width = (s.out_width - 1) * s.stride_width + reach;  // of a padded row
  // The channels of a pixel follow one another, and so do pixels where a tap reads several.
  const bool in_order =
      (s.step_channel == 1 || ic == 1) && (s.step_width == ic || s.kernel_width == 1);
  const bool copied = !in_order || s.pad_left > 0 || width - s.pad_left > s.in_width;
  // A group reads some channels of many pixels: an odd number of lines of the cache from one to the
  // next, lest all of these fall into few of its sets.
  const int64_t pitch = s.groups > 1 ? (divide_up(ic, 16) | 1) * 16 : ic;
  const int64_t fits =
      kBand / std::max<int64_t>(width * pitch, 1) - (s.kernel_height - 1) * s.dilation_height;
  const int64_t rows = std::min(height, std::max<int64_t>(1, (fits - 1) / s.stride_height + 1));
  const int64_t bands = divide_up(height, rows), spatial = s.batch * bands;
  const int64_t parts = parts_for(threads, spatial, groups), tasks = spatial * parts;
  const int64_t line = copied ? width * pitch : s.step_height;
  const int64_t step = copied ? pitch : s.step_width;
  const bool joined = s.kernel_width == 1 || (s.dilation_width == 1 && step == depth);
  const int64_t most = (rows - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height + 1;
  // Rows of the kernel that are read in one turn: the weights of two turns fit into the cache.
  const int64_t row = s.kernel_width * depth * kPanel;
  const int64_t taps = std::clamp<int64_t>(kTurn / (row * Tile::panels), 1, s.kernel_height);
  const int64_t turns = divide_up(s.kernel_height, taps);
  const int64_t sums = turns > 1 ? rows * s.out_width * Tile::panels * kPanel : 0;
  const int64_t copy_size = copied ? std::min(most, s.in_height) * width * pitch : 0;
  const int64_t needed = divide_up(copy_size, 16) * 16 + sums;
  const std::unique_ptr<float[]> memory(needed ? new float[needed * threads + 16] : nullptr);
  float* const scratch = at_line(memory.get());

  auto compute = [&](int64_t task, float* copy) {
    const int64_t part = task % parts, band = task / parts % bands, image = task / parts / bands;
    const int64_t top = band * rows, bottom = std::min(height, top + rows);
    const float* in = x + image * s.step_batch;
    int64_t first = 0;  // row of the input that `in` begins with
    if (copied) {
      first = std::min(s.in_height, std::max<int64_t>(0, top * s.stride_height - s.pad_top));
      const int64_t last = (bottom - 1) * s.stride_height - s.pad_top +
                           (s.kernel_height - 1) * s.dilation_height + 1;
      copy_band(s, in, first, std::max(first, std::min(s.in_height, last)), width, pitch, copy);
      in = copy;
    }
    float* partial = copy + needed - sums;
    const int64_t end = (part + 1) * groups / parts;
    for (int64_t index = part * groups / parts; index < end; ++index)
      panels_of<Tile::panels>(index % sets, ordered, [&](int64_t begin, auto count) {
        constexpr int P = decltype(count)::value;
        const int64_t before = index / sets;  // groups whose panels lie before
        const float* w = weights + (before * panels + begin) * panel;
        const int64_t input = before * depth + Tile::first_input(begin);
        for (int64_t turn = 0; turn < turns; ++turn) {
          const int64_t from = turn * taps, to = std::min(s.kernel_height, from + taps);
          const float* next = to < s.kernel_height ? w + to * row
                              : index + 1 < end    ? w + P * panel
                                                   : nullptr;
          Group group{before * ordered + begin * kPanel,
                      (before + 1) * ordered,
                      ic - input,
                      w + from * row,
                      panel,
                      next,
                      taps * row,
                      partial,
                      turn == 0,
                      turn + 1 == turns};
          for (int64_t h = top; h < bottom; ++h) {
            const int64_t start = h * s.stride_height - s.pad_top;
            const Span span = inside(start, s.dilation_height, s.kernel_height, s.in_height);
            const int64_t low = std::max(span.low, from), high = std::min(span.high, to);
            const Runs runs{high - low, s.dilation_height * line,
                            joined ? s.kernel_width * depth : depth, joined ? 1 : s.kernel_width,
                            s.dilation_width * step};
            convolve_row<Activation, Tiling, P, Tile>(
                0, s.out_width, (image * height + h) * s.out_width,
                (image * height + top) * s.out_width,
                in + (start + low * s.dilation_height - first) * line + input,
                s.stride_width * step, runs, w + low * row, group, oc, finish, sink);
          }
        }
      });
  };
#pragma omp parallel num_threads(threads) if (threads > 1 && tasks > 1)
  {
    float* copy = scratch + needed * omp_get_thread_num();
#pragma omp for schedule(static)
    for (int64_t task = 0; task < tasks; ++task) compute(task, copy);
  }
}

// -------------------------------------------------------------------- depthwise convolutions

// Each channel has its own kernel; the weights lie as [kh][kw][c]. Vectors run over channels.

template <class Activation>
AOTBUILD_INLINE void finish_up_to(float* out, const float* summand, Vec value, Vec low, Vec high,
                                  int64_t count) {
  if (summand) value += load_up_to(summand, count);
  value = Activation::of(clamp(value, low, high));
  store_up_to(out, value, count);
}

// One pixel, wherever it lies. `in` is the image, which is not read outside of it. Of all channels,
// `some` are computed.
template <class Activation>
void depthwise_pixel(const Shape& s, const float* in, Span rows, int64_t top, int64_t left,
                     const float* weights, int64_t some, float* out, const Finish& finish) {
  const Span columns = inside(left, s.dilation_width, s.kernel_width, s.in_width);
  const Vec low = splat(finish.low), high = splat(finish.high);
  const int64_t channels = s.in_channels;
  for (int64_t c = 0; c < some; c += kLanes) {
    const int64_t count = some - c;
    Vec sum = finish.bias ? load_up_to(finish.bias + c, count) : zero();
    for (int64_t i = rows.low; i < rows.high; ++i)
      for (int64_t j = columns.low; j < columns.high; ++j)
        sum = fma(load_up_to(in + (top + i * s.dilation_height) * s.step_height +
                                 (left + j * s.dilation_width) * s.step_width + c,
                             count),
                  load_up_to(weights + (i * s.kernel_width + j) * channels + c, count), sum);
    finish_up_to<Activation>(out + c, finish.summand ? finish.summand + c : nullptr, sum, low, high,
                             count);
  }
}

template <int K, int S, int R, size_t... J, size_t... I, size_t... C>
AOTBUILD_INLINE void depthwise_row(Vec (&sums)[R], const float* in, int64_t step,
                                   const float* weights, int64_t channels, int64_t count,
                                   std::index_sequence<J...>, std::index_sequence<I...>,
                                   std::index_sequence<C...>) {
  const Vec w[] = {load_up_to(weights + J * channels, count)...};
  auto column = [&](auto c) __attribute__((always_inline)) {
    constexpr int at = decltype(c)::value;
    Vec value = load_up_to(in, count);
    // In a register: as an operand of each product it would be loaded K times.
#if defined(__AVX__)
    asm("" : "+v"(value));
#endif
    in += step;
    auto pixel = [&](auto i) __attribute__((always_inline)) {
      constexpr int r = decltype(i)::value, tap = at - r * S;
      if constexpr (tap >= 0 && tap < K) sums[r] = fma(value, w[tap], sums[r]);
    };
    (pixel(std::integral_constant<int, int(I)>{}), ...);
  };
  (column(std::integral_constant<int, int(C)>{}), ...);
}

// R pixels whose taps are all in the image's columns; a kernel K wide, moved by S, not dilated.
// `in` is the first tap of the first row that is in the image.
template <class Activation, int K, int S, int R, size_t... I>
__attribute__((noinline)) void depthwise_tile(const Shape& s, const float* in, Span rows,
                                              const float* weights, int64_t some, float* out,
                                              int64_t out_step, const Finish& finish,
                                              std::index_sequence<I...> pixels) {
  constexpr auto J = std::make_index_sequence<K>();
  constexpr auto C = std::make_index_sequence<(R - 1) * S + K>();
  const Vec low = splat(finish.low), high = splat(finish.high);
  const int64_t channels = s.in_channels, line = s.dilation_height * s.step_height;
  auto block = [&](int64_t c, int64_t count) __attribute__((always_inline)) {
    const Vec bias = finish.bias ? load_up_to(finish.bias + c, count) : zero();
    Vec sums[R] = {((void)I, bias)...};
    const float* from = in + c;
    for (int64_t i = rows.low; i < rows.high; ++i, from += line)
      depthwise_row<K, S, R>(sums, from, s.step_width, weights + i * K * channels + c, channels,
                             count, J, pixels, C);
    (finish_up_to<Activation>(out + I * out_step + c,
                              finish.summand ? finish.summand + I * channels + c : nullptr, sums[I],
                              low, high, count),
     ...);
  };
  int64_t c = 0;
  for (; c + kLanes <= some; c += kLanes) block(c, kLanes);
  if (c < some) block(c, some - c);
}

// Pixels of a tile at most; the weights of one row of the kernel take registers, too.
#if defined(__aarch64__)
constexpr int kDepthwiseRows = 7;
#else
constexpr int kDepthwiseRows = kLanes == 16 ? 7 : 6;
#endif

constexpr int64_t kDepthwiseChannels = 256;  // of a tile

// One row of the output, which begins at pixel `origin`, `some` channels from c on; the first tap
// is in row `top` of the image. The kernel is K wide, moved by S, not dilated; K = 0 for any other.
// Known is the number of pixels all of whose taps lie in the image's columns, if it is known.
template <class Activation, int K, int S, int64_t Known, class Sink>
void depthwise_line(const Shape& s, const float* in, int64_t top, int64_t origin, int64_t c,
                    int64_t some, const float* weights, const Finish& finish, const Sink& sink) {
  const int64_t channels = s.in_channels;
  // The first pixel that has no tap before the first column, and that after the last which has none
  // behind the last.
  const int64_t begin = std::min(divide_up(s.pad_left, s.stride_width), s.out_width);
  const int64_t room = s.in_width + s.pad_left - (s.kernel_width - 1) * s.dilation_width - 1;
  const int64_t end =
      room < 0 ? begin : std::max(begin, std::min(s.out_width, room / s.stride_width + 1));
  const Span rows = inside(top, s.dilation_height, s.kernel_height, s.in_height);
  auto single = [&](int64_t first, int64_t last) {
    for (int64_t w = first; w < last; ++w)
      sink(origin + w, origin + w + 1, c, c + some, [&](float* out, int64_t) {
        depthwise_pixel<Activation>(s, in + c, rows, top, w * s.stride_width - s.pad_left,
                                    weights + c, some, out, finish.at(origin + w, c, channels));
      });
  };
  if constexpr (K > 0) {
    single(0, begin);
    const float* corner =
        in + c + (top + rows.low * s.dilation_height) * s.step_height - s.pad_left * s.step_width;
    RowTiling<Known, kDepthwiseRows>::each(0, end - begin, [&](int64_t pixel, auto count) {
      constexpr int R = decltype(count)::value;
      const int64_t w = begin + pixel;
      sink(origin + w, origin + w + R, c, c + some, [&](float* out, int64_t step) {
        depthwise_tile<Activation, K, S, R>(s, corner + w * S * s.step_width, rows, weights + c,
                                            some, out, step, finish.at(origin + w, c, channels),
                                            std::make_index_sequence<R>());
      });
    });
    single(end, s.out_width);
  } else {
    single(0, s.out_width);
  }
}

// Channels of the input follow one another.
template <class Activation, int K, int S, int64_t Known, class Sink>
void convolve_depthwise(const Shape& s, const float* x, const float* weights, const Finish& finish,
                        const Sink& sink, int64_t threads) {
  // So many channels that the rows of the image under the kernel stay in the first cache until the
  // kernel has moved over all of them, unless these are too few to be read in order.
  const int64_t near = kNear / (s.kernel_height * s.in_width) / kLanes * kLanes;
  const int64_t block = near < 4 * kPanel ? kDepthwiseChannels : std::min(near, kDepthwiseChannels);
  const int64_t parts = std::min(s.out_height, divide_up(threads, s.batch));
  const int64_t tasks = s.batch * parts;
#pragma omp parallel for num_threads(threads) if (threads > 1 && tasks > 1) schedule(static)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t image = task / parts, part = task % parts;
    const int64_t first = part * s.out_height / parts, last = (part + 1) * s.out_height / parts;
    for (int64_t c = 0; c < s.in_channels; c += block)
      for (int64_t h = first; h < last; ++h)
        depthwise_line<Activation, K, S, Known>(
            s, x + image * s.step_batch, h * s.stride_height - s.pad_top,
            (image * s.out_height + h) * s.out_width, c, std::min(block, s.in_channels - c),
            weights, finish, sink);
  }
}

}  // namespace convolution
}  // namespace aotbuild

#endif
