"""torch's interface in C: where its headers declare each function, and since which version.

torch promises to keep what some headers declare for two years at least (its note "LibTorch Stable
ABI"): a library that calls nothing else runs with later versions, too. Around what came later than
torch 2.9 the headers have a condition, with the version that has it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.runtime.machine import minor
from aotbuild.torch_version import TorchNeed

BY_RUNNER = "aoti_torch_proxy_executor_call_function"
"""What calls operators that have no function in C."""

OLDEST = (2, 13)
"""The oldest torch that wheels of this aotbuild were run with: none is promised to an older one."""

_HEADERS = "torch/csrc"
_PROMISED = (
    "inductor/aoti_torch/c/shim.h",
    "inductor/aoti_torch/generated/c_shim_*.h",
    "stable/c/shim.h",
)
"""The headers of functions that stay, by the paths below ``torch/csrc``."""
_OTHERS = ("inductor/aoti_torch/c/*.h",)
"""Further ones, whose functions may go."""

_SHOWN = 3
"""How many functions a reason names."""

_LINE = re.compile(
    r"^\s*#\s*(?P<directive>if|ifdef|ifndef|else|elif|endif)\b(?P<condition>.*)"
    r"|\b(?P<name>(?:aoti_)?torch_\w+)\s*\("
)
_VERSION = re.compile(r"TORCH_FEATURE_VERSION\s*>=\s*TORCH_VERSION_(\d+)_(\d+)")


@dataclass(frozen=True)
class Function:
    """A function of torch's interface in C."""

    header: str
    """The header that declares it, below ``torch/csrc``."""
    since: tuple[int, int]
    """The first minor version of torch that has it; of old ones ``(0, 0)``."""
    promised: bool
    """Whether later versions keep it."""


def declared() -> dict[str, Function]:
    """All functions of the installed torch by their names."""
    return _declared(Path(torch.__file__).parent / "include" / _HEADERS)


@functools.cache
def _declared(directory: Path) -> dict[str, Function]:
    found: dict[str, Function] = {}
    for promised, patterns in ((True, _PROMISED), (False, _OTHERS)):
        for pattern in patterns:
            for path in sorted(directory.glob(pattern)):
                header = path.relative_to(directory).as_posix()
                for name, since in _functions(path.read_text("utf-8")):
                    found.setdefault(name, Function(header, since, promised))
    return found


def _functions(text: str) -> Iterable[tuple[str, tuple[int, int]]]:
    """The functions that a header declares, with the versions of the conditions around them."""
    conditions: list[tuple[int, int]] = []
    for line in text.splitlines():
        for match in _LINE.finditer(line):
            directive = match["directive"]
            if directive and directive.startswith("if"):
                version = _VERSION.search(match["condition"])
                conditions.append((int(version[1]), int(version[2])) if version else (0, 0))
            elif directive == "endif":
                conditions.pop()
            elif match["name"]:
                yield match["name"], max(conditions, default=(0, 0))


def headers_of(functions: Iterable[str]) -> dict[str, str]:
    """The headers that declare functions; of what is in none, an empty one."""
    known = declared()
    return {name: known[name].header if name in known else "" for name in functions}


def need_of(functions: Iterable[str], *, others: str = "") -> TorchNeed:
    """The versions of torch that have functions of its interface in C, and will have them.

    Args:
        functions: What code needs of torch, by the names of symbols.
        others: What else binds it to the minor version of the build, if anything does.
    """
    names, known = sorted(functions), declared()
    since = max((known[name].since for name in names if name in known), default=OLDEST)
    oldest = min(minor(torch.__version__), max(OLDEST, since))
    gone = [name for name in names if name not in known or not known[name].promised]
    if not others and BY_RUNNER in names:
        others = "operators without a function in C are called by way of torch's own runner"
    elif not others and gone:
        listed = ", ".join(gone[:_SHOWN]) + (", ..." if len(gone) > _SHOWN else "")
        others = f"the code calls {listed}, which torch does not promise to keep"
    return TorchNeed(".".join(map(str, oldest)), others)
