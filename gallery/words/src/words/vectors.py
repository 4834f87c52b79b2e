"""chars2vec (IntuitionEngineering, 2019), with vectors of 50 values."""

import torch
from torch import nn
from torch.nn import functional

from words import LETTERS


class Vectors(nn.Module):
    """Reads the letters of a word one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(len(LETTERS), 50, num_layers=2, batch_first=True)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        """Numbers of letters [batch, length] -> vectors [batch, 50] of length 1."""
        steps = functional.one_hot(letters, len(LETTERS) + 1)[..., 1:].float()
        return functional.normalize(self.lstm(steps)[0][:, -1])
