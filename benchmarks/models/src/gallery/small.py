"""Small networks: what surrounds the arithmetic weighs most."""

from __future__ import annotations

import torch
from torch import nn


def mlp() -> nn.Module:
    """A perceptron 64-256-10."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def lstm() -> nn.Module:
    """Two layers of 128 over 80 steps of 40 features, and a layer over the last step."""
    torch.manual_seed(0)
    return _Recurrent()


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 128, num_layers=2, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, steps, 40)."""
        steps, _ = self.lstm(x)
        found: torch.Tensor = self.head(steps[:, -1])
        return found
