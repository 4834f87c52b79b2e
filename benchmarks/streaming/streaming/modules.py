"""The models: with a state, with that state as inputs and outputs, and with one that never changes.

Weights follow a seed.
"""

from __future__ import annotations

import torch
from torch import nn

Tensors = tuple[torch.Tensor, ...]


class Gru(nn.Module):
    """A GRU cell of 64."""

    hidden: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.GRUCell(64, 64)
        self.register_buffer("hidden", torch.rand(1, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (1, 64)."""
        self.hidden = self.cell(x, self.hidden)
        return self.hidden


class GruPassed(Gru):
    """Its caller passes what was returned."""

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Both (1, 64)."""
        new: torch.Tensor = self.cell(x, hidden)
        return new


class GruIgnored(Gru):
    """It begins anew with each call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (1, 64)."""
        new: torch.Tensor = self.cell(x, self.hidden)
        return new


class Convolutions(nn.Module):
    """Two causal convolutions of 16 channels, the second of which is dilated, a sample a call."""

    first: torch.Tensor
    second: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv1d(16, 16, 3)
        self.two = nn.Conv1d(16, 16, 3, dilation=2)
        self.register_buffer("first", torch.rand(1, 16, 2))
        self.register_buffer("second", torch.rand(1, 16, 4))

    def step(self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> Tensors:
        """What comes out, and what the next step needs."""
        whole = torch.cat([first, x], 2)
        x = torch.relu(self.one(whole))
        more = torch.cat([second, x], 2)
        return self.two(more), whole[:, :, 1:], more[:, :, 1:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (1, 16, 1)."""
        y, self.first, self.second = self.step(x, self.first, self.second)
        return y


class ConvolutionsPassed(Convolutions):
    """Their caller passes what was returned."""

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> Tensors:
        """x: (1, 16, 1). A part of a tensor has gaps, with which it could not be passed on."""
        y, first, second = self.step(x, first, second)
        return y, first.contiguous(), second.contiguous()


class ConvolutionsIgnored(Convolutions):
    """They begin anew with each call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (1, 16, 1)."""
        return self.step(x, self.first, self.second)[0]


class Long(nn.Module):
    """Writes a row into a cache of 32 MB, and sums the last ones."""

    cache: torch.Tensor
    position: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cache", torch.zeros(1 << 20, 8))
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    def forward(self, row: torch.Tensor) -> torch.Tensor:
        """row: (8,)."""
        self.cache.index_copy_(0, self.position, row[None])
        last = self.cache.index_select(0, (self.position - torch.arange(4)).clamp(min=0))
        self.position += 1
        return last.sum(0)
