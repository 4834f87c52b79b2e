"""Networks that look at images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    ConvNextConfig,
    ConvNextModel,
    EfficientNetConfig,
    EfficientNetModel,
    MobileViTConfig,
    MobileViTModel,
    RegNetConfig,
    RegNetModel,
    SegformerConfig,
    SegformerModel,
    SwinConfig,
    SwinModel,
)


class Last(nn.Module):
    """The last hidden state of a model of transformers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, height, width)."""
        hidden: torch.Tensor = self.model(x).last_hidden_state
        return hidden


def _seeded(model: Any, config: Any) -> nn.Module:
    torch.manual_seed(0)
    return Last(model(config))


def efficientnet() -> nn.Module:
    """EfficientNet B0: depthwise convolutions, squeeze and excitation."""
    config = EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, image_size=160
    )
    return _seeded(EfficientNetModel, config)


def convnext() -> nn.Module:
    """ConvNeXt of the widths 48 to 384: depthwise 7 by 7, layer norms, GELU."""
    sizes = [48, 96, 192, 384]
    return _seeded(ConvNextModel, ConvNextConfig(hidden_sizes=sizes, depths=[2, 2, 6, 2]))


def swin() -> nn.Module:
    """Swin transformer of width 48: attention in shifted windows, with a bias by position."""
    config = SwinConfig(image_size=224, embed_dim=48, depths=[2, 2, 4, 2], num_heads=[2, 4, 8, 16])
    return _seeded(SwinModel, config)


def regnet() -> nn.Module:
    """RegNetY 400MF: groups of 8 channels, squeeze and excitation."""
    config = RegNetConfig(hidden_sizes=[48, 104, 208, 440], depths=[1, 3, 6, 6], groups_width=8)
    return _seeded(RegNetModel, config)


def resnext() -> nn.Module:
    """RegNetX 800MF: groups of 16 channels."""
    sizes = [64, 128, 288, 672]
    return _seeded(
        RegNetModel,
        RegNetConfig(hidden_sizes=sizes, depths=[1, 3, 7, 5], groups_width=16, layer_type="x"),
    )


def mobilevit() -> nn.Module:
    """MobileViT: depthwise convolutions, and attention over unfolded patches."""
    return _seeded(
        MobileViTModel,
        MobileViTConfig(
            image_size=192,
            hidden_sizes=[64, 80, 96],
            neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        ),
    )


def segformer() -> nn.Module:
    """SegFormer: attention with fewer keys than queries, depthwise convolutions in between."""
    return _seeded(SegformerModel, SegformerConfig(hidden_sizes=[32, 64, 160, 256]))


class _Mixer(nn.Module):
    """A block of a mixer: a perceptron over patches, one over channels."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.before, self.behind = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(
            nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches)
        )
        self.channels = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, patches, width)."""
        x = x + self.tokens(self.before(x).transpose(1, 2)).transpose(1, 2)
        result: torch.Tensor = x + self.channels(self.behind(x))
        return result


def mixer() -> nn.Module:
    """A mixer of 196 patches: products over tokens and over channels in turn."""
    torch.manual_seed(0)
    return _Layers(
        nn.Conv2d(3, 256, 16, 16),
        nn.Flatten(2),
        _Transposed(),
        *(_Mixer(196, 256) for _ in range(6)),
        nn.LayerNorm(256),
    )


class _Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, a, b)."""
        return x.transpose(1, 2)


class _Layers(nn.Module):
    """Layers one behind the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, ...)."""
        result: torch.Tensor = self.layers(x)
        return result


class _Dense(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 4 * growth, 1, bias=False)),
            *(nn.BatchNorm2d(4 * growth), nn.ReLU()),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, channels, height, width)."""
        return torch.cat([x, self.layers(x)], 1)


def densenet() -> nn.Module:
    """A DenseNet of three blocks: many channels put together, norms before convolutions."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 48, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 48
    for count in (4, 6, 8):
        for _ in range(count):
            layers.append(_Dense(channels, 24))
            channels += 24
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.Conv2d(channels, channels // 2, 1), nn.AvgPool2d(2)]
        channels //= 2
    return _Layers(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [16, 32, 64, 128]
        self.down = nn.ModuleList(
            _double(before, after) for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, 2) for width in reversed(widths[:-1])
        )
        self.joined = nn.ModuleList(_double(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, height, width), both multiples of 8."""
        kept: list[torch.Tensor] = []
        for layer in self.down:
            x = layer(functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        for up, joined, beside in zip(self.up, self.joined, reversed(kept[:-1]), strict=True):
            x = joined(torch.cat([up(x), beside], 1))
        logits: torch.Tensor = self.head(x)
        return logits


def _double(before: int, after: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def unet() -> nn.Module:
    """A U-Net with transposed convolutions."""
    torch.manual_seed(0)
    return _UNet()


def dilated() -> nn.Module:
    """Dilated convolutions side by side, as in DeepLab, and their result enlarged."""
    torch.manual_seed(0)
    return _Dilated()


class _Dilated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(64, 96, 3, 2, 1), nn.ReLU()),
        )
        self.branches = nn.ModuleList(
            nn.Conv2d(96, 64, 3, padding=rate, dilation=rate) for rate in (1, 2, 4, 8)
        )
        self.head = nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), nn.Conv2d(64, 12, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 3, height, width)."""
        x = self.stem(x)
        x = torch.cat([functional.relu(branch(x)) for branch in self.branches], 1)
        return functional.interpolate(
            self.head(x), scale_factor=8.0, mode="bilinear", align_corners=False
        )


def detector() -> nn.Module:
    """Two scales of a detector: maps put together, and the 100 best boxes."""
    torch.manual_seed(0)
    return _Detector()


class _Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            *(nn.Conv2d(3, 24, 3, 2, 1), nn.SiLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.SiLU()),
            *(nn.Conv2d(48, 96, 3, 2, 1), nn.SiLU()),
        )
        self.second = nn.Sequential(nn.Conv2d(96, 128, 3, 2, 1), nn.SiLU())
        self.across = nn.Conv2d(128, 96, 1)
        self.heads = nn.ModuleList(nn.Conv2d(width, 24, 3, padding=1) for width in (96, 128))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: (batch, 3, 256, 256)."""
        near = self.first(x)
        far = self.second(near)
        near = near + functional.interpolate(self.across(far), scale_factor=2.0)
        found = [head(each).flatten(2) for head, each in zip(self.heads, (near, far), strict=True)]
        rows = torch.cat(found, 2).transpose(1, 2)
        scores, places = rows[..., 4:].sigmoid().amax(-1).topk(100, 1)
        return scores, rows[..., :4].gather(1, places[..., None].expand(-1, -1, 4))


def video() -> nn.Module:
    """Separable convolutions over space and time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv3d(before, after, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.Conv3d(after, after, (3, 1, 1), padding=(1, 0, 0)),
            *(nn.BatchNorm3d(after), nn.ReLU()),
        ]
    return _Layers(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, 10))
