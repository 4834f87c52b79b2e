// Whether products of few rows give the bits of those of many: prints how many numbers differ.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "linear/gemm.h"

using namespace aotbuild;

static uint32_t state = 1;

static float next() {
  state = state * 1664525 + 1013904223;
  return float(int32_t(state >> 8) - (1 << 23)) / (1 << 20);
}

// c = bias + a b, for rows of a that are k + 3 apart.
static std::vector<float> product(int64_t m, int64_t n, int64_t k, const float* a,
                                  const std::vector<float>& b, const float* bias) {
  std::vector<float> c(m * n), tile(Tiling::kMostRows * Tiling::kLd);
  const Tiling tiling(m, n, k, 1);
  for (int64_t t = 0; t < tiling.count; t++) {
    const auto place = tiling.at(t);
    multiply_tile<fewest_rows(0), most_rows(0)>(tiling, place, a, k + 3, b.data(), k, bias,
                                                tile.data());
    for (int64_t r = place.m0; r < place.m1; r++)
      std::memcpy(&c[r * n + place.n0], &tile[(r - place.m0) * Tiling::kLd],
                  sizeof(float) * (place.n1 - place.n0));
  }
  return c;
}

int main() {
  constexpr int64_t kRowsInAll = 33;
  int64_t different = 0, compared = 0;
  for (int64_t n : {1, 16, 33, 64, 130, 200})
    for (int64_t k : {1, 2, 31, 32, 33, 63, 64, 127, 128, 129, 1500}) {
      std::vector<float> a(kRowsInAll * (k + 3)), b(divide_up(n, kPanel) * kPanel * k + 1), bias;
      for (auto& x : a) x = next();
      for (auto& x : b) x = next();
      for (int64_t i = 0; i < divide_up(n, kPanel) * kPanel; i++) bias.push_back(next());
      for (const float* init : {(const float*)nullptr, (const float*)bias.data()}) {
        const auto all = product(kRowsInAll, n, k, a.data(), b, init);
        for (int64_t rows = 1; rows <= 6; rows++)
          for (int64_t first : {int64_t(0), kRowsInAll - rows}) {
            const auto few = product(rows, n, k, a.data() + first * (k + 3), b, init);
            for (int64_t i = 0; i < rows * n; i++, compared++)
              different += std::memcmp(&few[i], &all[first * n + i], sizeof(float)) != 0;
          }
      }
    }
  std::printf("%lld %lld\n", (long long)different, (long long)compared);
}
