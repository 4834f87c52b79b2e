"""The models."""

from __future__ import annotations

import torch
from torch import nn


class One(nn.Module):
    """One tensor in, one out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x + 1``; x: (8,)."""
        return x + 1


class Two(nn.Module):
    """Two tensors that share a dimension in, a dict out."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """A sum and a product; x and mask: (batch, 4)."""
        return {"sum": x + mask, "product": x * mask}


class Six(nn.Module):
    """A nested dict of six tensors in, their sum out."""

    def forward(self, state: dict[str, dict[str, torch.Tensor]]) -> torch.Tensor:
        """The sum of all; each: (batch, 4)."""
        tensors = [tensor for group in state.values() for tensor in group.values()]
        return torch.stack(tensors).sum(0)
