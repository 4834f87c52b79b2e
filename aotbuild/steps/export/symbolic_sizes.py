"""Operators that torch computes in C++ from plain numbers, for sizes that are symbolic."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def symbolic_sizes() -> Iterator[None]:
    """Let ``max_pool1d`` be traced for any length.

    torch 2.13 to 2.15: it asks for the length as a number, which fixes it to that of the example,
    where ``max_pool1d_with_indices`` does not. ``test_symbolic_sizes.py`` notices when torch asks
    no longer.
    """
    module: Any = torch
    original = module.max_pool1d

    @functools.wraps(original)
    def max_pool1d(given: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if all(isinstance(size, int) for size in given.shape):
            return original(given, *args, **kwargs)
        return module.max_pool1d_with_indices(given, *args, **kwargs)[0]

    module.max_pool1d = max_pool1d
    try:
        yield
    finally:
        module.max_pool1d = original
