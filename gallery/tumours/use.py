"""Judge the tumours that the network was not trained with; the last column tells what they were."""

from pathlib import Path

import numpy as np
from tumours.models import network

rows = np.loadtxt(Path(__file__).with_name("held_out.csv"), delimiter=",", dtype="float32")
right = (network(rows[:, :30]) > 0.5) == rows[:, 30]
print(f"{right.sum()} of {len(right)} are right")
assert right.mean() > 0.95
