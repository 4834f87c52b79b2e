"""Networks that read rows of a table, and nodes of a graph."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class _Tabular(nn.Module):
    """Each column becomes a token of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(24, 64))
        self.shift = nn.Parameter(torch.randn(24, 64))
        self.first = nn.Parameter(torch.randn(1, 1, 64))
        layer = nn.TransformerEncoderLayer(64, 8, 128, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 24)."""
        tokens = x[..., None] * self.scale + self.shift
        tokens = torch.cat([self.first.expand(x.shape[0], -1, -1), tokens], 1)
        score: torch.Tensor = self.head(self.encoder(tokens)[:, 0])
        return score


def tabular() -> nn.Module:
    """A transformer over the 24 columns of a table."""
    torch.manual_seed(0)
    return _Tabular()


class _Graph(nn.Module):
    source: torch.Tensor
    target: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(nn.Linear(128, 64) for _ in range(3))
        ends = torch.randint(0, 500, (2, 3000))
        self.register_buffer("source", ends[0])
        self.register_buffer("target", ends[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 500, 64)."""
        for layer in self.rounds:
            sent = x[:, self.source]
            total = torch.zeros_like(x).index_add(1, self.target, sent)
            most = torch.full_like(x, -1e9).index_reduce(1, self.target, sent, "amax")
            x = x + functional.silu(layer(torch.cat([total, most.clamp(-9, 9)], 2)))
        return x.mean(1)


def graph() -> nn.Module:
    """Three rounds of messages over 3,000 edges of 500 nodes: sums and largest values."""
    torch.manual_seed(0)
    return _Graph()
