"""A wheel for x86-64-v3 on a CPU without AVX2, really run."""

from __future__ import annotations

import json
from collections.abc import Callable

from emulated import emulated, needs_qemu
from wheels import Installed

CODE = """
import json, torch
try:
    from digits.models import net
    told = "loaded"
except ImportError as error:
    told = str(error)
print(json.dumps([torch.backends.cpu.get_cpu_capability(), told]))
"""


@needs_qemu
def test_a_cpu_without_avx2_gets_the_error_and_no_signal(
    installed: Callable[[str], Installed],
) -> None:
    capability, told = json.loads(emulated("Nehalem", installed("example_project"), CODE))
    assert capability == "DEFAULT"
    assert "this CPU lacks avx, avx2" in told
