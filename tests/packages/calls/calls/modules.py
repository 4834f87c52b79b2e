"""Small models of many kinds of arguments. Weights follow a seed."""

import torch
from torch import nn


class Seeded(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)


class Dense(Seeded):
    """A layer and what follows it.

    Rows of six numbers become five: "x" is not scaled, \\d is a digit.
    """

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        return torch.relu(self.linear(x))


class Paired(Seeded):
    """Two inputs that share a dimension, in different places."""

    def forward(self, a, b):
        return torch.cat([a, b.T], 1) * 2, b @ a


class Conv(Seeded):
    """A convolution and a reduction."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image):
        return torch.relu(self.conv(image)) + 1, image.mean((2, 3))


class Normed(Seeded):
    """A convolution and a batch norm, which becomes a part of it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, image):
        """Give the features of images."""
        return torch.relu(self.norm(self.conv(image)))


class Lookup(Seeded):
    """Indices into a table."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)

    def forward(self, ids):
        return self.embedding(ids).sum(1)


class Nested(Seeded):
    """A dict of tensors in a dict, and a list."""

    def forward(self, state, pair):
        weights, hidden = pair
        mixed = state["a"] * weights[:, None] + state["b"]["c"].float()
        return {"mixed": mixed.masked_fill(hidden[:, None], 0.0), "c": state["b"]["c"] + 1}


class Constants(Seeded):
    """A tensor, a flag and a number."""

    def forward(self, x, flag=True, scale=0.5):
        return x * scale if flag else x


class Scalars(Seeded):
    """A tensor and 0-dim ones of three kinds."""

    def forward(self, x, t, n, on):
        return torch.where(on, x * t + n, x), t * 2, n + 1, ~on


class Waves(Seeded):
    """Complex numbers."""

    def forward(self, z):
        return z * (1 + 2j) + 1, z.abs()


class Aliases(Seeded):
    """Returns its input, and views of it."""

    def forward(self, x):
        return x, x.reshape(-1), x.t(), x + 1


class Counted(Seeded):
    """Returns numbers that depend on sizes, and some that do not."""

    def forward(self, x):
        return x.sum(-1), x.shape[0], x.shape[0] * 2 + 1, x.dim() == 2, 2.5, None


class Kinds(Seeded):
    """Other dtypes than float32."""

    def forward(self, f, h, i, u, m):
        return f * 2 + 1, h * 2, i + 1, u // 3, ~m, torch.where(m, f, i)
