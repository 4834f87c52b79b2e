"""Which models a build would find in the cache, and why not the others."""

from __future__ import annotations

import tempfile
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

if TYPE_CHECKING:
    from aotbuild.config.project import Project
    from aotbuild.steps.export.traced import TracedModel


def explain(project: Project, name: str, model: TracedModel) -> list[str]:
    """One line for each variant of a model.

    Args:
        project: The project.
        name: Name of the model.
        model: The model, traced.

    Raises:
        AotBuildError: The settings of the cache are wrong, or there is no compiler.
    """
    from aotbuild.steps.export.step import write_programs  # imports torch

    store = Store(cache_settings(), Notes(None))
    lines = []
    with tempfile.TemporaryDirectory(prefix="aotbuild-") as directory:
        exported, cached = Path(directory, "exported"), Path(directory, "cached")
        cached.mkdir()
        write_programs(model, exported)
        for spec in compile_specs(project, name, read_lock(project.root), exported):
            slot = CacheSlot.of(decided(spec), store)
            measured = project.models[name].tune and (
                not spec.pinned or why_unfit(spec, Facts.read(Path(spec.exported)))
            )
            state = "will be tuned, and compiled" if measured else _state(slot, cached)
            lines.append(f"{slot.label}: {state}")
    return lines


def _state(slot: CacheSlot, directory: Path) -> str:
    if not slot.store.on:
        return "will be compiled: the cache is off"
    if slot.key is None:
        return f"will be compiled: {MODULES}"
    result, parts = slot.find(directory)
    if result is Found.HIT:
        return "is in the cache"
    return f"will be compiled: {slot.why_missing(result, parts)}"
