import torch
from torch import nn


class Scaled(nn.Module):
    def forward(self, x):
        return torch.ops.sample.scale_rows(x + 1, 0.5).relu()


class Clipped(nn.Module):
    def forward(self, x):
        return torch.ops.sample_native.clip(x * 2, 1.0) + 1
