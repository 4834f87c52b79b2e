"""Models whose code calls functions that a stand-alone library has to have of its own."""

import torch
from torch import Tensor, nn


class Outer(nn.Module):
    """Needs much memory for large inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None] * x[None, :] + 1


class Ordered(nn.Module):
    """Sorts, sums up and places elements."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values, places = x.topk(5, dim=1)
        ordered, order = torch.sort(x, dim=1, stable=True)
        sums = x.cumsum(1)
        placed = torch.zeros_like(x).scatter(1, places, values)
        return values, places, ordered, order, sums, placed


class Spectrum(nn.Module):
    """The magnitudes of a short-time Fourier transform, their logarithms, and the wave again."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(256))

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = torch.stft(wave, 256, 64, window=self.window, return_complex=True)
        magnitude = found.abs()
        frames = torch.fft.irfft(found, dim=1, norm="ortho")
        return magnitude, (magnitude + 1).log(), frames


class Vocoder(nn.Module):
    """A wave of magnitudes and phases, and complex results, of which views are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        torch.manual_seed(0)
        self.mix = nn.ModuleList(nn.Conv1d(33, 8, 3) for _ in range(2))

    def forward(self, magnitude: Tensor, phase: Tensor) -> tuple[Tensor, ...]:
        spectrum = magnitude * torch.exp(1j * phase)
        turned = torch.complex(magnitude, phase)
        quotient = torch.where(phase > 0, spectrum / (turned + 2).conj(), -turned.sqrt())
        wave = torch.istft(spectrum, 64, 16, window=self.window)
        mixed = torch.stack([part(magnitude) for part in self.mix], -1)
        return wave, (turned + 1).log(), quotient.sum(1), torch.view_as_complex(mixed).abs()


class Decoder(nn.Module):
    """Transposed, grouped and three-dimensional convolutions, and a product of activations."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1)
        self.grouped = nn.Conv2d(12, 8, 3, padding=1, groups=4)
        self.volume = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.grouped(torch.tanh(self.up(x)))
        z = self.volume(y[:, None]).sum(1)
        rows = z.flatten(2)
        return torch.softmax(rows @ rows.transpose(1, 2), -1)


class Pooled(nn.Module):
    """Pools by large windows, adds up rows of a table, and places values by a mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(10, 4, mode="sum")
        self.register_buffer("starts", torch.tensor([0, 5, 7]))

    def forward(self, image: Tensor, words: Tensor) -> tuple[Tensor, ...]:
        largest = nn.functional.max_pool2d(image, 9, stride=3)
        mean = nn.functional.avg_pool2d(image, 9, stride=3)
        more = torch.index_put(image, (image > 0,), torch.ones(1), accumulate=True)
        return largest, mean, more, self.bag(words, self.starts)


class Short(nn.Module):
    """Takes and returns bfloat16, for which Python's buffers have no word."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((8,), 2.0, dtype=torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Factors(nn.Module):
    """Calls what only torch has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.cholesky(x @ x.mT + torch.eye(4))
