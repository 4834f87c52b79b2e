"""Run a stand-alone wheel on the held-out digits, with nothing but Python.

`predict.py --save DIR` writes the images, and what the wheel that needs torch answered. Exits with
a sentence when an answer of this wheel differs from those in a single bit.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

# Built into the wheel, so a type checker that sees only src/ does not find it.
from digits.models import net, reader  # type: ignore[import-not-found, unused-ignore]

PIXELS, LINES, WIDTH, DIGITS = 64, 8, 8, 10
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
    images = read(directory / "images.bin")
    logits = read(directory / "logits.bin")
    compare("net", classified(images), logits)
    if arguments.digits:
        others = [int(line) for line in arguments.digits.read_text().split()]
        if others != predictions(logits):
            sys.exit(f"predict_plain.py: the digits in {arguments.digits} are others.")
        print(f"and so are the {len(others)} digits in {arguments.digits}")
    scores = read(directory / "scores.bin")
    compare("reader, line by line with a state,", read_lines(images), scores)


def classified(images: array[float]) -> array[float]:
    """What net says: the scores of each image."""
    scores = array("f")
    for part in batches(images):
        scores.frombytes(memoryview(net(shaped(part, 1, 8, 8))).tobytes())
    return scores


def read_lines(images: array[float]) -> array[float]:
    """What reader says: the scores of each image, after one line of all, after two, and so on."""
    after = [array("f") for _ in range(LINES)]
    for part in batches(images):
        state = reader.new_state(batch=len(part) // PIXELS)
        for line, scores in enumerate(after):
            starts = range(line * WIDTH, len(part), PIXELS)
            pixels = array("f", [value for i in starts for value in part[i : i + WIDTH]])
            scores.frombytes(memoryview(reader(shaped(pixels, WIDTH), state=state)).tobytes())
    return sum(after, array("f"))


def batches(images: array[float]) -> Iterator[array[float]]:
    """So many images after so many."""
    for start in range(0, len(images), BATCH_SIZE * PIXELS):
        yield images[start : start + BATCH_SIZE * PIXELS]


def shaped(values: array[float], *sizes: int) -> memoryview[float]:
    """Values as tensors of these sizes, as many as there are."""
    return memoryview(values).cast("B").cast("f", (len(values) // math.prod(sizes), *sizes))


def compare(model: str, found: array[float], expected: array[float]) -> None:
    """Print how many predictions are the same, and fail where a bit of the scores is not."""
    digits, wanted = predictions(found), predictions(expected)
    same = sum(one == other for one, other in zip(digits, wanted, strict=True))
    print(f"{model} without torch and numpy: {same} of {len(wanted)} predictions are the same")
    if found.tobytes() != expected.tobytes():
        sys.exit(f"predict_plain.py: {model} scores otherwise than in the wheel that needs torch.")
    print("and so is every bit of the scores")


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
