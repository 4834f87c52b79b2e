"""A network with a convolution and a batch norm, which freezing folds into it."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm1d(16)
        with torch.no_grad():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        self.layers = nn.Sequential(nn.Conv1d(1, 16, 5, stride=2), norm, nn.GELU(), nn.Flatten())
        self.head = nn.Linear(480, 32)

    def forward(self, x):
        return self.head(self.layers(x.unsqueeze(1)))
