"""A small network."""

import torch
from torch import nn


class Net(nn.Module):
    """Two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
