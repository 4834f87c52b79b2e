"""Convolutional classifiers of 1000 classes, for images of 224 x 224."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


def resnet18() -> nn.Module:
    """ResNet-18, as in its paper."""
    torch.manual_seed(0)
    widths = [64, 64, 128, 256, 512]
    blocks: list[nn.Module] = []
    for stage, (narrow, wide) in enumerate(pairwise(widths)):
        blocks += [_Basic(narrow, wide, stride=2 if stage else 1), _Basic(wide, wide, stride=1)]
    stem = [*_convolution(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return _calibrated(nn.Sequential(*stem, *blocks, *_head(512)))


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 of width 1, as in its paper."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [*_convolution(3, 32, 3, stride=2), nn.ReLU6()]
    width = 32
    for expansion, channels, count, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for i in range(count):
            layers.append(_Inverted(width, channels, expansion, stride if i == 0 else 1))
            width = channels
    layers += [*_convolution(320, 1280, 1), nn.ReLU6()]
    return _calibrated(nn.Sequential(*layers, *_head(1280)))


class _Basic(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(narrow, wide, 3, stride=stride), nn.ReLU(), *_convolution(wide, wide, 3)
        )
        same = stride == 1 and narrow == wide
        self.shortcut = nn.Sequential(*([] if same else _convolution(narrow, wide, 1, stride)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class _Inverted(nn.Module):
    """A depthwise convolution between two pointwise ones."""

    def __init__(self, narrow: int, wide: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = narrow * expansion
        widening = [*_convolution(narrow, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        self.body = nn.Sequential(
            *widening,
            *_convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(),
            *_convolution(hidden, wide, 1),
        )
        self.shortcut = stride == 1 and narrow == wide

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(x)
        return x + found if self.shortcut else found


def _convolution(
    narrow: int, wide: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding = size // 2
    convolution = nn.Conv2d(narrow, wide, size, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(wide)]


def _head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000)]


def _calibrated(module: nn.Module) -> nn.Module:
    """Norms that know their data: else the values would shrink to denormals layer by layer."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the mean of all batches seen, here of one
    with torch.no_grad():
        module.train()(torch.randn(4, 3, 224, 224))
    return module.eval()
