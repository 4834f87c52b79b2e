#!/usr/bin/env bash
# A library that AOTInductor compiles asks for an executable stack.
#
# torch 2.13.0 (CPU), g++ 12, x86-64 Linux. The constants of a model are put into its library as
# assembler, which does not say that it needs no executable stack; the linker then marks the whole
# library as one that does (GNU_STACK with the flags RWE), without a word. A process that opens it
# gets an executable stack, for all of its threads, and the C library may refuse such a library: its
# notes on release 2.41 say that dlopen no longer makes the stack executable.
#
# Expected: GNU_STACK RW, as every library of C++ that g++ links. Seen: RWE, and [stack] in
# /proc/self/maps is rw-p before torch opens the package and rwxp after.
#
# What aotbuild does: its libraries are linked with -z noexecstack.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export TORCHINDUCTOR_CACHE_DIR=$work/cache
python3 -m venv env
env/bin/python -m pip install --quiet torch==2.13.0 numpy
cat > run.py <<'P'
import pathlib
import zipfile

import torch


def stack():
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.endswith("[stack]"))


program = torch.export.export(torch.nn.Linear(8, 4).eval(), (torch.zeros(2, 8),))
path = torch._inductor.aoti_compile_and_package(program, package_path="model.pt2")
with zipfile.ZipFile(path) as archive:
    (name,) = (name for name in archive.namelist() if name.endswith(".so"))
    pathlib.Path("model.so").write_bytes(archive.read(name))
before = stack()
model = torch._inductor.aoti_load_package(path)
model(torch.zeros(2, 8))
print("torch", torch.__version__, "stack", before, "->", stack())
P
env/bin/python run.py | tee seen
readelf --program-headers --wide model.so | grep GNU_STACK | tee -a seen
grep -q 'stack rw-p -> rwxp' seen
grep -q 'GNU_STACK.* RWE ' seen
echo "as described"
