"""Modules whose values are special."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Neighbours(nn.Module):
    """Sums over the edges of a graph, as interatomic potentials have them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.message = nn.Linear(6, 5)

    def forward(self, atoms, edges):
        start, end = edges
        pairs = torch.cat([atoms[start], atoms.index_select(0, end)], dim=1)
        return atoms.new_zeros(atoms.shape[0], 5).index_add_(0, start, self.message(pairs))


class Voice(nn.Module):
    """A convolution with weight norm: a waveform of thousands, and probabilities."""

    def __init__(self):
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(4, 6, 5))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        y = self.norm(self.conv(x))
        return y * 10000, y.mean(-1).softmax(-1)


def rectified(q):
    return helper(q + 1) * 2


def helper(q):
    return torch.relu(q)
