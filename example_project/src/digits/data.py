"""The handwritten digits: 1,797 real images of 8x8 pixels, their split and their noise."""

from dataclasses import dataclass

import torch

HELD_OUT_FRACTION = 0.2
SPLIT_SEED = 0
NOISE_SCALE = 0.3
HELD_OUT_NOISE_SEED = 1_000_000  # training takes small seeds, one for each step


@dataclass(frozen=True)
class Digits:
    """Images with their labels.

    Attributes:
        images: float32 [count, 1, 8, 8], 0 (paper) to 1 (ink).
        labels: int64 [count], 0 to 9.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load() -> tuple[Digits, Digits]:
    """Load the digits that come with scikit-learn; nothing is downloaded.

    Returns:
        The training and the held-out digits. The split is fixed, and each digit has the same share
        of both parts.
    """
    # Imported here, because a program that only calls the models needs no scikit-learn.
    from sklearn import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        datasets,
        model_selection,
    )

    pixels, labels = datasets.load_digits(return_X_y=True)  # 64 values of 0 to 16 for each image
    parts = model_selection.train_test_split(
        pixels / 16,
        labels,
        test_size=HELD_OUT_FRACTION,
        random_state=SPLIT_SEED,
        stratify=labels,
    )
    training_pixels, held_out_pixels, training_labels, held_out_labels = (
        torch.from_numpy(part) for part in parts
    )
    return (
        Digits(training_pixels.float().reshape(-1, 1, 8, 8), training_labels),
        Digits(held_out_pixels.float().reshape(-1, 1, 8, 8), held_out_labels),
    )


def add_noise(images: torch.Tensor, seed: int, scale: float = NOISE_SCALE) -> torch.Tensor:
    """Add Gaussian noise to images.

    Args:
        images: float32, 0 to 1, of any shape.
        seed: the same seed gives the same noise.
        scale: standard deviation of the noise.

    Returns:
        The noisy images, cut off to 0 to 1, of the same shape.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator)
    return (images + scale * noise).clamp(0, 1)
