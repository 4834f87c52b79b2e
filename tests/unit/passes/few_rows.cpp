// Whether products of few rows give the bits of those of many: prints how many numbers differ.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "linear/gemm_bfloat16.h"

using namespace aotbuild;

static uint32_t state = 1;

static float next() {
  state = state * 1664525 + 1013904223;
  return float(int32_t(state >> 8) - (1 << 23)) / (1 << 20);
}
static void fill(std::vector<float>& numbers) {
  for (auto& x : numbers) x = next();
}
static void fill(std::vector<uint16_t>& numbers) {
  for (auto& x : numbers) {
    const float wide = next();
    std::memcpy(&x, (const char*)&wide + 2, sizeof x);
  }
}

// The product in float32.
struct Floats {
  using Number = float;
  static constexpr int kTerms = 1;
  static void multiply(const Tiling& tiling, const Tiling::Tile& tile, const float* a,
                       int64_t distance, const float* b, int64_t k, const float* bias, float* c) {
    multiply_tile<fewest_rows(0), most_rows(0)>(tiling, tile, a, distance, b, k, bias, c);
  }
  using Tiles = Tiling;
};

// That of pairs of bfloat16, by the CPU's own instruction where it has it.
struct Pairs {
  using Number = uint16_t;
  static constexpr int kTerms = 2;
  using Tiles = bfloat16::Tiling;
  static void multiply(const Tiles& tiling, const Tiles::Tile& tile, const uint16_t* a,
                       int64_t distance, const uint16_t* b, int64_t pairs, const uint16_t* bias,
                       float* c) {
    bfloat16::multiply_tile<fewest_rows(0), most_rows(0)>(tiling, tile, a, distance, b, pairs, bias,
                                                          c);
  }
};

// The same in float32 on every CPU.
struct WidenedPairs : Pairs {
  static void multiply(const Tiles& tiling, const Tiles::Tile& tile, const uint16_t* a,
                       int64_t distance, const uint16_t* b, int64_t pairs, const uint16_t* bias,
                       float* c) {
    const int64_t panel = pairs * 2 * kPanel;
    const int panels = divide_up(tile.n1 - tile.n0, kPanel);
    float wide[8 * kPanel];
    for (int64_t block = tile.first; block < tile.last; block++) {
      const int64_t m0 = tiling.row(block), m1 = tiling.row(block + 1);
      bfloat16::multiply_rows<bfloat16::Widened, fewest_rows(0), most_rows(0)>(
          m1 - m0, panels, a + m0 * distance, distance, b + tile.n0 / kPanel * panel, panel, pairs,
          c + (m0 - tile.m0) * Tiles::kLd, Tiles::kLd,
          bias ? bfloat16::widened(bias + tile.n0, panels * kPanel, wide) : kNoBias);
    }
  }
};

// bias + a b, for rows of a that are so far apart.
template <class By>
static std::vector<float> product(int64_t m, int64_t n, int64_t steps, const typename By::Number* a,
                                  int64_t distance, const std::vector<typename By::Number>& b,
                                  const typename By::Number* bias) {
  std::vector<float> c(m * n), tile(By::Tiles::kMostRows * By::Tiles::kLd);
  const typename By::Tiles tiling(m, n, steps, 1);
  for (int64_t t = 0; t < tiling.count; t++) {
    const auto place = tiling.at(t);
    By::multiply(tiling, place, a, distance, b.data(), steps, bias, tile.data());
    for (int64_t r = place.m0; r < place.m1; r++)
      std::memcpy(&c[r * n + place.n0], &tile[(r - place.m0) * By::Tiles::kLd],
                  sizeof(float) * (place.n1 - place.n0));
  }
  return c;
}

template <class By>
static void compare(const char* name) {
  using Numbers = std::vector<typename By::Number>;
  constexpr int64_t kRowsInAll = 33;
  int64_t different = 0, compared = 0;
  for (int64_t n : {1, 16, 33, 64, 130, 200})
    for (int64_t steps : {1, 2, 31, 32, 33, 63, 64, 127, 128, 129, 1500}) {
      const int64_t distance = By::kTerms * steps + 3, whole = divide_up(n, kPanel) * kPanel;
      Numbers a(kRowsInAll * distance), b(whole * By::kTerms * steps), bias(whole);
      fill(a), fill(b), fill(bias);
      for (const bool added : {false, true}) {
        const auto* const init = added ? bias.data() : nullptr;
        const auto all = product<By>(kRowsInAll, n, steps, a.data(), distance, b, init);
        for (int64_t rows = 1; rows <= 6; rows++)
          for (int64_t first : {int64_t(0), kRowsInAll - rows}) {
            const auto few =
                product<By>(rows, n, steps, a.data() + first * distance, distance, b, init);
            for (int64_t i = 0; i < rows * n; i++, compared++)
              different += std::memcmp(&few[i], &all[first * n + i], sizeof(float)) != 0;
          }
      }
    }
  std::printf("%s %lld %lld\n", name, (long long)different, (long long)compared);
}

int main() {
  compare<Floats>("floats");
  compare<Pairs>("pairs");
  compare<WidenedPairs>("widened");
}
