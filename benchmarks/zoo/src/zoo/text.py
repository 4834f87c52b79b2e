"""Networks that read and write."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    SqueezeBertConfig,
    SqueezeBertModel,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = 2000
"""Of each vocabulary: embeddings are no work."""


class _Hidden(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (batch, tokens)."""
        hidden: torch.Tensor = self.model(ids, torch.ones_like(ids)).last_hidden_state
        return hidden


class _Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (batch, tokens)."""
        logits: torch.Tensor = self.model(ids, use_cache=False).logits
        return logits


class _Translation(_Logits):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (batch, tokens), of which the second half is written."""
        half = ids.shape[1] // 2
        logits: torch.Tensor = self.model(
            input_ids=ids[:, :half], decoder_input_ids=ids[:, half:], use_cache=False
        ).logits
        return logits


def _seeded(model: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return model(config)


def distilbert() -> nn.Module:
    """DistilBERT of width 384, with a mask."""
    config = DistilBertConfig(vocab_size=WORDS, dim=384, n_layers=4, n_heads=6, hidden_dim=1536)
    return _Hidden(_seeded(DistilBertModel, config))


def squeezebert() -> nn.Module:
    """SqueezeBERT: convolutions of four groups in place of linear layers."""
    config = SqueezeBertConfig(
        vocab_size=WORDS,
        hidden_size=384,
        embedding_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=1536,
    )
    return _Hidden(_seeded(SqueezeBertModel, config))


def gpt() -> nn.Module:
    """GPT-2 of width 256, causal."""
    config = GPT2Config(vocab_size=WORDS, n_embd=256, n_layer=6, n_head=8, n_positions=256)
    return _Logits(_seeded(GPT2LMHeadModel, config))


def llama() -> nn.Module:
    """Llama of width 256: RMS norms, rotated positions, keys shared by two heads."""
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=256,
    )
    return _Logits(_seeded(LlamaForCausalLM, config))


def t5() -> nn.Module:
    """T5 of width 256, encoder and decoder: a bias by relative position."""
    config = T5Config(
        vocab_size=WORDS,
        d_model=256,
        d_kv=32,
        d_ff=1024,
        num_layers=3,
        num_heads=8,
        decoder_start_token_id=0,
    )
    return _Translation(_seeded(T5ForConditionalGeneration, config))


class _Tagger(nn.Module):
    def __init__(self, layer: type[nn.GRU | nn.LSTM], *, both: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 64)
        self.layer = layer(64, 128, 2, batch_first=True, bidirectional=both)
        self.head = nn.Linear(256 if both else 128, 20)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (batch, tokens)."""
        logits: torch.Tensor = self.head(self.layer(self.words(ids))[0])
        return logits


def bigru() -> nn.Module:
    """Two layers of GRUs in both directions."""
    torch.manual_seed(0)
    return _Tagger(nn.GRU, both=True)


def lstm() -> nn.Module:
    """Two layers of LSTMs."""
    torch.manual_seed(0)
    return _Tagger(nn.LSTM, both=False)
