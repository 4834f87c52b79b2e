"""Parameters that no library takes, only what was computed from them: kept, or told of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from aotbuild.runtime.derived import only_moves, uses
from aotbuild.runtime.manifest import Derivation, Manifest

KEPT_ANYWAY = 1 << 20
"""Bytes of such parameters that a model keeps where nothing is declared: those of small models, for
which ``state_dict()`` then works."""


def kept_parameters(
    derivations: Collection[Derivation],
    taken: Collection[str],
    sizes: Mapping[str, int],
    *,
    swappable: bool,
) -> list[str]:
    """The keys of parameters that no library takes, but the package shall have.

    Args:
        derivations: How the constants of the libraries are computed.
        taken: The keys of the parameters that libraries take as they are.
        sizes: Bytes of each parameter.
        swappable: Whether the model is declared so that every parameter can be replaced.
    """
    if swappable:
        return sorted(uses(list(derivations)) - set(taken))
    combined = _combined(derivations) - set(taken)
    fits = sum(sizes[key] for key in combined) <= KEPT_ANYWAY
    return sorted(combined) if fits else []


def unreadable(manifests: Iterable[Manifest]) -> list[str]:
    """The names of those parameters of a model that its package does not give by themselves.

    Args:
        manifests: The methods of the model.
    """
    stored: set[str] = set()
    lost: set[str] = set()
    names: dict[str, str] = {}
    for manifest in manifests:
        names |= {parameter.key: parameter.name for parameter in reversed(manifest.state)}
        constants = [c for variant in manifest.variants for c in variant.constants]
        constants += manifest.fallback.constants if manifest.fallback else []
        stored |= {constant.fqn for constant in [*constants, *manifest.kept]}
        for variant in manifest.variants:
            lost |= set(variant.folded) | _combined(variant.derived.values())
    return sorted(names[key] for key in lost - stored if key in names)


def _combined(derivations: Iterable[Derivation]) -> set[str]:
    """The keys of parameters whose elements are nowhere as they were."""
    moved: set[str] = set()
    combined: set[str] = set()
    for derivation in derivations:
        (moved if only_moves(derivation) else combined).update(uses(derivation))
    return combined - moved
