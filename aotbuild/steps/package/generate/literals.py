"""Constants as Python source."""

from __future__ import annotations

import math
from typing import Any


def literal(value: Any, float_name: str = "float") -> str:
    """A constant as Python source, strings in double quotes where they can be."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'{float_name}("{value}")'
    text = repr(value)
    if isinstance(value, str) and '"' not in value:
        return '"' + text[1:-1].replace("\\'", "'") + '"'
    return text
