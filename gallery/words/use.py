"""Find what was meant by words that are spelled wrong."""

import numpy as np
from words import letters
from words.models import vectors

KNOWN = ["language", "natural", "wizard", "necessary", "separate", "definitely", "mechanics"]
WRONG = {
    "langauge": "language",
    "neccesary": "necessary",
    "seperate": "separate",
    "definately": "definitely",
}

known = vectors(np.array(letters(KNOWN)))
found = vectors(np.array(letters(list(WRONG)))) @ known.T
for (wrong, meant), row in zip(WRONG.items(), found, strict=True):
    print(f"{wrong}: {KNOWN[row.argmax()]}, {row.max():.2f}")
    assert KNOWN[row.argmax()] == meant
