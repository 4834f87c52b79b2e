"""What a model is traced with that reads channels_last."""

import torch
from torch.export import Dim


def image():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 6, 5, generator=generator)
    return (image.to(memory_format=torch.channels_last),), {}


images = {"image": {0: Dim("batch", min=2, max=8)}}
