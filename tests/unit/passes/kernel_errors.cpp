// Prints the largest errors of the functions in simd/, one function a line: in units in the last
// place of the exact result, and absolute. Every 997th float is measured; see test_kernels.py.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "simd/activations.h"
#include "simd/exponential.h"

using namespace aotbuild;

template <class F, class Exact>
void measure(const char* name, float low, float high, F approximate, Exact exact) {
  double units = 0, absolute = 0;
  for (uint32_t magnitude = 0; magnitude < 0x7f800000u; magnitude += 997)
    for (uint32_t sign : {0u, 0x80000000u}) {
      const uint32_t pattern = magnitude | sign;
      float x, results[kLanes];
      std::memcpy(&x, &pattern, sizeof x);
      if (!(x >= low && x <= high)) continue;
      store(results, approximate(splat(x)));
      const double expected = exact(double(x)), error = std::fabs(results[0] - expected);
      if (!(error <= absolute)) absolute = error;
      if (std::fabs(expected) < 0x1p-126) continue;  // denormal results may be 0
      const double unit = std::exp2(std::floor(std::log2(std::fabs(expected))) - 23);
      if (!(error / unit <= units)) units = error / unit;
    }
  std::printf("%s %.2f %.2g\n", name, units, absolute);
}

int main() {
  auto logistic_of = [](double x) { return 1 / (1 + std::exp(-x)); };
  auto silu_of = [](double x) { return x / (1 + std::exp(-x)); };
  auto gelu_of = [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; };
  auto gelu_tanh_of = [](double x) {
    return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  };
  measure("exponential", -87.3f, 88.0f, exponential, [](double x) { return std::exp(x); });
  measure("hyperbolic_tangent", -1e9f, 1e9f, hyperbolic_tangent,
          [](double x) { return std::tanh(x); });
  measure("logistic", -86.0f, 1e9f, logistic, logistic_of);
  measure("sigmoid", -86.0f, 1e9f, sigmoid::of, logistic_of);
  measure("silu", -89.0f, 100.0f, silu::of, silu_of);
  measure("gelu", -12.9f, 1e9f, gelu::of, gelu_of);
  measure("gelu_of_negative", -1e9f, 0.0f, gelu::of, gelu_of);
  measure("gelu_tanh", -5.0f, 1e9f, gelu_tanh::of, gelu_tanh_of);
  measure("gelu_tanh_of_small", -1.0f, 1e9f, gelu_tanh::of, gelu_tanh_of);
  measure("gelu_tanh_of_negative", -1e9f, 0.0f, gelu_tanh::of, gelu_tanh_of);
  return 0;
}
