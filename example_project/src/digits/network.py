"""The classifier of handwritten digits."""

import torch
from torch import nn


class Net(nn.Module):
    """Tells which digit an 8x8 image shows.

    Three convolutions with batch norm and one linear layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, kernel_size=3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(64 * 4 * 4, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score each of the ten digits.

        Args:
            image: float32 [batch, 1, 8, 8], 0 (paper) to 1 (ink).

        Returns:
            Logits, float32 [batch, 10]; the largest one names the digit.
        """
        features = self.features(image).flatten(1)
        logits: torch.Tensor = self.classifier(self.dropout(features))
        return logits
