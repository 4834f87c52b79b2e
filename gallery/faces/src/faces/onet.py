"""The last of the three networks of MTCNN (Zhang et al., 2016, arXiv:1604.02878)."""

import torch
from torch import nn


class ONet(nn.Module):
    """Looks at a picture of 48x48. The names of the layers are those of the weights."""

    def __init__(self) -> None:
        super().__init__()
        for layer, (inputs, outputs, kernel) in enumerate(
            [(3, 32, 3), (32, 64, 3), (64, 64, 3), (64, 128, 2)], start=1
        ):
            self.add_module(f"conv{layer}", nn.Conv2d(inputs, outputs, kernel))
            self.add_module(f"prelu{layer}", nn.PReLU(outputs))
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)  # no face, face
        self.dense6_2 = nn.Linear(256, 4)  # how the box has to be moved
        self.dense6_3 = nn.Linear(256, 10)  # x of five points, then y
        self.pools = [nn.MaxPool2d(3, 2, ceil_mode=True)] * 2 + [nn.MaxPool2d(2, 2, ceil_mode=True)]

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Bytes of RGB [batch, 48, 48, 3] -> face [batch], points [batch, 5, 2], box [batch, 4]."""
        x = (pictures.permute(0, 3, 1, 2).float() - 127.5) / 128
        for layer in range(1, 5):
            x = self.get_submodule(f"prelu{layer}")(self.get_submodule(f"conv{layer}")(x))
            if layer < 4:
                x = self.pools[layer - 1](x)
        x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).flatten(1)))
        return {
            "face": self.dense6_1(x).softmax(1)[:, 1],
            "points": self.dense6_3(x).reshape(-1, 2, 5).transpose(1, 2),
            "box": self.dense6_2(x),
        }
