"""Models that keep something from one call for the next."""

import torch
import torch.nn.functional as F
from torch import nn


class Normalizer(nn.Module):
    """Subtracts the mean of all rows that it has seen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.count += x.shape[0]
        self.mean += (x - self.mean).sum(0) / self.count
        return x - self.mean, self.mean


class Voice(nn.Module):
    """A spectrum, a convolution and an LSTM, as detectors of voice activity have."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(33, 16, 3, padding=1)
        self.cell = nn.LSTMCell(16, 16)
        self.out = nn.Linear(16, 1)
        self.register_buffer("window", torch.hann_window(64))
        self.register_buffer("hidden", torch.zeros(1, 16))
        self.register_buffer("cell_state", torch.full((1, 16), 0.5))
        self.register_buffer("context", torch.zeros(1, 32))

    def forward(self, samples):
        batch = samples.shape[0]
        whole = torch.cat([self.context.expand(batch, -1), samples], 1)
        self.context = samples[:, -32:]
        spectrum = torch.stft(
            whole, 64, 32, window=self.window, center=False, return_complex=True
        ).abs()
        features = F.relu(self.convolution(spectrum)).mean(2)
        state = self.hidden.expand(batch, -1), self.cell_state.expand(batch, -1)
        self.hidden, self.cell_state = self.cell(features, state)
        return torch.sigmoid(self.out(self.hidden))


class CausalLayer(nn.Module):
    """A dilated causal convolution over the past, which is kept in a ring."""

    def __init__(self, dilation):
        super().__init__()
        self.dilation = dilation
        self.filter = nn.Linear(8, 4)
        self.register_buffer("past", torch.zeros(1, 4, 8))

    def forward(self, x, time):
        place = time % self.dilation
        before = self.past.index_select(2, place.reshape(1)).squeeze(2)
        self.past.index_copy_(2, place.reshape(1), x.unsqueeze(2))
        return x + torch.tanh(self.filter(torch.cat([before, x], 1)))


class Causal(nn.Module):
    """Layers of growing dilation, as WaveNet has, one sample at a time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(CausalLayer(d) for d in (1, 2, 4, 8))
        self.register_buffer("time", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x, self.time)
        self.time += 1
        return x


class Decoder(nn.Module):
    """Attention over a cache of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(64, 16)
        self.mixed = nn.Linear(16, 48)
        self.out = nn.Linear(16, 64)
        self.register_buffer("keys", torch.zeros(1, 2, 64, 8))
        self.register_buffer("values", torch.zeros(1, 2, 64, 8))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, ids):
        batch, steps = ids.shape
        mixed = self.mixed(self.embedding(ids)).view(batch, steps, 3, 2, 8)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        places = self.position + torch.arange(steps)
        self.keys.index_copy_(2, places, key)
        self.values.index_copy_(2, places, value)
        self.position += steps
        mask = torch.arange(64)[None, :] <= places[:, None]
        mixed = F.scaled_dot_product_attention(query, self.keys, self.values, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, steps, 16))


class Long(nn.Module):
    """Writes a row into a cache of many megabytes, and looks at the last ones."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(1 << 20, 8))
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    def forward(self, row):
        self.cache.index_copy_(0, self.position, row[None])
        last = self.cache.index_select(0, (self.position - torch.arange(4)).clamp(min=0))
        self.position += 1
        return last.sum(0)


class Llama(nn.Module):
    """A model of transformers with its static cache, whose tensors are the buffers."""

    def __init__(self, model, length):
        super().__init__()
        from transformers import StaticCache

        self.model = model
        config = model.config
        heads, size = config.num_key_value_heads, config.head_dim
        self.cache = StaticCache(config=config, max_cache_len=length)
        self.cache.early_initialization(1, heads, size, torch.float32, torch.device("cpu"))
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"keys_{i}", layer.keys, persistent=False)
            self.register_buffer(f"values_{i}", layer.values, persistent=False)
            self.register_buffer(f"length_{i}", layer.cumulative_length, persistent=False)

    def forward(self, ids):
        return self.model(ids, past_key_values=self.cache, use_cache=True).logits


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
    )
    return Llama(LlamaForCausalLM(config).eval(), 48)


class Table(nn.Module):
    """Writes rows into a table of the caller's."""

    def forward(self, rows, table, places):
        table.index_copy_(0, places, rows)
        return table.sum(0)


class Phrases(nn.Module):
    """Two methods over one state, and one that has nothing to do with it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 8)
        self.register_buffer("sum", torch.zeros(8))

    def prefill(self, x):
        for_each = self.linear(x)
        self.sum += for_each.sum(0)
        return self.sum * 1

    def decode(self, x):
        self.sum = torch.tanh(self.sum + self.linear(x)[0])
        return self.sum

    def plain(self, x):
        return self.linear(x)
