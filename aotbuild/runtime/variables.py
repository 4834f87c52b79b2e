"""The variables of the environment that take one of some words, or a number.

A compiled library takes what it does not understand as if it were unset. So that nothing is set in
vain, making a model refuses such values before.
"""

from __future__ import annotations

import os

from .errors import ModelLoadError

_WORDS = {
    "AOTBUILD_ENGINE": ("native", "torch"),
    "AOTBUILD_FALLBACK": ("warn", "silent", "error"),
    "AOTBUILD_VERIFY": ("quick", "full"),
}
_LEAST = {"AOTBUILD_KEPT_MB": 0, "AOTBUILD_NUM_THREADS": 1}
"""The smallest number that each may be."""


def check_variables() -> None:
    """Make sure that the variables of the environment have values that are understood.

    Raises:
        ModelLoadError: One has another.
    """
    for name, words in _WORDS.items():
        value = os.environ.get(name)
        if value and value not in words:
            raise ModelLoadError(f"{name}={value}: expected {', '.join(words[:-1])} or {words[-1]}")
    for name, least in _LEAST.items():
        value = os.environ.get(name)
        if value and not (value.isascii() and value.isdigit() and int(value) >= least):
            raise ModelLoadError(f"{name}={value}: expected a whole number, {least} or more")
