"""Vector instructions as Inductor knows them: exactly those of the target."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
import torch._inductor.cpu_vec_isa


@functools.cache
def vector_isa(name: str) -> Any:
    """Vector instructions as Inductor knows them, without those that only this machine has."""
    module: Any = torch._inductor.cpu_vec_isa
    if not name:
        return module.invalid_vec_isa
    # Asked whether it can be used, VecAVX512 would add this machine's instructions for bfloat16.
    fixed = {"__bool__": lambda _: True, "__hash__": module.VecISA.__hash__}
    return type(name, (getattr(module, name),), fixed)()


@contextlib.contextmanager
def only_vector_isa(name: str) -> Iterator[None]:
    """Let Inductor use exactly one class of vector instructions, whatever this machine has.

    Left alone it takes the best that the machine can run, found by compiling test programs.
    """
    module: Any = torch._inductor.cpu_vec_isa
    only = [vector_isa(name)] if name else []
    original = module.valid_vec_isa_list
    module.valid_vec_isa_list = lambda: only
    try:
        yield
    finally:
        module.valid_vec_isa_list = original
