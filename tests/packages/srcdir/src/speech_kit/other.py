from torch import nn


class Other(nn.Module):
    def forward(self, features):
        return features.cumsum(0) * 2
