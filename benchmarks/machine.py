"""The machine: what it is, and what one thread of it can do at most."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from common import python_json

VERSIONS = ("aotbuild", "torch", "numpy", "onnxruntime", "openvino", "onnx", "transformers")

PEAKS = """
import json, time
import torch

torch.set_num_threads(1)
n = 1024
a, b = torch.randn(n, n), torch.randn(n, n)
linear = torch.ops.mkldnn._linear_pointwise
weight = torch.ops.mkldnn._reorder_linear_weight(b, n)
x, y = torch.randn(2, 2**25)

def rate(amount, call):
    call()
    found = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        found.append(amount / (time.perf_counter() - start) / 1e9)
    return found

with torch.no_grad():
    print(json.dumps({
        "gemm": [
            rate(2 * n**3, lambda: torch.mm(a, b)),
            rate(2 * n**3, lambda: linear(a, weight, None, "none", [], "")),
        ],
        "read": [rate(x.nbytes + y.nbytes, lambda: torch.dot(x, y))],
    }))
"""
"""Matrix products of 1024 in f32 by the two libraries that torch has, and reads of 256 MB."""


def describe() -> dict[str, Any]:
    """Name the machine and measure its peaks on one thread."""
    peaks = python_json("-c", PEAKS, env={"OMP_NUM_THREADS": "1"})
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "versions": {name: found for name in VERSIONS if (found := _version(name))},
        "load": round(os.getloadavg()[0], 1),
        "gemm": max(map(max, peaks["gemm"])),
        "read": max(map(max, peaks["read"])),
    }


def _cpu() -> str:
    """The model and the vector instructions, as the kernel names them."""
    text = Path("/proc/cpuinfo").read_text()
    named = re.search(r"model name\s*:\s*(.+)", text)
    flags = text.partition("flags")[2].partition("\n")[0].split()
    vector = next((kind for kind in ("avx512f", "avx2") if kind in flags), "")
    name = named[1].strip() if named else platform.machine()
    return f"{name} ({vector})" if vector else name


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
