"""The size of a package, and what would make it smaller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aotbuild.config.messages import located
from aotbuild.errors import warn
from aotbuild.runtime.manifest import Manifest

_MB = 1_000_000


def report_size(directory: Path, package: str, manifests: Sequence[Manifest], limit: int) -> str:
    """One line about the size of a package; a warning where it is above the limit.

    Args:
        directory: Directory of the package.
        package: Its name.
        manifests: Those of its models.
        limit: In MB.
    """
    files = [path for path in directory.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    libraries = sum(v.library.size for manifest in manifests for v in manifest.variants)
    weights = 0 if manifests[0].apart else manifests[0].weights.size
    rest = total - libraries - weights
    if total > limit * _MB:
        warn(
            f"{package} weighs {shown(total)}, more than {limit} MB",
            where=located("tool.aotbuild.size-limit"),
            why=f"its libraries have {shown(libraries)}, its weights {shown(weights)}; package "
            "indexes often refuse larger wheels",
            fix="\n".join(_plan(manifests, weights)),
        )
    return (
        f"aotbuild: {package}: {shown(total)} (libraries {shown(libraries)}, "
        f"weights {shown(weights)}{_shared(manifests)}, runtime and the rest {shown(rest)})"
    )


def _shared(manifests: Sequence[Manifest]) -> str:
    """What the weights would have if none were shared, where that is notably more."""
    used = [c for manifest in manifests for v in manifest.variants for c in v.constants]
    used += [c for manifest in manifests if manifest.fallback for c in manifest.fallback.constants]
    alone = sum(constant.size for constant in used)
    stored = sum({constant.tensor: constant.size for constant in used}.values())
    is_shared = alone > stored * 1.01 and not manifests[0].apart
    return f" instead of {shown(alone)} unshared" if is_shared else ""


def _plan(manifests: Sequence[Manifest], weights: int) -> list[str]:
    """What would help, the most effective first."""
    constants = {
        constant.tensor: constant
        for manifest in manifests
        for variant in manifest.variants
        for constant in variant.constants
    }
    wide = sum(c.size for c in constants.values() if c.dtype == "float32")
    higher = sum(v.library.size for manifest in manifests for v in manifest.variants[1:])
    ways = [
        (wide // 2, 'dtype = "bfloat16" saves {}'),
        (wide * 3 // 4, 'quantize = "int8-weight-only" saves up to {}, where layers are linear'),
        (higher, "one of cpu-levels alone saves {}"),
    ]
    proposals = [
        text.format(shown(saved)) for saved, text in sorted(ways)[::-1] if saved > weights / 50
    ]
    if weights:
        proposals.append('weights-in = "companion" puts the weights into a wheel of their own')
    return [*proposals, "ask the index for a higher limit, and set size-limit to it"]


def shown(size: int) -> str:
    """A size in kB or MB."""
    return f"{size / 1000:.0f} kB" if size < _MB else f"{size / _MB:.1f} MB"
