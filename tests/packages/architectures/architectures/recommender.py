"""A recommender that takes one dict of all features."""

import torch
from torch import nn


class Recommender(nn.Module):
    """One bag of embeddings for each feature of categories, and a perceptron over all."""

    def __init__(self, tables, dense):
        super().__init__()
        torch.manual_seed(0)
        self.bags = nn.ModuleDict({n: nn.EmbeddingBag(k, 16) for n, k in tables.items()})
        self.dense = nn.Linear(dense, 16)
        width = 16 * (len(tables) + 1)
        self.top = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, features):
        bags = [bag(features[name]) for name, bag in self.bags.items()]
        return torch.sigmoid(self.top(torch.cat([*bags, self.dense(features["dense"])], 1)))[:, 0]
