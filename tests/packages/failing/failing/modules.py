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


class Growing(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(0, 4))

    def forward(self, x):
        self.seen = torch.cat([self.seen, x])
        return x + self.seen.sum(0)


class OtherDtype(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x):
        self.total = self.total + x.double().sum(0)
        return x + self.total


class OwnState(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, state):
        self.calls += 1
        return x + self.calls + state


class OnlyTheParameter(Net):
    def forward(self, x):
        self.linear.bias.add_(1)
        return self.linear(x)


MEAN, VARIANCE = torch.zeros(4), torch.ones(4)


class Running(Net):
    def forward(self, x):
        return torch.nn.functional.batch_norm(x, MEAN, VARIANCE, training=True)


class CountingInPython(Net):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Exiting(Net):
    def forward(self, x):
        raise SystemExit(3)


class Nested(Net):
    def forward(self, x):
        result = x + 1
        for _ in range(3000):
            result = [result]
        return result


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


class Narrowed(Net):
    def forward(self, x):
        if x.shape[0] > 16:
            return self.linear(x)
        return x + 1


class Halved(Net):
    def forward(self, x):
        return x.view(x.shape[0], x.shape[1] // 2, 2).sum(2)


class Summed(Net):
    def forward(self, x, y):
        return x + y


class Shifted(Net):
    def forward(self, x, y):
        return x[1:] + y


class Encoding(Net):
    def encode(self, x):
        return self.linear(x)


class Plain(nn.Module):
    def forward(self, x):
        return x * 2


def no_data():
    raise RuntimeError("no such recording")


def not_a_call():
    return torch.ones(4, 4)


def call():
    return (torch.ones(4, 4),), {}


shapes = {"y": {0: torch.export.Dim("batch", max=64)}}
