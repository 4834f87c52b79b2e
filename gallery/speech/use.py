"""Listen to a second of silence, one of noise and one of a voice, each as it comes in."""

import numpy as np
from speech.models import detector

RATE = 16_000
rng = np.random.default_rng(0)


def voice(seconds: float) -> np.ndarray:
    """Vowels of a voice that rises and falls: pulses of 100 to 160 Hz through three formants."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(130 + 30 * np.sin(2 * np.pi * 1.5 * time)) / RATE
    sound = np.zeros_like(time)
    for k in range(1, 40):
        hertz, formants = 130 * k, 600 + 200 * np.sin(2 * np.pi * 3 * time)
        loud = sum(np.exp(-(((hertz - f) / 150) ** 2)) for f in (formants, formants + 700, 2600))
        sound += loud / k**0.5 * np.sin(k * phase)
    return 0.3 * sound / np.abs(sound).max() * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))


sounds = {"silence": np.zeros(RATE), "noise": 0.02 * rng.standard_normal(RATE), "voice": voice(1)}
heard = {}
for name, sound in sounds.items():
    state = detector.new_state(batch=1)
    chunks = sound[: RATE // 512 * 512].astype("float32").reshape(-1, 1, 512)
    heard[name] = max(float(detector(chunk, state=state)[0]) for chunk in chunks)
    print(f"{name}: {heard[name]:.2f}")
assert heard["silence"] < 0.1
assert heard["noise"] < 0.3 < heard["voice"]
