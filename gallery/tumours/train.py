"""Train the network on three quarters of the data, and keep the rest: pip install scikit-learn."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.nn.functional import binary_cross_entropy
from tumours.network import Network

torch.manual_seed(0)
data = load_breast_cancer()
malignant = (data.target == 0).astype("float32")
split = train_test_split(data.data.astype("float32"), malignant, random_state=0)
measures, held_out, labels, truth = map(torch.from_numpy, split)
network = Network()
network.norm.momentum = None  # the mean of all batches, which are always the same one
optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
for _ in range(150):
    optimizer.zero_grad()
    binary_cross_entropy(network(measures), labels).backward()
    optimizer.step()
here = Path(__file__).parent
(here / "weights").mkdir(exist_ok=True)
save_file(network.state_dict(), here / "weights" / "network.safetensors")
rows = np.column_stack([held_out, truth])
np.savetxt(here / "held_out.csv", rows, fmt="%.6g", delimiter=",")
print(
    f"{((network.eval()(held_out) > 0.5) == truth).float().mean():.3f} of those held out are right"
)
