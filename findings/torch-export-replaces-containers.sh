#!/bin/sh
# torch.export.export(strict=False) leaves other lists and dicts in the attributes of the module that it
# was given: copies of those that were there, with the same items. What shares such a list or dict with the
# module, as an optimizer, a cache or a test does, shares it no more after the export.
#
# aotbuild looks anew, before each trace, for the lists and dicts that hold the buffers of a model.
#
# Exits with 0 while torch does so, with 1 if the attributes stay the same objects. Needs Python 3.11.
# Seen with torch 2.13.0+cpu: "list is the same: False, dict is the same: False".
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet torch==2.13.0 numpy
cat > "$directory/containers.py" <<'PYTHON'
import sys

import torch


class Net(torch.nn.Module):
    def __init__(self, parts, named):
        super().__init__()
        self.parts, self.named = parts, named

    def forward(self, x):
        return x + self.parts[0] + self.named["bias"]


print("torch", torch.__version__)
parts, named = [torch.ones(1)], {"bias": torch.ones(1)}
net = Net(parts, named)
torch.export.export(net, (torch.zeros(1),), strict=False)
same = net.parts is parts, net.named is named
print(f"list is the same: {same[0]}, dict is the same: {same[1]}")
parts[0] = torch.full((1,), 5.0)
print("the module adds", net(torch.zeros(1)).item(), "where 6.0 would be that of the shared list")
sys.exit(any(same))
PYTHON
"$directory/env/bin/python" -W ignore "$directory/containers.py"
