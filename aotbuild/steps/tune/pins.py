"""Whether what the lock file pins fits what is built, and the recipe that is compiled by."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from aotbuild.config.schema import FORWARD
from aotbuild.errors import warn
from aotbuild.steps.artifacts.facts import Facts, settings_fingerprint
from aotbuild.steps.artifacts.spec import CompileSpec
from aotbuild.steps.tune.lock import FILE
from aotbuild.steps.tune.recipes import RECIPES, Recipe, choose, fits
from aotbuild.target import TARGETS


def decided(spec: CompileSpec, *, telling: bool = False) -> CompileSpec:
    """What a compile is told once its recipe is decided, with the options and passes of that.

    Args:
        spec: What it is told by the plan.
        telling: Whether the user is warned of a pinned recipe that does not fit.
    """
    recipe = recipe_of(spec, telling=telling)
    return dataclasses.replace(
        spec,
        recipe=recipe.name,
        options={**recipe.options, **spec.options},
        passes=spec.passes if recipe.passes else [],
        # What led to the decision decides about no byte of the result.
        swappable=False,
        allowed=None,
        pinned=None,
        tuned="",
    )


def recipe_of(spec: CompileSpec, *, telling: bool = False) -> Recipe:
    """The recipe by which a method is compiled.

    It is the one that the specification names, that tuning chose, that the lock file pins for this
    program, or that follows from the kind of graph; in this order.
    """
    if spec.recipe:
        return RECIPES[spec.recipe]
    if spec.tuned:
        table = json.loads(Path(spec.tuned).read_text(encoding="utf-8"))
        return RECIPES[table["recipe"]]
    facts = Facts.read(Path(spec.exported))
    unfit = why_unfit(spec, facts)
    if unfit is None and spec.pinned:
        return RECIPES[spec.pinned.recipe]
    if unfit and telling:
        warn(
            f"{told(spec)} is not compiled for {spec.target} by the recipe that is pinned",
            where=FILE,
            why=unfit,
            fix="measure again with python -m aotbuild tune; until then the recipe follows from "
            "the kind of graph",
        )
    return choose(facts)


def why_unfit(spec: CompileSpec, facts: Facts) -> str | None:
    """Why what is pinned is not to be used, or None where it fits or nothing is pinned."""
    pinned = spec.pinned
    if pinned is None:
        return None
    recipe = RECIPES[pinned.recipe]
    if pinned.program != facts.program:
        return "the model is not the one that was measured"
    if pinned.settings != settings_of(spec):
        return "the settings are not those that it was measured with"
    allowed = spec.allowed
    if recipe.precision and allowed is None:
        return f"{recipe.name} is less exact, and tune allows no error"
    largest = allowed.max_error if allowed else None
    if recipe.precision and largest is not None and pinned.error > largest:
        return f"{recipe.name} has an error of {pinned.error:.2g}, and tune allows {largest:.2g}"
    level = TARGETS[spec.target].level
    possible = fits(
        recipe, level, spec.options, keep_parameters=spec.swappable, allowed=spec.allowed
    )
    return None if possible else f"the settings exclude {recipe.name}"


def settings_of(spec: CompileSpec) -> str:
    """The fingerprint of what decides about the code besides the program and the recipe."""
    settings: dict[str, Any] = {
        "options": spec.options,
        "quantize": spec.quantize,
        "swappable": spec.swappable,
    }
    return settings_fingerprint(settings)


def told(spec: CompileSpec) -> str:
    """The method as messages name it."""
    return spec.model if spec.method == FORWARD else f"{spec.model}.{spec.method}"
