"""Step bundle: all models become the import package that is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aotbuild.runtime.manifest import Manifest, Variant
from aotbuild.steps.artifacts.build_record import UNVERIFIED
from aotbuild.steps.artifacts.spec import BundleSpec, read_spec
from aotbuild.steps.files import replacing_directory, write_depfile, write_text
from aotbuild.steps.package.companion_wheel import move_weights
from aotbuild.steps.package.size import report_size, shown
from aotbuild.steps.package.write import Part, write_package
from aotbuild.steps.tune.levels import left_out
from aotbuild.steps.tune.lock import collected, keep


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``BundleSpec``."""
    spec = read_spec(BundleSpec, spec_file)
    parts = []
    for part in spec.parts:
        dropped = left_out(part.levels)
        kept = [Path(path) for path in part.variants if path not in dropped]
        variants = [
            (path, json.loads((path / "verified.json").read_text("utf-8"))) for path in kept
        ]
        exported = Path(part.exported)
        parts.append(
            Part(
                part.model,
                part.method,
                part.source,
                exported,
                variants,
                part.runners,
                swappable=part.swappable,
            )
        )
    with replacing_directory(Path(spec.output)) as directory:
        manifests = write_package(
            directory, parts, Path(spec.project), Path(spec.engine), spec.torch, spec.apart
        )
        if spec.apart:
            move_weights(directory, spec.apart)
    summary = [_summary(manifest) for manifest in manifests]
    summary.append(report_size(Path(spec.output), spec.package, manifests, spec.size_limit))
    if spec.apart:
        summary.append(f"aotbuild: {spec.package}: its weights are in {spec.apart.file}")
    newer = collected(spec.tuned)
    if newer.models:
        sys.stdout.write(keep(Path(spec.project), newer) + "\n")
    sys.stdout.write("\n".join(summary) + "\n")
    write_depfile(Path("bundled.json"), [])
    write_text(Path("bundled.json"), json.dumps({"models": summary}, indent=1) + "\n")


def _verified(variant: Variant) -> str:
    if UNVERIFIED in variant.verified:
        return "not verified here"
    return f"largest error {variant.verified['largest-error']:.2g}"


def _summary(manifest: Manifest) -> str:
    """One line about a model, for the build log."""
    weights = sum(
        {c.tensor: c.size for variant in manifest.variants for c in variant.constants}.values()
    )
    variants = ", ".join(
        f"{variant.target} ({shown(variant.library.size)}, {_verified(variant)})"
        for variant in manifest.variants
    )
    return f"aotbuild: {manifest.name}: {variants}; weights {shown(weights)}"
