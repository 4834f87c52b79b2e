"""Which models a build would find in the cache, and why not the others."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Found, Store
from aotbuild.steps.artifacts.facts import Facts
from aotbuild.steps.compile.variant_cache import MODULES, CacheSlot
from aotbuild.steps.plan.compile import compile_specs
from aotbuild.steps.tune.lock import read_lock
from aotbuild.steps.tune.pins import decided, why_unfit

CACHE_OFF = "the cache is off"

if TYPE_CHECKING:
    from aotbuild.config.project import Project
    from aotbuild.steps.export.traced import TracedModel


@dataclass(frozen=True)
class Explained:
    """What a build would do about a variant of a model."""

    label: str
    """The variant, as messages name it."""
    cached: bool
    """Whether it is in the cache."""
    why: str
    """Why it is not; empty where it is."""
    pinned: str
    """The recipe that is pinned for it, and fits."""
    measured: str
    """Why recipes are measured for it first; empty where none are."""

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.measured:
            return f"{self.label}: will be tuned, and compiled"
        state = "is in the cache" if self.cached else f"will be compiled: {self.why}"
        return f"{self.label}: {state}"


def explain(project: Project, name: str, model: TracedModel) -> list[Explained]:
    """What a build would do about each variant of a model.

    Args:
        project: The project.
        name: Name of the model.
        model: The model, traced.

    Raises:
        AotBuildError: The settings of the cache are wrong, or there is no compiler.
    """
    from aotbuild.steps.export.step import write_programs  # imports torch

    store = Store(cache_settings(), Notes(None))
    found = []
    with tempfile.TemporaryDirectory(prefix="aotbuild-") as directory:
        exported, cached = Path(directory, "exported"), Path(directory, "cached")
        cached.mkdir()
        write_programs(model, exported)
        for spec in compile_specs(project, name, read_lock(project.root), exported):
            slot = CacheSlot.of(decided(spec), store)
            unfit = why_unfit(spec, Facts.read(Path(spec.exported)))
            pinned = spec.pinned.recipe if spec.pinned and not unfit else ""
            measured = ""
            if project.models[name].tune and not pinned:
                measured = unfit or "nothing is pinned for it"
            why = "its recipe is not known yet" if measured else _why_missing(slot, cached)
            found.append(Explained(slot.label, not why, why, pinned, measured))
    return found


def _why_missing(slot: CacheSlot, directory: Path) -> str:
    """Why a variant is not in the cache; empty where it is."""
    if not slot.store.on:
        return CACHE_OFF
    if slot.key is None:
        return MODULES
    result, parts = slot.find(directory)
    return "" if result is Found.HIT else slot.why_missing(result, parts)
