"""``python -m <package>``: run what the build recorded, on this machine, and compare."""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import c_interface
from .arguments import admit
from .engines import Loaded, Run
from .errors import ModelLoadError
from .integrity import check_file, check_files
from .lazy import torch
from .loader import load_variant, unfit
from .manifest import Manifest, Variant
from .recorded_call import differences
from .state_dict import State
from .variables import check_variables
from .weights import WeightsFile

_LEAST_CALLS, _MOST_CALLS, _ENOUGH = 5, 100, 0.1
"""How many calls are timed: further ones than the least up to so many seconds in all."""


@dataclass(frozen=True)
class Outcome:
    """The result of testing one variant."""

    model: str
    variant: str
    passed: bool | None
    """None where it cannot run here, or there is nothing to compare with."""
    loaded: bool
    reason: str
    """Why it did not pass, or was not run."""
    error: float | None = None
    """The largest difference from the eager model."""
    milliseconds: float | None = None
    """Median time of a call on one thread, without the first one."""


_UNRECORDED = "its smallest example is too large to be shipped"
_DEVELOPED = "nothing was compiled, with which it could be compared"


def test_model(package: Path, manifest: Manifest) -> list[Outcome]:
    """Run every variant of a model on the recorded inputs, and the eager program if there is one.

    Args:
        package: Directory of the package.
        manifest: The model.
    """
    outcomes = [_variant(package, manifest, variant) for variant in manifest.variants]
    fallback = manifest.fallback
    if fallback is not None:
        from .fallback import load_eager

        outcomes.append(
            _tested(
                package,
                manifest,
                "uncompiled",
                "cpu",
                lambda: load_eager(package, manifest, fallback, "cpu", State(package, manifest)),
            )
        )
    return outcomes


def _variant(package: Path, manifest: Manifest, variant: Variant) -> Outcome:
    reason = unfit(manifest, variant)
    if reason:
        return Outcome(manifest.name, variant.target, passed=None, loaded=False, reason=reason)

    def load() -> Loaded:
        return load_variant(package, manifest, variant, variant.device, State(package, manifest))

    standalone = variant.standalone
    return _tested(package, manifest, variant.target, variant.device, load, standalone=standalone)


def _tested(
    package: Path,
    manifest: Manifest,
    target: str,
    device: str,
    load: Callable[[], Loaded],
    *,
    standalone: bool = False,
) -> Outcome:
    name, recorded = manifest.name, manifest.selftest
    try:
        check_files(package, manifest)
        loaded = load()
        if recorded is None:
            reason = _UNRECORDED if manifest.variants else _DEVELOPED
            return Outcome(name, target, passed=None, loaded=True, reason=reason)
        check_file(package, recorded.file)
        path = package / recorded.file.file
        stored = WeightsFile(path)

        def arrays() -> list[Any]:
            return [
                *map((WeightsFile(path) if manifest.changed else stored).array, recorded.inputs)
            ]

        def tensors() -> list[torch.Tensor]:
            file = WeightsFile(path) if manifest.changed else stored
            inputs = [file.tensor(entry).to(device) for entry in recorded.inputs]
            # They are recorded in the order of their sizes, not of the compiled code.
            return admit(manifest, tuple(inputs), torch.device(device)) if inputs else inputs

        if standalone:
            outputs, milliseconds = _timed_alone(loaded, _given(arrays, manifest))
        else:
            outputs, milliseconds = _timed_by_torch(loaded.run, _given(tensors, manifest))
    except (ModelLoadError, RuntimeError) as error:
        return Outcome(name, target, passed=False, loaded=False, reason=str(error))
    kept = stored.array if standalone else stored.tensor
    worst, reason = differences(outputs, recorded, kept)
    return Outcome(
        name,
        target,
        passed=not reason,
        loaded=True,
        reason=reason,
        error=worst,
        milliseconds=milliseconds,
    )


