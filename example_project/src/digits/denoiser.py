"""The denoiser of handwritten digits."""

import torch
from torch import nn


class Denoiser(nn.Module):
    """Removes noise from an 8x8 image of a digit.

    A convolutional autoencoder: halves the image to 4x4, then draws it anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, kernel_size=3, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(64, 32, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 1, kernel_size=3, padding=1),
            nn.Sigmoid(),  # keeps the drawing in the value range of the images
        )

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Reconstruct each image without its noise.

        Args:
            image: float32 [batch, 1, 8, 8], 0 (paper) to 1 (ink).

        Returns:
            `image`: the reconstruction, float32 [batch, 1, 8, 8], 0 to 1.
            `error`: mean squared difference between input and reconstruction, float32 [batch];
            it grows with the noise of the input.
        """
        reconstruction = self.decoder(self.encoder(image))
        error = (image - reconstruction).square().mean(dim=(1, 2, 3))
        return {"image": reconstruction, "error": error}
