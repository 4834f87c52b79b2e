"""Run the installed wheel on the held-out digits and compare it with the eager models.

Needs the wheel, torch, scikit-learn and numpy; no compiler, no build tool and none of the files
in `src/` and `weights/`. Exits with a sentence when compiled and eager models disagree.
"""

import argparse
import importlib.util
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from digits.data import HELD_OUT_NOISE_SEED, Digits, add_noise, load

# Built into the wheel, so a type checker that sees only src/ does not find it.
from digits.models import denoiser, net, reader  # type: ignore[import-not-found, unused-ignore]
from torch.nn import functional

PROJECT = Path(__file__).resolve().parent
BATCH_SIZE = 100  # the models take 1 to 256 images at once; the last batch is a smaller one
LINES = 8  # of an image, which the reader takes one after the other
TOLERANCE = 1e-4  # room for the rounding of float32 sums in another order, and for no more
BUILD_TOOLS = ("aotbuild", "scikit_build_core")
MODEL_SOURCES = ("digits.network", "digits.denoiser", "digits.reader")


class CheckError(Exception):
    """A check that did not hold; its text is the sentence for the user."""


def main() -> None:
    """Print what the wheel holds, then run all checks and print what they measured."""
    arguments = parse_arguments()
    try:
        if arguments.expect_clean:
            check_environment()
        print_models()
        _, held_out = load()
        logits = check_net(held_out, read_reference(arguments.reference / "net.pt"))
        check_denoiser(held_out, read_reference(arguments.reference / "denoiser.pt"))
        scores = check_reader(held_out, read_reference(arguments.reference / "reader.pt"))
        if arguments.save:
            save(arguments.save, images=held_out.images, logits=logits, scores=scores)
        check_sources_unused()
    except CheckError as error:
        sys.exit(f"predict.py: {error}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Compare the compiled models of the installed wheel with the eager ones."
    )
    parser.add_argument(
        "--reference",
        type=Path,
        default=PROJECT / "reference",
        metavar="DIR",
        help="eager outputs written by train.py (default: reference/ beside this file)",
    )
    parser.add_argument(
        "--expect-clean",
        action="store_true",
        help=f"fail when {' or '.join(BUILD_TOOLS)} can be imported",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="DIR",
        help="write the images and the answers of net and reader there, for predict_plain.py",
    )
    return parser.parse_args()


def save(directory: Path, **tensors: torch.Tensor) -> None:
    """Write each tensor's float32 values as they are."""
    directory.mkdir(exist_ok=True)
    for name, tensor in tensors.items():
        (directory / f"{name}.bin").write_bytes(tensor.numpy().tobytes())


def check_environment() -> None:
    """Fail when a tool that builds the wheel is installed beside it."""
    found = [name for name in BUILD_TOOLS if importlib.util.find_spec(name) is not None]
    if found:
        raise CheckError(f"{' and '.join(found)} can be imported; a clean environment has neither.")
    print(f"environment: clean, neither {' nor '.join(BUILD_TOOLS)} can be imported\n")


def check_net(held_out: Digits, eager: dict[str, torch.Tensor]) -> torch.Tensor:
    """Classify the held-out digits, compare with the eager logits, and return the model's."""
    if not torch.equal(eager["labels"].long(), held_out.labels):
        raise CheckError("the held-out digits are not those of the reference; run train.py again.")
    logits = torch.cat([net(batch) for batch in torch.split(held_out.images, BATCH_SIZE)])
    predictions = logits.argmax(1)
    total = len(held_out)
    correct = int((predictions == held_out.labels).sum())
    equal = int((predictions == eager["logits"].argmax(1)).sum())
    difference = largest_difference(logits, eager["logits"])
    print(f"\nnet, on {total} held-out digits")
    print(f"  accuracy                         {correct / total:.2%} ({correct}/{total})")
    print(f"  predictions equal to eager       {equal}/{total}")
    print(f"  largest difference from eager    {difference:.1e}")
    if equal != total:
        raise CheckError(f"net and eager predict another digit for {total - equal} of {total}.")
    check_difference("net", difference)
    return logits


