"""What a source can be."""

import torch
from torch import nn


class Codec(nn.Module):
    """Its methods call one another, and forward() is not compiled."""

    def __init__(self):
        super().__init__()  # without a seed: both methods must come from one instance
        self.table = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return self.decode(self.encode(x).unsqueeze(1))

    def encode(self, x):
        return self.table(x)

    def decode(self, z):
        return z.mean(1) @ self.table.weight


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
        self.head = nn.Linear(16, 1)

    def features(self, x):
        return self.layers(x)

    def forward(self, x):
        return self.head(self.features(x)).squeeze(-1)


def normalize(x, eps=1e-5):
    return x / (x.norm(dim=-1, keepdim=True) + eps)


class Variadic(nn.Module):
    def forward(self, x, /, *rest, scale=1, **extra):
        return scale * (x + sum(rest)) + extra["bias"] * extra["shift"]
