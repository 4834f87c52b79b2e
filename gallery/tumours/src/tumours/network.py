"""A small network for a table: 30 measures of a tumour, as in the Wisconsin data of 1995."""

import torch
from torch import nn


class Network(nn.Module):
    """Two layers behind measures of mean 0 and deviation 1."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(30, affine=False)
        self.layers = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1))

    def forward(self, measures: torch.Tensor) -> torch.Tensor:
        """Measures [batch, 30] -> probability that the tumour is malignant [batch]."""
        return self.layers(self.norm(measures)).sigmoid()[:, 0]
