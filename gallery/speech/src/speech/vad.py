"""The voice activity detector of Silero (github.com/snakers4/silero-vad), for 16 kHz."""

import torch
from torch import nn
from torch.nn import functional


class Detector(nn.Module):
    """Hears 512 samples after the other, and remembers what it heard before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        for layer, (inputs, outputs, stride) in enumerate(
            [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)], start=1
        ):
            self.add_module(f"conv{layer}", nn.Conv1d(inputs, outputs, 3, stride, padding=1))
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)
        for name, size in [("before", 64), ("hidden", 128), ("cell", 128)]:
            self.register_buffer(name, torch.zeros(1, size), persistent=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples from -1 to 1 [batch, 512] -> probability of speech [batch]."""
        batch = samples.shape[0]
        x = torch.cat([self.before.expand(batch, -1), samples], 1)
        self.before = samples[:, -64:]
        x = self.stft_conv(functional.pad(x, (0, 64), mode="reflect")[:, None])
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for layer in range(1, 5):
            x = self.get_submodule(f"conv{layer}")(x).relu()
        kept = self.hidden.expand(batch, -1), self.cell.expand(batch, -1)
        self.hidden, self.cell = self.lstm_cell(x[..., 0], kept)
        return self.final_conv(self.hidden.relu()[..., None]).sigmoid()[:, 0, 0]
