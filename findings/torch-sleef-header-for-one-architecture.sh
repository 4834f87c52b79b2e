#!/usr/bin/env bash
# torch 2.13.0, wheel for x86-64, g++ 12 for aarch64.
#
# Expected: torch's headers compile for aarch64 with a cross-compiler, as they have NEON's vectors
# (ATen/cpu/vec/vec128) beside those for x86-64.
# Happened: sleef.h of the wheel declares only the functions of the architecture that it was built for,
# so that each use of Sleef_expf4_u10 and its like is an error.
# aotbuild: standalone/headers/sleef.h declares them for NEON; stand-alone libraries define them.
#
# Run: bash torch-sleef-header-for-one-architecture.sh, with python of an environment with torch.
include=$(python -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "include"))')
echo '#include <ATen/cpu/vec/vec.h>' |
  aarch64-linux-gnu-g++ -std=c++20 -fsyntax-only -DCPU_CAPABILITY=NEON -DCPU_CAPABILITY_NEON \
    -DAT_BUILD_ARM_VEC256_WITH_SLEEF -I"$include" -x c++ - 2>&1 | grep -m 3 error
