"""Whether what the lock file pins fits what is built, and the recipe that is compiled by."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from aotbuild.config.resolve import method_label
from aotbuild.errors import warn
from aotbuild.steps.artifacts.facts import Facts, settings_fingerprint
from aotbuild.steps.artifacts.spec import CompileSpec
from aotbuild.steps.artifacts.tuning import read_recipe
from aotbuild.steps.tune.lock import FILE
from aotbuild.steps.tune.recipes import RECIPES, Recipe, choose, fits
from aotbuild.target import TARGETS


def decided(spec: CompileSpec, *, warning: bool = False) -> CompileSpec:
    """The specification of a compile once its recipe is decided, with its options and passes.

    Args:
        spec: The specification as planned.
        warning: Whether the user is warned of a pinned recipe that does not fit.
    """
    recipe = recipe_of(spec, warning=warning)
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


def recipe_of(spec: CompileSpec, *, warning: bool = False) -> Recipe:
    """The recipe by which a method is compiled.

    It is the one that the specification names, that tuning chose, that the lock file pins for this
    program, or that follows from the kind of graph; in this order.
    """
    if spec.recipe:
        return RECIPES[spec.recipe]
    if spec.tuned:
        return RECIPES[read_recipe(Path(spec.tuned))]
    facts = Facts.read(Path(spec.exported))
    unfit = why_unfit(spec, facts)
    if unfit is None and spec.pinned:
        return RECIPES[spec.pinned.recipe]
    if unfit and warning:
        warn(
            f"{method_label(spec.model, spec.method)} for {spec.target} ignores its pinned recipe",
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
