"""Networks that listen."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from zoo.vision import Last


def wav2vec2() -> nn.Module:
    """Wav2Vec2 of width 192: convolutions over samples, one of 16 groups, and a transformer."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=768,
        conv_dim=(128, 128, 128, 128, 128, 128, 128),
    )
    return Last(Wav2Vec2Model(config))


def whisper() -> nn.Module:
    """The encoder of a small Whisper, of five seconds."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=256,
        encoder_layers=4,
        encoder_attention_heads=4,
        encoder_ffn_dim=1024,
        max_source_positions=250,
    )
    return Last(WhisperEncoder(config))


class _Separator(nn.Module):
    """One block of a Conv-TasNet."""

    def __init__(self, channels: int, inner: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv1d(channels, inner, 1), nn.PReLU(), nn.GroupNorm(1, inner)),
            nn.Conv1d(inner, inner, 3, padding=dilation, dilation=dilation, groups=inner),
            *(nn.PReLU(), nn.GroupNorm(1, inner), nn.Conv1d(inner, channels, 1)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, channels, steps)."""
        result: torch.Tensor = x + self.layers(x)
        return result


class _TasNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 128, 16, 8, bias=False)
        self.separate = nn.Sequential(
            nn.Conv1d(128, 64, 1), *(_Separator(64, 128, 2**i) for i in range(6))
        )
        self.masks = nn.Conv1d(64, 256, 1)
        self.decoder = nn.ConvTranspose1d(128, 1, 16, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, samples)."""
        hidden = self.encoder(x[:, None])
        masks = functional.relu(self.masks(self.separate(hidden)))
        masks = masks.reshape(x.shape[0], 2, 128, -1)
        voices: torch.Tensor = self.decoder((masks * hidden[:, None]).flatten(0, 1))
        return voices.reshape(x.shape[0], 2, -1)


def tasnet() -> nn.Module:
    """A small Conv-TasNet: dilated depthwise convolutions, norms over all, one transposed."""
    torch.manual_seed(0)
    return _TasNet()


class _Keywords(nn.Module):
    window: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(512))
        self.bands = nn.Linear(257, 64, bias=False)
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(64, 12),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, 16000)."""
        frames = torch.stft(x, 512, 160, window=self.window, return_complex=True)
        power = frames.real.square() + frames.imag.square()
        image = torch.log(self.bands(power.transpose(1, 2)).square() + 1e-6)
        logits: torch.Tensor = self.layers(image[:, None])
        return logits


def keywords() -> nn.Module:
    """A spotter of keywords: spectrum, bands, logarithm, convolutions."""
    torch.manual_seed(0)
    return _Keywords()
