"""Models whose results are one tensor, views of one, or of what the model is given or has."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Computed(nn.Module):
    """Results that are the same computed tensor, views of it, and copies of it."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.sin(x)
        return {
            "y": y,
            "same": y,
            "contiguous": y.contiguous(),
            "float": y.float(),
            "reshaped": y.reshape(y.shape),
            "detached": y.detach(),
            "clone": y.clone(),
            "again": torch.sin(x),
            "times one": y * 1,
            "plus nothing": 0 + y,
            "less nothing": y - torch.zeros(()),
            "over one": y / 1.0,
            "times ones": (y * torch.ones(6)).view(-1),
            "plus nothing like it": y + torch.zeros_like(y),
            "to the power of one": y**1,
            "flat": y.view(-1),
            "transposed": y.t(),
            "transposed again": y.t(),
            "copied": y.t().contiguous(),
            "row": y[0],
            "columns": y[:, 1:3],
            "expanded": y.expand(2, -1, -1),
            **{f"part {i}": part for i, part in enumerate(y.split(2, dim=1))},
            "last": y,
        }


class Given(nn.Module):
    """Results that are inputs, views of them, and copies of them."""

    def forward(self, x: Tensor, z: Tensor) -> dict[str, Tensor]:
        return {
            "x": x,
            "x again": x,
            "sum": x + z,
            "contiguous": x.contiguous(),
            "float": x.float(),
            "detached": x.detach(),
            "detached z": z.detach(),
            "flat": x.view(-1),
            "transposed": x.t(),
            "row": z[0],
            "columns": z[:, 1:3],
            "clone": x.clone(),
            "times one": x * 1,
            "times ones": z * torch.ones_like(z),
            "less nothing": (z - 0).t(),
            "copied": z.t().contiguous(),
            "z": z,
        }


class Constants(nn.Module):
    """Results that are parameters, buffers and constants, and views of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(24.0).reshape(4, 6) / 24)
        self.register_buffer("table", torch.arange(12.0).reshape(3, 4) / 12)
        self.constant = torch.arange(10.0).reshape(2, 5) / 10

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        assert isinstance(self.table, Tensor)
        return {
            "product": x @ self.weight.t(),
            "weight": self.weight,
            "weight again": self.weight,
            "weight transposed": self.weight.t(),
            "weight detached": self.weight.detach(),
            "weight clone": self.weight.clone(),
            "weight plus nothing": self.weight + torch.zeros(6),
            "weight row": self.weight[1],
            "table": self.table,
            "table again": self.table,
            "table flat": self.table.view(-1),
            "constant": self.constant,
            "constant again": self.constant,
            "constant transposed": self.constant.t(),
            "ones": torch.ones(3),
            "ones again": torch.ones(3),
        }


class Nested(nn.Module):
    """One tensor at several places of a nested result."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], list[Tensor | None]]:
        hidden = torch.tanh(x)
        output = hidden * 2
        return output, (hidden, output), [hidden, None, output, hidden]


class Repeated(nn.Module):
    """A result with an input twice behind a computed tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x + 1, x, x
