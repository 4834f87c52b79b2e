"""What the models are traced with."""

import torch
from torch.export import Dim


def call():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 12, (3, 7), generator=generator)
    return (ids, {"hidden": torch.rand(3, 6, generator=generator)}), {}


def dynamic_shapes():
    batch = Dim("batch", max=8)
    return {"ids": {0: batch, 1: Dim("seq", max=32)}, "state": {"hidden": {0: batch}}}


scaled = {"x": (Dim("rows", max=64), None), "y": None}