def check_denoiser(held_out: Digits, eager: dict[str, torch.Tensor]) -> None:
    """Denoise the held-out digits and compare with the eager reconstructions and errors."""
    noisy = add_noise(held_out.images, HELD_OUT_NOISE_SEED)
    batches = [denoiser(batch) for batch in torch.split(noisy, BATCH_SIZE)]
    outputs = {name: torch.cat([batch[name] for batch in batches]) for name in eager}
    before = functional.mse_loss(noisy, held_out.images)
    after = functional.mse_loss(outputs["image"], held_out.images)
    differences = {name: largest_difference(outputs[name], eager[name]) for name in eager}
    print(f"\ndenoiser, on {len(held_out)} held-out digits with noise")
    print(f"  mean squared error, noisy        {before:.4f}")
    print(f"  mean squared error, denoised     {after:.4f}")
    for name, difference in differences.items():
        print(f"  largest difference from eager    {difference:.1e} ({name})")
        check_difference(f"denoiser's {name}", difference)


def check_reader(held_out: Digits, eager: dict[str, torch.Tensor]) -> torch.Tensor:
    """Read the held-out digits line by line, compare with eager, and return the scores.

    The lines of the batches come in turn, as those of several scanners: each has a state.
    """
    parts = torch.split(held_out.images.squeeze(1), BATCH_SIZE)
    states = [reader.new_state(batch=len(part)) for part in parts]

    def read(line: int) -> torch.Tensor:
        both = zip(parts, states, strict=True)
        return torch.cat([reader(part[:, line], state=state) for part, state in both])

    scores = torch.stack([read(line) for line in range(LINES)])
    total = len(held_out)
    print(f"\nreader, on {total} held-out digits, line by line")
    differences = []
    for lines, expected in eager.items():
        found = scores[int(lines) - 1]
        correct = int((found.argmax(1) == held_out.labels).sum())
        differences.append(largest_difference(found, expected))
        print(f"  accuracy after {lines} lines           {correct / total:.2%} ({correct}/{total})")
        if not torch.equal(found.argmax(1), expected.argmax(1)):
            raise CheckError(f"reader and eager predict other digits after {lines} lines.")
    print(f"  largest difference from eager    {max(differences):.1e}")
    for difference in differences:
        check_difference("reader", difference)
    return scores


def check_sources_unused() -> None:
    """Fail when calling the compiled models has imported the classes they were compiled from."""
    imported = [name for name in MODEL_SOURCES if name in sys.modules]
    if imported:
        raise CheckError(f"{' and '.join(imported)} was imported to run the compiled models.")
    print("\nthe Python sources of the models were not imported")


def check_difference(model: str, difference: float) -> None:
    """Fail when a difference is too large, or not a number."""
    if not difference <= TOLERANCE:
        raise CheckError(f"{model} differs from eager by {difference:.1e}, above {TOLERANCE:.0e}.")


def largest_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Compare two tensors element by element.

    Args:
        actual: floats of any shape.
        expected: floats of the same shape.

    Returns:
        The largest absolute difference; NaN when one element is NaN.
    """
    if actual.shape != expected.shape:
        raise CheckError(f"got shape {list(actual.shape)}, eager gave {list(expected.shape)}.")
    return float((actual - expected).abs().max())


def read_reference(path: Path) -> dict[str, torch.Tensor]:
    """Read what an eager model answered on the held-out digits."""
    if not path.is_file():
        raise CheckError(f"{path} does not exist; train.py writes it.")
    tensors: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return tensors


def print_models() -> None:
    """Print the compiled models of the wheel, one row for each variant."""
    rows = [("model", "source", "target", "inputs", "weights", "library")]
    package = files("digits.models")
    for folder in sorted(package.iterdir(), key=lambda entry: entry.name):
        path = folder.joinpath("model.json")
        if not path.is_file():
            continue
        manifest = json.loads(path.read_text(encoding="utf-8"))
        inputs = ", ".join(describe_input(entry, manifest["dims"]) for entry in manifest["inputs"])
        for variant in manifest["variants"]:
            # A tensor that several constants share is stored once.
            sizes = {entry["tensor"]: entry["size"] for entry in variant["constants"]}
            library = len(package.joinpath(variant["library"]["file"]).read_bytes())
            rows.append(
                (
                    manifest["model"],
                    manifest["source"],
                    variant["target"],
                    inputs,
                    kilobytes(sum(sizes.values())),
                    kilobytes(library),
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def describe_input(entry: dict[str, Any], dims: dict[str, dict[str, int]]) -> str:
    """Describe one input of a manifest, as in `image float32 [batch 1 to 256, 1, 8, 8]`."""
    sizes = [
        f"{size} {dims[size]['min']} to {dims[size]['max']}" if size in dims else str(size)
        for size in entry["shape"]
    ]
    return f"{entry['name']} {entry['dtype']} [{', '.join(sizes)}]"


def kilobytes(size: int) -> str:
    """Write a number of bytes for a person."""
    return f"{size / 1000:.0f} kB"


if __name__ == "__main__":
    main()
