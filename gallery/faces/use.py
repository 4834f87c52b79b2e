"""Sort 100 faces from 100 pictures that show none, of 25x25 pixels, and tell where eyes are."""

from pathlib import Path

import numpy as np
from faces.models import onet

gray = np.load(Path(__file__).parent / "weights" / "lfw_subset.npy")
larger = np.arange(48) * 25 // 48
pixels = (gray[:, larger][:, :, larger] * 255).astype("uint8")
pictures = np.repeat(pixels[..., None], 3, axis=3)
found = [onet(pictures[:100]), onet(pictures[100:])]
right = (found[0]["face"] > 0.5).sum(), (found[1]["face"] < 0.5).sum()
print(f"{right[0]} of 100 faces and {right[1]} of 100 others are right")
left, other = found[0]["points"].mean(axis=0)[:2]
print(f"eyes are at {left.round(2)} and {other.round(2)} of a picture")
assert min(right) >= 98
assert left[0] < 0.4 < other[0]
