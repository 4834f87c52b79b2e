"""A sentence encoder."""

from __future__ import annotations

import torch
from torch import nn
from transformers import BertConfig, BertModel


def minilm() -> nn.Module:
    """The network of MiniLM-L6: six layers of 384, with the mean over the tokens."""
    torch.manual_seed(0)
    return _Encoder()


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode; ids and mask: (batch, tokens)."""
        states: torch.Tensor = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
