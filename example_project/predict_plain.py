"""Run a stand-alone wheel on the held-out digits, with nothing but Python.

`predict.py --save DIR` writes the images, and what the wheel that needs torch answered. Exits with
a sentence when an answer of this wheel differs from those in a single bit.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from array import array
from pathlib import Path

# Built into the wheel, so a type checker that sees only src/ does not find it.
from digits.models import net  # type: ignore[import-not-found, unused-ignore]

PIXELS, DIGITS = 64, 10
BATCH_SIZE = 100


def main() -> None:
    """Predict all images, and compare."""
    parser = argparse.ArgumentParser(
        description="Run the stand-alone wheel without torch or numpy."
    )
    parser.add_argument(
        "saved", type=Path, metavar="DIR", help="what predict.py --save has written"
    )
    parser.add_argument(
        "--digits",
        type=Path,
        metavar="FILE",
        help="what another program predicted, a digit a line, to compare it as well",
    )
    arguments = parser.parse_args()
    directory = arguments.saved
    for module in ("torch", "numpy"):
        if importlib.util.find_spec(module) is not None:
            sys.exit(f"predict_plain.py: {module} can be imported; this is for where it cannot.")
    images, expected = read(directory / "images.bin"), read(directory / "logits.bin")
    scores = array("f")
    for start in range(0, len(images), BATCH_SIZE * PIXELS):
        batch = memoryview(images[start : start + BATCH_SIZE * PIXELS]).cast("B")
        logits = net(batch.cast("f", (len(batch) // 4 // PIXELS, 1, 8, 8)))
        scores.frombytes(memoryview(logits).tobytes())
    digits, wanted = predictions(scores), predictions(expected)
    same = sum(one == other for one, other in zip(digits, wanted, strict=True))
    print(f"net without torch and numpy: {same} of {len(wanted)} predictions are the same")
    if scores.tobytes() != expected.tobytes():
        sys.exit("predict_plain.py: the scores differ from those of the wheel that needs torch.")
    print("and so is every bit of the scores")
    if arguments.digits:
        others = [int(line) for line in arguments.digits.read_text().split()]
        if others != wanted:
            sys.exit(f"predict_plain.py: the digits in {arguments.digits} are others.")
        print(f"and so are the {len(others)} digits in {arguments.digits}")


def read(path: Path) -> array[float]:
    """The float32 values of a file."""
    values = array("f")
    values.frombytes(path.read_bytes())
    return values


def predictions(scores: array[float]) -> list[int]:
    """The digit with the largest score of each image."""
    rows = (scores[i : i + DIGITS] for i in range(0, len(scores), DIGITS))
    return [max(range(DIGITS), key=row.__getitem__) for row in rows]


if __name__ == "__main__":
    main()
