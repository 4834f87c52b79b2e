import json
from pathlib import Path

from torch import nn

SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


class Layers(nn.Sequential):
    def __init__(self):
        hidden = SIZES["hidden"]
        super().__init__(nn.Linear(SIZES["in"], hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def forward(self, features):
        return super().forward(features)
