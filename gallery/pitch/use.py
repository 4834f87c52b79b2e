"""Tell the pitch of tones that have overtones, as of a string."""

import numpy as np
from pitch.models import crepe

TONES = {"A2": 110.0, "C4": 261.63, "A4": 440.0, "E5": 659.26}

seconds = np.arange(1024) / 16_000
frames = [
    sum(np.sin(2 * np.pi * hertz * k * seconds) / k for k in range(1, 6))
    for hertz in TONES.values()
]
found = crepe(np.stack(frames).astype("float32"))
for (name, hertz), told, confidence in zip(TONES.items(), *found.values(), strict=True):
    print(f"{name}: {told:.1f} Hz, confidence {confidence:.2f}")
    assert abs(told / hertz - 1) < 0.01, f"{hertz} Hz was played"
