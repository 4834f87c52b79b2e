"""An image classifier without convolutions; apart, because transformers takes long to import."""

from __future__ import annotations

import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification


def vit_tiny() -> nn.Module:
    """ViT-Ti/16: twelve layers of 192 with three heads, over 197 patches."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192,
        num_attention_heads=3,
        intermediate_size=768,
        num_labels=1000,
    )
    return _Vit(config)


class _Vit(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.vit = ViTForImageClassification(config)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: (batch, 3, 224, 224)."""
        logits: torch.Tensor = self.vit(pixel_values=image).logits
        return logits
