"""The reader of handwritten digits, which sees them line by line."""

import torch
from torch import nn
from torch.nn import functional

HIDDEN = 48


class Reader(nn.Module):
    """Tells which digit is being scanned, while its lines come in one after the other.

    A linear layer, a recurrent cell and another linear layer. What the cell remembers of the lines
    before is a buffer: the compiled model keeps it in a state, which the caller holds.
    """

    hidden: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(8, 24)
        self.cell = nn.GRUCell(24, HIDDEN)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(HIDDEN, 10)
        # Before the first line, for each digit of a call. It is no weight: no state dict has it.
        self.register_buffer("hidden", torch.zeros(1, HIDDEN), persistent=False)

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        """Read the next line of each digit, and score each of the ten.

        Args:
            line: float32 [batch, 8], 0 (paper) to 1 (ink).

        Returns:
            Logits after the lines so far, float32 [batch, 10]; the largest one names the digit.
        """
        strokes = functional.relu(self.encoder(line))
        self.hidden = self.cell(strokes, self.hidden.expand(line.shape[0], -1))
        logits: torch.Tensor = self.classifier(self.dropout(self.hidden))
        return logits
