"""Networks of other families than the well-known ones, each small, with random weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def decoder() -> nn.Module:
    """Transposed convolutions that make a signal of frames, as in neural codecs."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv1d(64, 128, 7, padding=3)]
    for channels, stride in ((128, 8), (64, 5), (32, 4), (16, 2)):
        layers += [
            nn.ELU(),
            nn.ConvTranspose1d(channels, channels // 2, 2 * stride, stride, stride // 2),
            nn.Conv1d(channels // 2, channels // 2, 3, padding=1),
        ]
    return nn.Sequential(*layers, nn.ELU(), nn.Conv1d(8, 1, 7, padding=3), nn.Tanh())


def video() -> nn.Module:
    """Convolutions over 16 frames of 56 by 56 pixels."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv3d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2))),
        *(nn.Conv3d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


def spectrogram() -> nn.Module:
    """The logarithm of a mel spectrogram of one second at 16 kHz."""
    torch.manual_seed(0)
    return _Spectrogram()


class _Spectrogram(nn.Module):
    window: torch.Tensor
    bands: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(400))
        self.register_buffer("bands", torch.rand(80, 201) / 201)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """signal: (batch, 16000)."""
        frames = torch.stft(signal, 400, 160, window=self.window, return_complex=True)
        power = frames.real.square() + frames.imag.square()
        return torch.log10(torch.clamp(self.bands @ power, min=1e-10))


def recommender() -> nn.Module:
    """Sums over bags of 20 of 10,000 embeddings, and a perceptron."""
    torch.manual_seed(0)
    return _Recommender()


class _Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.items = nn.EmbeddingBag(30522, 64, mode="sum")
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (bags, 20)."""
        scores: torch.Tensor = self.layers(self.items(ids))
        return scores


def graph() -> nn.Module:
    """Three rounds of messages over 3,000 edges of 500 nodes."""
    torch.manual_seed(0)
    return _Graph()


class _Graph(nn.Module):
    source: torch.Tensor
    target: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(nn.Linear(64, 32) for _ in range(3))
        ends = torch.randint(0, 500, (2, 3000))
        self.register_buffer("source", ends[0])
        self.register_buffer("target", ends[1])

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        """nodes: (500, 32)."""
        for layer in self.rounds:
            gathered = torch.zeros_like(nodes).index_add(0, self.target, nodes[self.source])
            nodes = functional.silu(layer(torch.cat([nodes, gathered], 1)))
        return nodes


def candidates() -> nn.Module:
    """The 300 best of 8,400 boxes with 80 classes each, and a running sum of their scores."""
    return _Candidates()


class _Candidates(nn.Module):
    def forward(self, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """found: (batch, 8400, 84), the first four of each row its box."""
        scores = found[..., 4:].sigmoid().amax(-1)
        best, places = scores.topk(300, 1)
        boxes = found[..., :4].gather(1, places[..., None].expand(-1, -1, 4))
        return boxes, best.cumsum(1)
