import json
from pathlib import Path

from torch import nn

SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


def layers():
    return nn.Sequential(nn.Linear(SIZES["in"], SIZES["hidden"]), nn.ReLU(), nn.Linear(SIZES["hidden"], 3))
