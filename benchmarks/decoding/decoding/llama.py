"""Llama of two sizes, with its static cache. Weights follow a seed."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

Tensors = tuple[torch.Tensor, ...]

LENGTH = 512
"""Entries of the static cache."""


class Llama(nn.Module):
    """A model of transformers with its static cache, whose tensors are the buffers."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = LlamaForCausalLM(config).eval()
        self.cache = StaticCache(config=config, max_cache_len=LENGTH)
        heads, size = config.num_key_value_heads, config.head_dim
        self.cache.early_initialization(1, heads, size, torch.float32, torch.device("cpu"))
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"keys_{i}", layer.keys, persistent=False)
            self.register_buffer(f"values_{i}", layer.values, persistent=False)
            self.register_buffer(f"length_{i}", layer.cumulative_length, persistent=False)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        """Cast all but the frequencies of positions, as transformers does when it loads a model."""
        rotary = self.model.model.rotary_emb
        frequencies = rotary.inv_freq
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        rotary.inv_freq = frequencies
        return self

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores of what comes next; ids: (1, tokens)."""
        # A module that is cast or was loaded has other buffers than those of its first cache.
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = getattr(self, f"keys_{i}"), getattr(self, f"values_{i}")
            layer.cumulative_length = getattr(self, f"length_{i}")
        logits: torch.Tensor = self.model(ids, past_key_values=self.cache, use_cache=True).logits
        return logits


class Passed(nn.Module):
    """The model with the entries of its static cache as inputs and outputs."""

    def __init__(self, llama: Llama) -> None:
        super().__init__()
        self.llama = llama

    def forward(self, ids: torch.Tensor, length: torch.Tensor, *past: torch.Tensor) -> Tensors:
        """Scores, and keys and values of each layer in turn."""
        layers = self.llama.cache.layers
        for layer, keys, values in zip(layers, past[::2], past[1::2], strict=True):
            # What is written to is a copy for the exporter, and none in the graph that it writes.
            layer.keys, layer.values = keys.clone(), values.clone()
            layer.cumulative_length = length.clone()
        logits = self.llama.model(ids, past_key_values=self.llama.cache, use_cache=True).logits
        return logits, *(tensor for layer in layers for tensor in (layer.keys, layer.values))


class Growing(nn.Module):
    """The model with a cache as inputs and outputs that a step appends to."""

    def __init__(self, llama: Llama) -> None:
        super().__init__()
        self.model = llama.model

    def forward(self, ids: torch.Tensor, beams: torch.Tensor, *past: torch.Tensor) -> Tensors:
        """Scores, and keys and values of each layer in turn; beams: which rows go on."""
        kept = [tensor.index_select(0, beams) for tensor in past]
        cache = DynamicCache(config=self.model.config)
        for layer, keys, values in zip(cache.layers, kept[::2], kept[1::2], strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
        logits = self.model(ids, past_key_values=cache, use_cache=True).logits
        return logits, *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))


def llama_15m() -> Llama:
    """15 million parameters: 6 layers of 288."""
    return _llama(288, 768, 6)


def llama_110m() -> Llama:
    """110 million parameters: 12 layers of 768."""
    return _llama(768, 2048, 12)


def _llama(width: int, inner: int, layers: int) -> Llama:
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=layers,
        num_key_value_heads=layers,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
    )
    return Llama(config)
