"""The operator that is the product of rows with a packed matrix."""

from __future__ import annotations

from typing import Any

import torch

from aotbuild.passes.operators import define

PANEL = 16
"""Columns of a panel of a packed matrix; ``kernels/gemm.h`` counts with it."""

ACTIVATIONS: dict[str, Any] = {"": lambda x: x}
"""What can be applied to a result, by name; ``kernels/gemm.h`` has a function for each."""


def _eager(
    rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, activation: str
) -> torch.Tensor:
    weight = packed.permute(0, 2, 1).reshape(-1, packed.shape[1])[:n]
    found = torch.nn.functional.linear(rows, weight, bias if bias is None else bias[:n])
    applied: torch.Tensor = ACTIVATIONS[activation](found)
    return applied


def _fake(
    rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, activation: str
) -> torch.Tensor:
    del packed, bias, activation
    return rows.new_empty([*rows.shape[:-1], n])


OP = define(
    "packed_linear(Tensor rows, Tensor packed, Tensor? bias, int n, str activation) -> Tensor",
    _eager,
    _fake,
    "aotbuild.passes.linear_lowering",
)
"""``activation(rows @ W + bias)``, where W [k, n] is packed as [ceil(n / 16), k, 16], and rows are
[..., k]. The bias is filled up to 16 * ceil(n / 16)."""
