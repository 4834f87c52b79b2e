"""Step levels: time the CPU levels of a model, and leave out those that are hardly any faster."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from aotbuild.runtime.engines import Run
from aotbuild.runtime.loader import load_variant, unfit
from aotbuild.runtime.manifest import Manifest, Variant
from aotbuild.runtime.state import State
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec, holds
from aotbuild.steps.artifacts.samples import Samples, from_largest
from aotbuild.steps.artifacts.spec import CALL, LevelsSpec, read_spec
from aotbuild.steps.export.source import importing
from aotbuild.steps.files import scratch, write_depfile, write_text
from aotbuild.steps.package.write import Part, write_package
from aotbuild.steps.tune.lock import Levels, Lock, as_lock_table, cpu_name
from aotbuild.steps.tune.statistics import ratio
from aotbuild.steps.tune.timing import alone, rounds, seconds

_WORTH = 1.05
"""How many times as fast as the level below a level has to be."""
_LONG = 0.1
"""Seconds of a call beyond which larger inputs would tell nothing new."""


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``LevelsSpec``."""
    spec = read_spec(LevelsSpec, spec_file)
    output = Path(spec.output)
    call = CallSpec.read(Path(spec.exported) / CALL)
    samples = Samples.read(Path(spec.exported) / "samples.pt")
    paths = [Path(variant) for variant in spec.variants]
    record = BuildRecord.read(paths[0] / "compiled.json")
    said: list[str] = []
    dropped: list[str] = []
    ratios: dict[str, float] = {}
    with importing(spec.import_paths, spec.package), scratch(output.parent.resolve()) as directory:
        part = Part(
            spec.model, spec.method, spec.source, Path(spec.exported), [(p, None) for p in paths]
        )
        package = directory / "package"
        (manifest,) = write_package(package, [part], Path(spec.project), Path(spec.engine))
        kept = manifest.variants[0]
        given = _inputs(call, record, samples, _loaded(package, manifest, kept))
        names = [kept.target]
        for path, variant in zip(spec.variants[1:], manifest.variants[1:], strict=True):
            reason = unfit(manifest, variant)
            gain = 0.0 if reason else _gain(package, manifest, kept, variant, given)
            told = reason or f"{gain:.2f} x as fast as {kept.target}"
            if not reason:
                ratios[variant.target] = gain
            if gain >= _WORTH:
                kept = variant
                names.append(kept.target)
            else:
                dropped.append(path)
                told += ", left out"
            said.append(f"aotbuild: {manifest.name}: {variant.target} is {told}")
    sys.stdout.write("\n".join(said) + "\n")
    write_depfile(output, [])
    levels = Levels(kept=names, ratios=ratios, cpu=cpu_name())
    found = Lock(levels={spec.model: {spec.method: levels}})
    table = {"left-out": dropped, "lock": as_lock_table(found)}
    write_text(output, json.dumps(table, indent=1) + "\n")


def left_out(files: Sequence[str]) -> set[str]:
    """The variants that these outputs of the step leave out, as their specifications name them."""
    return {
        path
        for file in files
        for path in json.loads(Path(file).read_text(encoding="utf-8"))["left-out"]
    }


def _inputs(
    call: CallSpec, record: BuildRecord, samples: Samples, run: Run
) -> list[list[torch.Tensor]]:
    """What is timed: the example, and as large inputs as are accepted and do not take long.

    The example alone may be so small that a call is mostly overhead.
    """

    def made(sizes: Mapping[str, int]) -> list[torch.Tensor]:
        return samples.at(call.inputs, sizes, torch.device("cpu"))

    example = made(record.example)
    for sizes in from_largest(record.dims, record.example, call.inputs):
        if all(holds(condition, sizes) for condition in record.conditions):
            large = made(sizes)
            if seconds(run, large) <= _LONG:
                return [example, large]
    return [example]


def _loaded(package: Path, manifest: Manifest, variant: Variant) -> Run:
    return load_variant(package, manifest, variant, "cpu", State(package, manifest)).run


def _gain(
    package: Path,
    manifest: Manifest,
    lower: Variant,
    higher: Variant,
    inputs: Sequence[list[torch.Tensor]],
) -> float:
    """How many times as fast as one variant the other is, on one thread, where it gains most."""
    arms = {
        name: _loaded(package, manifest, variant)
        for name, variant in (("lower", lower), ("higher", higher))
    }
    with alone():
        found = [rounds(arms, tensors) for tensors in inputs]
    return max(ratio(times["lower"], times["higher"]).median for times in found)
