import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x)


class Branching(Net):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


class Static(Net):
    def forward(self, x):
        return x.reshape(4, 4) + x


class Counting(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x + self.calls


class InPlace(Net):
    def forward(self, x):
        return x.add_(1)


class Random(Net):
    def forward(self, x):
        return x + torch.rand_like(x)


class Two(Net):
    def forward(self, x, y):
        return x + y


class Nothing(Net):
    def forward(self, x):
        return None


class Custom:
    def __init__(self, x):
        self.x = x


class ReturnsSlice(Net):
    def forward(self, x):
        return slice(x, x)


def not_a_module():
    return 3


def broken():
    raise RuntimeError("no such checkpoint")


constant = 3
