"""CREPE (Kim et al., 2018, arXiv:1802.06182), in its smallest size."""

import torch
from torch import nn
from torch.nn import functional

BINS = 360  # of 20 cents each, from 32.7 Hz


class Crepe(nn.Module):
    """Tells how high a sound is. The names of the layers are those of the weights."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [1, 128, 16, 16, 16, 32, 64]
        for layer in range(1, 7):
            kernel, stride = (512, 4) if layer == 1 else (64, 1)
            convolution = nn.Conv2d(sizes[layer - 1], sizes[layer], (kernel, 1), (stride, 1))
            self.add_module(f"conv{layer}", convolution)
            self.add_module(f"conv{layer}_BN", nn.BatchNorm2d(sizes[layer], eps=0.001))
        self.classifier = nn.Linear(256, BINS)

    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        """Frames of 1024 samples at 16 kHz [batch, 1024] -> Hz and confidence, each [batch]."""
        spread = frames.std(1, keepdim=True).clamp(min=1e-10)
        x = ((frames - frames.mean(1, keepdim=True)) / spread)[:, None, :, None]
        for layer in range(1, 7):
            padding = (0, 0, 254, 254) if layer == 1 else (0, 0, 31, 32)
            x = self.get_submodule(f"conv{layer}")(functional.pad(x, padding)).relu()
            x = functional.max_pool2d(self.get_submodule(f"conv{layer}_BN")(x), (2, 1))
        salience = self.classifier(x.permute(0, 2, 1, 3).flatten(1)).sigmoid()
        confidence, best = salience.max(1)
        bins = torch.arange(BINS)
        near = salience * ((bins - best[:, None]).abs() <= 4)
        cents = (near * bins).sum(1) / near.sum(1) * 20 + 1997.3794084376191
        return {"hertz": 10 * 2 ** (cents / 1200), "confidence": confidence}
