#!/bin/sh
# The smallest and largest of 8-bit integers, compiled for the CPU by torch.compile, take part of a
# vector register that holds no element for elements of zero.
#
# Exits with 0 while torch does so, with 1 if the results are right. Needs Python 3.11, g++, and a CPU
# with AVX2.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet torch==2.13.0 numpy setuptools
cat > "$directory/min_max.py" <<'PYTHON'
import sys

import torch

print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
generator = torch.Generator().manual_seed(0)
signed = torch.randint(-100, -3, (5, 40), generator=generator).to(torch.int8)
image = torch.randint(40, 200, (3, 20, 21), generator=generator).to(torch.uint8)

wrong = 0
for name, function, x in (
    ("amax of int8 in -100..-4", lambda x: x.amax(dim=1), signed),
    ("argmax of the same", lambda x: x.argmax(dim=1), signed),
    ("amin of uint8 in 40..199", lambda x: x.amin(dim=(1, 2)), image),
):
    compiled = torch.compile(function)(x)
    print(f"{name}: eager {function(x).tolist()}, compiled {compiled.tolist()}")
    wrong += not torch.equal(compiled, function(x))
sys.exit(not wrong)
PYTHON
TORCHINDUCTOR_CACHE_DIR="$directory/cache" "$directory/env/bin/python" "$directory/min_max.py"
