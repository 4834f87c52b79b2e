"""The operator that is the product of rows in bfloat16 with a packed matrix in bfloat16."""

from __future__ import annotations

import torch

from aotbuild.passes.linear.operator import ACTIVATIONS
from aotbuild.passes.template.operators import define


def _eager(
    rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, activation: str
) -> torch.Tensor:
    weight = packed.permute(0, 2, 1, 3).reshape(-1, rows.shape[-1])[:n].float()
    added = None if bias is None else bias[:n].float()
    result = torch.nn.functional.linear(rows.float(), weight, added)
    return ACTIVATIONS[activation](result)


def _fake(
    rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, n: int, activation: str
) -> torch.Tensor:
    del packed, bias, activation
    return rows.new_empty([*rows.shape[:-1], n], dtype=torch.float32)


OP = define(
    "packed_linear_bfloat16(Tensor rows, Tensor packed, Tensor? bias, int n, str activation) "
    "-> Tensor",
    _eager,
    _fake,
)
"""``activation(rows @ W + bias)`` in float32, where W [k, n] is packed in bfloat16 as
[ceil(n / 16), k / 2, 16, 2], and rows are [..., k] in bfloat16, of an even k. The bias is in
float32 or in bfloat16, filled up to 16 * ceil(n / 16)."""
