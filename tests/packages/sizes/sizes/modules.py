"""One module for each way a size can be dynamic."""

import torch
from torch import nn


class Blocks(nn.Module):
    def forward(self, x):
        return x.view(x.shape[0], x.shape[1] // 8, 8).sum(2)


class Shifted(nn.Module):
    def forward(self, x, padded, doubled):
        return x + padded[1:] + doubled[::2] + doubled.view(-1, 2, 3)[:, 1]


class Pairs(nn.Module):
    def forward(self, x):
        first, rest = x[:1], x[1:]
        return first + rest.view(-1, 2, 4).sum(1)


class Found(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(x)


class Open(nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2
