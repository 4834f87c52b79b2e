"""The operator that is the product of rows with a packed matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from aotbuild.passes.template.operators import define

PANEL = 16
"""Columns of a panel of a packed matrix; ``simd/panels.h`` has the same constant."""

_gelu: Any = torch.nn.functional.gelu

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda x: x,
    "gelu": _gelu,
    "gelu_tanh": lambda x: torch.as_tensor(_gelu(x, approximate="tanh")),
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
}
"""What can be applied to a result, by name; ``simd/activations.h`` has code for each.

Others are left to Inductor, which fuses them behind the product: these it would compute by calls of
a library, at several times the cost."""


def _eager(
    rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, activation: str
) -> torch.Tensor:
    weight = packed.permute(0, 2, 1).reshape(-1, packed.shape[1])[:n]
    result = torch.nn.functional.linear(rows, weight, bias if bias is None else bias[:n])
    return ACTIVATIONS[activation](result)


def _fake(
    rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, activation: str
) -> torch.Tensor:
    del packed, bias, activation
    return rows.new_empty([*rows.shape[:-1], n])


OP = define(
    "packed_linear(Tensor rows, Tensor packed, Tensor? bias, int n, str activation) -> Tensor",
    _eager,
    _fake,
)
"""``activation(rows @ W + bias)``, where W [k, n] is packed as [ceil(n / 16), k, 16], and rows are
[..., k]. The bias is filled up to 16 * ceil(n / 16)."""
