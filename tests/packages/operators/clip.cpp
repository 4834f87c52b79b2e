// An operator of a shared library; the tests compile it to libs/libclip.so.
#include <ATen/ATen.h>
#include <torch/library.h>

at::Tensor clip(const at::Tensor& x, double limit) { return at::clamp(x, -limit, limit).clone(); }

at::Tensor clip_meta(const at::Tensor& x, double) { return at::empty_like(x); }

TORCH_LIBRARY(sample_native, m) { m.def("clip(Tensor x, float limit) -> Tensor"); }
TORCH_LIBRARY_IMPL(sample_native, CPU, m) { m.impl("clip", &clip); }
TORCH_LIBRARY_IMPL(sample_native, Meta, m) { m.impl("clip", &clip_meta); }
