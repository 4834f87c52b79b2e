// Fourier transforms of tensors.

#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "tensor.h"
#include "transforms.h"

using namespace aotbuild::standalone;

namespace {

// Whether the torch of the build, by which generated code knows how results are laid out, has MKL,
// and lays them out as that needs them. It may be for another architecture.
constexpr bool kAsMkl = AOTBUILD_TORCH_HAS_MKL;

// The dimensions to be transformed, and what generated code expects of the result.
struct Spectrum {
  std::vector<int> order;  // the other dimensions, by their strides, then the transformed ones
  int others;              // how many they are
  std::vector<int64_t> sizes, strides;  // of the result
};

Spectrum lay_out(const Tensor* tensor, const int64_t* dims, int64_t count, bool real, bool half) {
  int ndim = tensor->ndim;
  const int64_t* strides = tensor->strides();
  auto wider = [&](int a, int b) { return strides[a] > strides[b]; };
  std::vector<int> transformed;
  for (int64_t i = 0; i < count; i++) {
    int64_t d = dims[i] < 0 ? dims[i] + ndim : dims[i];
    if (d < 0 || d >= ndim) throw std::runtime_error("a dimension is out of range");
    if (tensor->sizes()[d] < 1) throw std::runtime_error("a transform of no numbers");
    transformed.push_back(static_cast<int>(d));
  }
  Spectrum made;
  made.sizes.assign(tensor->sizes(), tensor->sizes() + ndim);
  if (half) made.sizes[transformed.back()] = made.sizes[transformed.back()] / 2 + 1;
  std::stable_sort(transformed.begin(), transformed.end() - real, wider);
  for (int d = 0; d < ndim; d++)
    if (std::find(transformed.begin(), transformed.end(), d) == transformed.end())
      made.order.push_back(d);
  std::stable_sort(made.order.begin(), made.order.end(), wider);
  made.others = static_cast<int>(made.order.size());
  made.order.insert(made.order.end(), transformed.begin(), transformed.end());
  if (static_cast<int>(made.order.size()) != ndim)
    throw std::runtime_error("a dimension is given twice");
  made.strides.resize(ndim);
  int64_t next = 1;
  for (int i = ndim - 1; i >= 0; i--) {
    made.strides[made.order[i]] = next;
    next *= made.sizes[made.order[i]];
  }
  return made;
}

double scale_of(const Tensor* tensor, const int64_t* dims, int64_t count, int64_t mode) {
  double n = 1;
  for (int64_t i = 0; i < count; i++)
    n *= static_cast<double>(tensor->sizes()[dims[i] < 0 ? dims[i] + tensor->ndim : dims[i]]);
  switch (mode) {
    case 0:
      return 1;
    case 1:
      return 1 / std::sqrt(n);
    case 2:
      return 1 / n;
  }
  throw std::runtime_error("there is no normalization with the number " + std::to_string(mode));
}

// The other half of what real numbers give: conjugated, at the negative frequencies.
template <typename T>
void mirror(Tensor* made, const Spectrum& spectrum, int64_t half) {
  using C = std::complex<T>;
  int ndim = made->ndim, last = spectrum.order.back();
  int64_t length = made->sizes()[last], step = made->strides()[last];
  C* all = made->as<C>();
  std::vector<int64_t> at(ndim, 0);
  for (int64_t rows = made->numel / length; rows > 0; rows--) {
    int64_t to = 0, from = 0;
    for (int i = 0; i < ndim - 1; i++) {
      int d = spectrum.order[i];
      int64_t size = made->sizes()[d], opposite = at[i] ? size - at[i] : 0;
      to += at[i] * made->strides()[d];
      from += (i < spectrum.others ? at[i] : opposite) * made->strides()[d];
    }
    for (int64_t k = half; k < length; k++)
      all[to + k * step] = std::conj(all[from + (length - k) * step]);
    for (int i = ndim - 2; i >= 0 && ++at[i] == made->sizes()[spectrum.order[i]]; i--) at[i] = 0;
  }
}

template <typename T>
Tensor* transformed(Tensor* tensor, const Spectrum& spectrum, bool real, bool full, bool inverse,
                    double scale) {
  int32_t dtype = sizeof(T) == 4 ? kComplexFloat : kComplexDouble;
  int ndim = tensor->ndim, parts = real ? 1 : 2;
  Owned made(new_tensor(dtype, ndim, spectrum.sizes.data(), spectrum.strides.data()));
  if (!made->numel) return made.take();
  auto lines_of = [&](int dim, const Tensor* from, int from_parts) {
    Signals<T> lines;
    lines.length = tensor->sizes()[dim];
    lines.from = reinterpret_cast<const T*>(from->data());
    lines.to = reinterpret_cast<T*>(made->data());
    lines.from_step = from->strides()[dim] * from_parts;
    lines.to_step = made->strides()[dim] * 2;
    lines.real = from_parts == 1;
    lines.inverse = inverse;
    lines.scale = T(1);
    return lines;
  };
  auto add = [&](Signals<T>& lines, int dim, int64_t size, const Tensor* from, int from_parts) {
    lines.sizes.push_back(size);
    lines.from_strides.push_back(from->strides()[dim] * from_parts);
    lines.to_strides.push_back(made->strides()[dim] * 2);
  };
  int last = spectrum.order.back();
  int64_t half = real ? tensor->sizes()[last] / 2 + 1 : tensor->sizes()[last];
  Signals<T> lines = lines_of(last, tensor, parts);
  lines.scale = static_cast<T>(scale);
  for (int i = 0; i < ndim - 1; i++)
    add(lines, spectrum.order[i], tensor->sizes()[spectrum.order[i]], tensor, parts);
  transform(lines);
  for (int i = ndim - 2; i >= spectrum.others; i--) {
    Signals<T> further = lines_of(spectrum.order[i], made.tensor, 2);
    for (int j = 0; j < ndim; j++) {
      int d = spectrum.order[j];
      if (j != i) add(further, d, d == last ? half : tensor->sizes()[d], made.tensor, 2);
    }
    transform(further);
  }
  if (full) mirror<T>(made.tensor, spectrum, half);
  if (kAsMkl) return made.take();
  return contiguous(made.tensor, dtype);
}

}  // namespace

