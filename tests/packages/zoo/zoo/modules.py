"""One module for each way a model can take inputs and return outputs. Weights follow a seed."""

from collections import OrderedDict, namedtuple

import torch
from torch import nn


class Seeded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)


class Mixed(Seeded):
    """Two inputs that share a dimension, one keyword-only; every kind of output."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, bias=None, *, mask):
        y = self.linear(x) * mask
        return {
            "y": y,
            "rows": x.shape[0],
            "none": None,
            "text": 'a "b"',
            "number": 1.5,
            "nested": (x, [mask.sum()]),
        }


State = namedtuple("State", ["hidden", "cell"])


class Recurrent(Seeded):
    """Integer indices, and a namedtuple out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 16)
        self.lstm = nn.LSTM(16, 8, batch_first=True)

    def forward(self, ids):
        out, (hidden, cell) = self.lstm(self.embedding(ids))
        return out, State(hidden, cell)


class Looped(Seeded):
    """A recurrent layer that torch would unroll, over any number of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, batch_first=True)

    def forward(self, x):
        return self.gru(x)


class Spectrum(Seeded):
    """An operator without a C shim, which goes through the proxy executor."""

    def forward(self, a):
        return torch.linalg.eigh(a @ a.mT)[0]


class Attention(Seeded):
    """Tied weights, buffers of both kinds, two dynamic dimensions, a boolean mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.out = nn.Linear(16, 20, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("positions", torch.randn(1, 64, 16).transpose(0, 1), persistent=False)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

    def forward(self, ids, hidden):
        h = self.embedding(ids) * self.scale + self.positions[: ids.shape[1], 0]
        h = self.layer(h, src_key_padding_mask=hidden)
        return self.out(h), OrderedDict(h=h)


class Scalar(Seeded):
    """An instance as source, a 0-dim input."""

    def forward(self, x, t):
        return x * t + 1


scalar = Scalar()


class Conv(Seeded):
    """A convolution keeps its range: see _unguarded_conv_backend."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, image):
        return torch.relu(self.norm(self.conv(image))).mean((2, 3))


class Pooled(Seeded):
    """Adaptive pooling over a dynamic length: Inductor specialises it silently."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 5, stride=2)
        self.pool = nn.AdaptiveAvgPool1d(4)

    def forward(self, audio):
        return self.pool(torch.relu(self.conv(audio)))


class Crossed(Seeded):
    """A column times a row: Inductor has other code for small ones, and for large ones only."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(1, 4))

    def forward(self, column):
        return column @ self.row


def perceptron(inputs: int, outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 32), nn.GELU(), nn.Linear(32, outputs))
