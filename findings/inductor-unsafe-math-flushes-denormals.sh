#!/bin/sh
# With Inductor's option cpp.enable_unsafe_math_opt_flag and g++ before 13, a model that torch.compile
# compiled for the CPU turns denormal numbers into zero in the whole process, in plain Python too: the
# option is also on the line that links the library, where g++ adds start-up code for it.
#
# Exits with 0 while that is so, with 1 if denormals survive. Needs Python 3.11 and g++ 12 or older.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet torch==2.13.0 numpy setuptools
g++ --version | head -1
cat > "$directory/denormals.py" <<'PYTHON'
import sys

import torch

print("torch", torch.__version__)
smallest = float("5e-324")
print("before: 3 times the smallest number is", smallest * 3)
torch.compile(lambda x: x + 1, options={"cpp.enable_unsafe_math_opt_flag": True})(torch.ones(8))
print("after a call of x + 1, compiled with the option:", smallest * 3)
sys.exit(smallest * 3 != 0)
PYTHON
TORCHINDUCTOR_CACHE_DIR="$directory/cache" "$directory/env/bin/python" "$directory/denormals.py"
