#!/bin/sh
# expm1, erf and atanh of small numbers, compiled for the CPU by torch.compile, are 0: expm1 is
# computed as exp(x) - 1, which is what it exists to avoid.
#
# Exits with 0 while torch does so, with 1 if the results are right. Needs Python 3.11, g++, and a CPU
# with AVX2.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet torch==2.13.0 numpy setuptools
cat > "$directory/small.py" <<'PYTHON'
import sys

import torch

print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
x = torch.full((64,), 2.9e-8)
x[1::2] = -1.3e-7

wrong = 0
for function in (torch.expm1, torch.erf, torch.atanh, torch.nn.functional.elu):
    compiled = torch.compile(lambda x, function=function: function(x))(x)
    expected = function(x.double()).float()
    print(f"{function.__name__} of {x[:2].tolist()}:")
    print(f"  exact {expected[:2].tolist()}, eager {function(x)[:2].tolist()}")
    print(f"  compiled {compiled[:2].tolist()}")
    wrong += not torch.allclose(compiled, expected, rtol=1e-5, atol=0)
sys.exit(not wrong)
PYTHON
TORCHINDUCTOR_CACHE_DIR="$directory/cache" "$directory/env/bin/python" "$directory/small.py"
