"""The models. Weights follow a seed."""

from __future__ import annotations

import torch
from torch import nn
from transformers import BertConfig, BertModel


def mlp() -> nn.Module:
    """Two layers, 64-256-10."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


class MiniLM(nn.Module):
    """An encoder of the size of MiniLM-L6, and the mean of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=30522,
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
        )
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """A vector for each sequence; ids: (batch, length)."""
        tokens: torch.Tensor = self.bert(input_ids=ids).last_hidden_state
        return tokens.mean(1)
