#!/bin/sh
# argmin and argmax over all dimensions of a transposed tensor that is computed, compiled for the CPU by
# torch.compile, count elements in the order in which they lie in memory, and not row by row: the place
# that comes back is that of another element. Over one dimension, or of a tensor that was flattened, they
# are right.
#
# Exits with 0 while torch does so, with 1 if the results are right. Needs Python 3.11 and g++.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet torch==2.13.0 numpy setuptools
cat > "$directory/places.py" <<'PYTHON'
import sys

import torch

print("torch", torch.__version__)
x = torch.arange(6.0).reshape(2, 3)


def place(x):
    return (x.t() + 1).argmax()


def flat(x):
    return (x.t() + 1).reshape(-1).argmax()


x[0, 2] = 9  # the largest: row 2, column 0 of what is transposed
compiled, expected = torch.compile(place)(x), place(x)
print("argmax of", (x.t() + 1).tolist())
print(f"  eager {expected.item()}, compiled {compiled.item()}")
print(f"  flattened first: compiled {torch.compile(flat)(x).item()}")
assert torch.compile(flat)(x) == expected
sys.exit(bool(compiled == expected))
PYTHON
TORCHINDUCTOR_CACHE_DIR="$directory/cache" "$directory/env/bin/python" "$directory/places.py"
