#!/usr/bin/env bash
# torch 2.13.0+cpu for x86-64, which has MKL; torch for aarch64 has pocketfft.
#
# Expected: the strides of a transform's result follow from its input and the operator.
# Happened: they follow from the library that computes it. With MKL the transformed dimensions lie
# innermost; fake tensors, by which code is generated, say the same on the builder. Code that is
# generated on x86-64 and run with a torch for aarch64 would read numbers in another order.
# aotbuild: the transforms of stand-alone libraries lay results out as the torch of the build does,
# whatever they are compiled for (standalone/fourier.cpp, AOTBUILD_TORCH_HAS_MKL).
#
# Run: bash torch-fft-layout-by-library.sh, with python of an environment with torch.
python -c '
import torch
x = torch.randn(2, 8, 3, dtype=torch.complex64)
print("MKL:", torch.backends.mkl.is_available(), "strides:", torch.fft.fft(x, dim=1).stride())
'
