"""Making sure that weights are numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from aotbuild.config.messages import located
from aotbuild.errors import WeightsError

_CHECKED = 1 << 24
"""How many values are checked at once."""


def check_finite(
    parameters: Iterable[tuple[str, torch.Tensor]],
    buffers: Iterable[tuple[str, torch.Tensor]],
    shown: str,
    path: str,
) -> None:
    """Make sure that weights are numbers.

    Args:
        parameters: May neither be NaN nor infinite.
        buffers: May be infinite, as masks are, but not NaN.
        shown: What they are from.
        path: Dotted path of the entry, for errors.

    Raises:
        WeightsError: One is not.
    """
    for kind, tensors in (("parameter", parameters), ("buffer", buffers)):
        for name, tensor in tensors:
            plain = type(tensor) in {torch.Tensor, torch.nn.Parameter} and tensor.numel()
            real = tensor.is_floating_point() and tensor.dtype.itemsize > 1
            if plain and (real or tensor.is_complex()):
                _check_numbers(tensor.detach(), kind, name, shown, path)


def _check_numbers(tensor: torch.Tensor, kind: str, name: str, shown: str, path: str) -> None:
    # In parts, because each check makes tensors as large as what it is given.
    rows = tensor.reshape(1) if tensor.dim() == 0 else tensor
    step = max(1, _CHECKED // max(1, rows[0].numel()))
    bad = 0
    for part in torch.split(rows, step):
        numbers = part.isfinite() if kind == "parameter" else ~part.isnan()
        bad += part.numel() - int(numbers.sum())
    if bad:
        raise WeightsError(
            f"{shown}: the {kind} {name} is not finite",
            where=located(path),
            why=f"{bad} of its {tensor.numel()} values are NaN"
            + (" or infinite" if kind == "parameter" else ""),
            fix="use the weights of a training that did not diverge; if they are meant to be so, "
            "set check-finite = false",
        )
