#!/bin/sh
# The indices of `min` of truth values, compiled for the CPU by torch.compile, are those of True where
# there is a False: the values that come back beside them are right.
#
# Exits with 0 while torch does so, with 1 if the results are right. Needs Python 3.11, g++, and a CPU
# with AVX2.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet torch==2.13.0 numpy setuptools
cat > "$directory/truth.py" <<'PYTHON'
import sys

import torch

print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
x = torch.ones(4, 37, dtype=torch.bool)
x[:, 5::3] = False


def smallest(x):
    return x.min(1)


compiled, expected = torch.compile(smallest)(x), smallest(x)
print("rows begin with", x[0, :8].tolist())
print(f"  eager {expected.indices.tolist()}, values {expected.values.tolist()}")
print(f"  compiled {compiled.indices.tolist()}, values {compiled.values.tolist()}")
picked = x.gather(1, compiled.indices[:, None]).squeeze(1)
print(f"  values at the compiled indices {picked.tolist()}")
sys.exit(torch.equal(picked, expected.values))
PYTHON
TORCHINDUCTOR_CACHE_DIR="$directory/cache" "$directory/env/bin/python" "$directory/truth.py"