def _given(make: Callable[[], list[Any]], manifest: Manifest) -> Callable[[], list[Any]]:
    """What gives the inputs of each call: new ones where a call changes them, else the same."""
    if manifest.changed:
        return make
    inputs = make()
    return lambda: inputs


def _timed_by_torch(run: Run, given: Callable[[], list[torch.Tensor]]) -> tuple[list[Any], float]:
    """The outputs, and the median time of a call, see ``_timed``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            outputs, milliseconds = _timed(lambda: run(given()))
    finally:
        torch.set_num_threads(threads)
    return [output.cpu() for output in outputs], milliseconds


def _timed_alone(loaded: Loaded, given: Callable[[], list[Any]]) -> tuple[list[Any], float]:
    """The outputs of a library that needs no torch, and the median time of a call."""
    assert loaded.call is not None  # noqa: S101  # the engine has it
    assert loaded.one_thread is not None  # noqa: S101
    call = loaded.call
    loaded.one_thread()
    return _timed(lambda: call(*given()) or [])


def _timed(call: Callable[[], list[Any]]) -> tuple[list[Any], float]:
    """The outputs of a call, and its median time in milliseconds.

    One thread runs it: on a busy machine several wait for one another a hundred times as long as
    a small model takes. The first call, which starts them and reads the weights, does not count.
    """
    outputs = call()
    times: list[float] = []
    while len(times) < _LEAST_CALLS or (len(times) < _MOST_CALLS and sum(times) < _ENOUGH * 1e3):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return outputs, statistics.median(times)


def main(package: Path, name: str) -> NoReturn:
    """Test every variant of every model, print a table and exit: 1 where something is wrong.

    Args:
        package: Directory of the package.
        name: Its import name.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}", description="Run the recorded example of each compiled model."
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    for part in c_interface.PARTS:
        parser.add_argument(
            f"--{part}-dir",
            dest="part",
            action="store_const",
            const=part,
            help=f"print where the C interface has its files for {part}, and test nothing",
        )
    arguments = parser.parse_args()
    if arguments.part:
        c_interface.show(package, name, arguments.part)
    outcomes: list[Outcome] = []
    broken = []
    needs_torch = False
    for path in _manifests(package, name):
        try:
            manifest = Manifest.read(path)
        except ModelLoadError as error:
            broken.append(str(error))
            continue
        needs_torch = needs_torch or not manifest.standalone
        try:
            check_variables()
            outcomes += test_model(package, manifest)
        except ModelLoadError as error:  # such as without torch
            sys.exit(f"python -m {name}: {error}")
    failed = any(outcome.passed is False for outcome in outcomes)
    unusable = {o.model for o in outcomes} - {o.model for o in outcomes if o.loaded}
    if arguments.json:
        version = torch.__version__ if needs_torch else None
        table = {"torch": version, "variants": [asdict(o) for o in outcomes]}
        sys.stdout.write(json.dumps({**table, "errors": broken}, indent=1) + "\n")
    else:
        sys.stdout.write(_table(outcomes) + "".join(f"{line}\n" for line in broken))
    sys.exit(1 if failed or broken or unusable else 0)


def _manifests(package: Path, name: str) -> list[Path]:
    """The manifests that are there, and those of models that lack theirs."""
    found = sorted(package.glob("**/model.json"))
    present = {path.relative_to(package).parts[0] for path in found}
    models = importlib.import_module(name).__all__
    return found + [package / model / "model.json" for model in models if model not in present]


def _table(outcomes: list[Outcome]) -> str:
    rows = [("model", "variant", "result", "largest error", "time (1 thread)")]
    for outcome in outcomes:
        kinds = {True: "ok", False: f"FAILED: {outcome.reason}", None: f"not run: {outcome.reason}"}
        result = kinds[outcome.passed]
        error = "" if outcome.error is None else f"{outcome.error:.2g}"
        spent = "" if outcome.milliseconds is None else f"{outcome.milliseconds:.3g} ms"
        rows.append((outcome.model, outcome.variant, result, error, spent))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"
