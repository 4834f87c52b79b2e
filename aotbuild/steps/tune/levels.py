"""Step levels: time the CPU levels of a model, and leave out those that are hardly any faster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from aotbuild.runtime.conditions import holds
from aotbuild.runtime.engines import Run
from aotbuild.runtime.loader import load_variant, unfit
from aotbuild.runtime.manifest import Manifest, Variant
from aotbuild.runtime.state_dict import State
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.engine_library import use_engine
from aotbuild.steps.artifacts.samples import Samples, from_largest
from aotbuild.steps.artifacts.spec import LevelsSpec, read_spec
from aotbuild.steps.artifacts.tuning import write_levels
from aotbuild.steps.files import scratch
from aotbuild.steps.package.parts import Part
from aotbuild.steps.package.write import write_package
from aotbuild.steps.project_code import importing
from aotbuild.steps.tune.lock import Levels, Lock, as_lock_table, cpu_name
from aotbuild.steps.tune.statistics import ratio
from aotbuild.steps.tune.timing import alone, repeatable, rounds, seconds

_WORTH = 1.05
"""How many times as fast as the level below a level has to be."""
_LONG = 0.1
"""Seconds of a call beyond which larger inputs would tell nothing new."""


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``LevelsSpec``."""
    spec = read_spec(LevelsSpec, spec_file)
    output = Path(spec.output)
    with importing(spec.import_paths, spec.package), scratch(output.parent.resolve()) as directory:
        levels, dropped, lines = _compared(spec, directory / "package")
    sys.stdout.write("\n".join(lines) + "\n")
    lock = Lock(levels={spec.model: {spec.method: levels}})
    write_levels(output, dropped, as_lock_table(lock))


def _compared(spec: LevelsSpec, package: Path) -> tuple[Levels, list[str], list[str]]:
    """Time each level beside the best lower one.

    Args:
        spec: The specification of the step.
        package: Where a package of all variants is made.

    Returns:
        The levels, the directories of those that are left out, and lines for the log.
    """
    exported = Path(spec.exported)
    paths = [Path(variant) for variant in spec.variants]
    part = Part(spec.model, spec.method, spec.source, exported, [(path, None) for path in paths])
    (manifest,) = write_package(package, [part], Path(spec.project), Path(spec.engine))
    use_engine(Path(spec.engine))
    best = manifest.variants[0]
    call, record = CallSpec.read(exported), BuildRecord.read(paths[0])
    inputs = _inputs(call, record, Samples.read(exported), _loaded(package, manifest, best))
    worth, dropped, lines = [best.target], [], []
    ratios: dict[str, float] = {}
    for path, variant in zip(spec.variants[1:], manifest.variants[1:], strict=True):
        reason = unfit(manifest, variant)
        gain = 0.0 if reason else _gain(package, manifest, best, variant, inputs)
        text = reason or f"{gain:.2f} x as fast as {best.target}"
        if not reason:
            ratios[variant.target] = gain
        if gain >= _WORTH:
            best = variant
            worth.append(best.target)
        else:
            dropped.append(path)
            text += ", left out"
        lines.append(f"aotbuild: {manifest.name}: {variant.target} is {text}")
    return Levels(kept=worth, ratios=ratios, cpu=cpu_name()), dropped, lines


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
            if seconds(repeatable(run, large, call.changed), large) <= _LONG:
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
        timed = [
            rounds(
                {name: repeatable(run, tensors, manifest.changed) for name, run in arms.items()},
                tensors,
            )
            for tensors in inputs
        ]
    return max(ratio(times["lower"], times["higher"]).median for times in timed)
