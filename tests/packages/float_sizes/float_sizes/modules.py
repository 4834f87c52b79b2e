"""Sizes that Python's rounding functions make of others."""

import math

import torch.nn.functional as F
from torch import nn


class Cuts(nn.Module):
    def forward(self, x):
        n = x.shape[1]
        return {
            "rounded": x[:, : round(n * 0.25)],
            "up": x[:, : math.ceil(n / 3)] * 2,
            "down": x[:, : math.floor(n * 0.3) + 1],
            "truncated": x[:, : int(n * 0.7 + 0.5)],
            "power": x[:, : int(n**0.5)] / n**0.5,
            "root": x[:, : int(math.sqrt(n))].sum(1),
            "digits": x * round(n * 0.123, 2),
            "bounded": x[:, : max(2, n // 3)] + min(n, 7),
        }


class Scaled(nn.Module):
    def forward(self, image):
        height, width = image.shape[-2:]
        size = (int(height / 1.5), int(width / 1.5))
        return F.interpolate(image, size=size, mode="bilinear")
