"""Step bundle: all models become the import package that is installed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aotbuild.runtime.manifest import Manifest, Variant
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.model_files import read_model_files
from aotbuild.steps.artifacts.spec import BundleSpec, MethodParts, read_spec
from aotbuild.steps.artifacts.stamps import write_bundled
from aotbuild.steps.artifacts.times import read_time
from aotbuild.steps.artifacts.tuning import left_out
from aotbuild.steps.artifacts.verification import UNVERIFIED, read_report
from aotbuild.steps.files import replacing_directory, write_text
from aotbuild.steps.package.c_interface.write import write_c_interface
from aotbuild.steps.package.companion_wheel import move_weights
from aotbuild.steps.package.folded import unreadable
from aotbuild.steps.package.parts import Part
from aotbuild.steps.package.size import report_size, shown
from aotbuild.steps.package.torch_range import check_required
from aotbuild.steps.package.write import write_hooks, write_package
from aotbuild.steps.reports import page, sbom
from aotbuild.steps.reports.contents import PROVENANCE, open_directory
from aotbuild.steps.reports.provenance import Provenance
from aotbuild.steps.reports.report import make_report
from aotbuild.steps.torch_parts.moved import told_aside
from aotbuild.steps.tune.lock import Lock, add_to_lock, collected, read_lock

_SHOWN = 3
"""How many names of weights a line tells."""


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``BundleSpec``."""
    spec = read_spec(BundleSpec, spec_file)
    parts = [_part(each) for each in spec.parts]
    directories = [path for part in parts for path, _ in part.variants]
    check_required([*map(BuildRecord.read, directories)], spec.torch, spec.required)
    with replacing_directory(Path(spec.output)) as directory:
        manifests = write_package(
            directory,
            parts,
            Path(spec.project),
            Path(spec.engine),
            spec.torch,
            spec.apart,
            develop=spec.develop,
        )
        write_hooks(directory, spec.package)
        write_c_interface(directory, spec.package, spec.version, manifests)
        if spec.apart:
            move_weights(directory, spec.apart)
    newer = collected(spec.tuned)
    summary = _summary(spec, manifests)
    if spec.develop:  # there is no wheel to tell of
        Path(spec.metadata).mkdir(exist_ok=True)
    else:
        summary += _write_reports(spec, newer)
    if newer.models:
        sys.stdout.write(add_to_lock(Path(spec.project), newer) + "\n")
    sys.stdout.write("\n".join(summary) + "\n")
    write_bundled(Path(), summary)


def _write_reports(spec: BundleSpec, newer: Lock) -> list[str]:
    """Write what is told of the package: in the wheel's ``.dist-info``, and beside the wheel.

    Args:
        spec: The specification.
        newer: What this build measured.

    Returns:
        The lines of the build log about it.
    """
    report = make_report(open_directory(Path(spec.output)))
    provenance = Provenance(
        spec.name,
        spec.version,
        spec.license,
        spec.tools,
        {part.model: read_model_files(Path(part.exported).parent) for part in spec.parts},
        dataclasses.replace(report.packages[0], package=spec.package),
    )
    with replacing_directory(Path(spec.metadata)) as directory:
        write_text(directory / PROVENANCE, provenance.to_json())
        (directory / sbom.FILE).parent.mkdir()
        write_text(directory / sbom.FILE, sbom.sbom(provenance))
    times = [(comment, read_time(Path(file))) for file, comment in spec.commands.items()]
    project = Path(spec.project)
    lock = read_lock(project)
    text = page.page_text(
        provenance,
        report,
        lock.updated(newer, {*lock.models, *newer.models}),
        [(comment, time) for comment, time in times if time],
    )
    write_text(Path(page.FILE), text)
    # Elsewhere the directory is mostly one that scikit-build-core throws away.
    place = Path(page.FILE).resolve()
    kept = place.is_relative_to(project.resolve())
    return [f"aotbuild: report: {place.relative_to(project.resolve())}"] if kept else []


def _part(part: MethodParts) -> Part:
    """A method with its variants, but for those that are hardly any faster than others."""
    dropped = left_out(part.levels)
    directories = [Path(path) for path in part.variants if path not in dropped]
    return Part(
        part.model,
        part.method,
        part.source,
        Path(part.exported),
        [(directory, read_report(directory)) for directory in directories],
        part.runners,
        swappable=part.swappable,
    )


def _summary(spec: BundleSpec, manifests: Sequence[Manifest]) -> list[str]:
    """The lines of the build log about the package."""
    lines = [_model_line(manifest) for manifest in manifests]
    aside = [name for m in manifests for v in m.variants for name in v.compiled.get("aside", ())]
    lines += filter(None, [told_aside(aside)])
    lines += _folded_lines(manifests)
    if not spec.develop:
        lines.append(report_size(Path(spec.output), spec.package, manifests, spec.size_limit))
    if spec.apart:
        lines.append(f"aotbuild: {spec.package}: its weights are in {spec.apart.file}")
    return lines + checkpoint_lines(
        spec.checkpoints, Path(spec.project), 0 if spec.apart else manifests[0].weights.size
    )


def checkpoint_lines(checkpoints: Mapping[str, str], project: Path, compiled: int) -> list[str]:
    """What to do about files of weights that are in the wheel beside the compiled ones.

    Args:
        checkpoints: Their paths in the project by those in the wheel.
        project: Directory of the project.
        compiled: Bytes of the compiled weights that are in the wheel.
    """
    lines = []
    for name, file in checkpoints.items():
        size = shown((project / file).stat().st_size)
        beside = f"the compiled weights made of it ({shown(compiled)})" if compiled else "libraries"
        lines += [
            f"aotbuild: the wheel holds {name} ({size}) beside {beside}; models do not read it.",
            f'  To leave it out: tool.scikit-build.wheel.exclude = ["{name}"]',
        ]
    return lines


def _folded_lines(manifests: Sequence[Manifest]) -> Iterator[str]:
    """What the models cannot give of their state dicts."""
    models: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        models.setdefault(manifest.model, []).append(manifest)
    for model, methods in models.items():
        names = unreadable(methods)
        if names:
            yield (
                f"aotbuild: {model}: {len(names)} weights are folded into others, such as "
                f"{', '.join(names[:_SHOWN])}: {model}.state_dict() and merge() refuse them, a "
                f"whole state dict can be loaded. swappable = true in tool.aotbuild.models.{model} "
                "keeps them"
            )


def _model_line(manifest: Manifest) -> str:
    weights = sum(
        {c.tensor: c.size for variant in manifest.variants for c in variant.constants}.values()
    )
    variants = ", ".join(
        f"{variant.target} ({shown(variant.library.size)}, {_verified(variant)})"
        for variant in manifest.variants
    )
    if not manifest.variants:
        return f"aotbuild: {manifest.name}: not compiled, eager torch runs it"
    return f"aotbuild: {manifest.name}: {variants}; weights {shown(weights)}"


def _verified(variant: Variant) -> str:
    if UNVERIFIED in variant.verified:
        return "not verified here"
    return f"largest error {variant.verified['largest-error']:.2g}"
