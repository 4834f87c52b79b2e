"""Models whose arguments are nested, or constants."""

from dataclasses import dataclass

import torch
from torch import nn


class Decoder(nn.Module):
    """A step with an explicit key/value cache, nested in and out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(30, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.head = nn.Linear(16, 30)

    def forward(self, ids, cache, causal=True, scale=None):
        h = self.embedding(ids)
        new = []
        for layer, past in zip(self.layers, cache):
            q, k, v = layer(h).chunk(3, -1)
            k, v = torch.cat([past["k"], k], 1), torch.cat([past["v"], v], 1)
            h = h + nn.functional.scaled_dot_product_attention(q, k, v, scale=scale)
            new.append({"k": k, "v": v})
        return self.head(h) if causal else h, tuple(new)


@dataclass
class Scores:
    logits: torch.Tensor
    best: torch.Tensor
    loss: object = None


torch.export.register_dataclass(Scores)


class Scorer(nn.Module):
    """Returns a dataclass."""

    def forward(self, x):
        return {"scores": Scores(x * 2, x.max(-1)[0]), "n": 1}


class Recommender(nn.Module):
    """A dict of inputs, and a mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.items = nn.EmbeddingBag(50, 8, mode="mean")
        self.dense = nn.Linear(4, 8)

    def forward(self, batch, mode, *, temperature=1.0):
        score = (self.items(batch["items"]) * self.dense(batch["user"]["dense"])).sum(-1)
        return torch.sigmoid(score / temperature) if mode == "probability" else score
