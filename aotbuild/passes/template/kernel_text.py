"""The C++ text of kernels; nothing here imports Inductor."""

from __future__ import annotations

import functools
import math
import posixpath
import re
from importlib.resources import files


@functools.cache
def kernel_text(header: str) -> str:
    """The text of a kernel's header, self-contained.

    Inductor compiles one file: each of our own headers stands where it is first included. Include
    guards let several kernels with the same headers share a file.

    Args:
        header: Its path in ``aotbuild.passes``.
    """
    return _with_includes(header, set())


_OWN_INCLUDE = re.compile(r'^#include "([^"]+)".*\n', re.MULTILINE)


def _with_includes(header: str, included: set[str]) -> str:
    """The text of a header with those that it includes, but for those already included."""
    if header in included:
        return ""
    included.add(header)
    text = files("aotbuild.passes").joinpath(header).read_text("utf-8")
    folder = posixpath.dirname(header)
    return _OWN_INCLUDE.sub(
        lambda match: _with_includes(
            posixpath.normpath(posixpath.join(folder, match[1])), included
        ),
        text,
    )


def float_literal(value: float) -> str:
    """A number of float32 as C++."""
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}aotbuild::kInfinity"
    return f"static_cast<float>({value!r})"