AOTITorchError aoti_torch_cpu__fft_r2c(AtenTensorHandle self, const int64_t* dim, int64_t dim_len_,
                                       int64_t normalization, int32_t onesided,
                                       AtenTensorHandle* ret0) {
  if (self->dtype != kFloat && self->dtype != kDouble)
    throw std::runtime_error("_fft_r2c takes float32 and float64");
  if (!dim_len_) throw std::runtime_error("_fft_r2c needs a dimension");
  Spectrum spectrum = lay_out(self, dim, dim_len_, true, onesided);
  double scale = scale_of(self, dim, dim_len_, normalization);
  *ret0 = self->dtype == kFloat
              ? transformed<float>(self, spectrum, true, !onesided, false, scale)
              : transformed<double>(self, spectrum, true, !onesided, false, scale);
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_cpu__fft_c2c(AtenTensorHandle self, const int64_t* dim, int64_t dim_len_,
                                       int64_t normalization, int32_t forward,
                                       AtenTensorHandle* ret0) {
  if (self->dtype != kComplexFloat && self->dtype != kComplexDouble)
    throw std::runtime_error("_fft_c2c takes complex64 and complex128");
  if (!dim_len_) {
    *ret0 = clone(self);
    return AOTI_TORCH_SUCCESS;
  }
  Spectrum spectrum = lay_out(self, dim, dim_len_, false, false);
  double scale = scale_of(self, dim, dim_len_, normalization);
  *ret0 = self->dtype == kComplexFloat
              ? transformed<float>(self, spectrum, false, false, !forward, scale)
              : transformed<double>(self, spectrum, false, false, !forward, scale);
  return AOTI_TORCH_SUCCESS;
}
