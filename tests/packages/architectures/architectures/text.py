"""Text models of transformers; where a model keeps a cache, the cache goes in and out as tuples."""

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DynamicCache,
    EncoderDecoderCache,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)


def bert():
    torch.manual_seed(0)
    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64}
    return BertModel(BertConfig(**sizes, num_hidden_layers=2, num_attention_heads=4))


class Llama(nn.Module):
    """Reads tokens that follow those in the cache."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        self.model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, num_hidden_layers=2))

    def forward(self, ids, past):
        out = self.model(ids, past_key_values=DynamicCache(past), use_cache=True)
        return out.logits, [(layer.keys, layer.values) for layer in out.past_key_values.layers]


class T5(nn.Module):
    """Encodes a text once, then decodes token by token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 64}
        self.model = T5ForConditionalGeneration(T5Config(**sizes, num_layers=2, num_heads=4))

    def encode(self, ids, mask):
        return self.model.encoder(ids, mask).last_hidden_state

    def decode(self, ids, hidden, mask, past):
        cache = EncoderDecoderCache(DynamicCache(past), DynamicCache())
        out = self.model(None, mask, ids, encoder_outputs=(hidden,), past_key_values=cache)
        layers = out.past_key_values.self_attention_cache.layers
        return out.logits, [(layer.keys, layer.values) for layer in layers]
