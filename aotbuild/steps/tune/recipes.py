"""Recipes: the ways to compile a program among which tuning chooses.

No recipe is the fastest for all models. Each is a few options of Inductor, under those of the
project, and rewrites of the graph by name (``rewrites`` has them). Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aotbuild.config.schema import Tune
from aotbuild.steps.artifacts.facts import Facts

BFLOAT16 = "bfloat16"

_TEMPLATES = {
    "freezing": True,
    "max_autotune": True,
    "max_autotune_gemm_backends": "CPP",
    "cpp.weight_prepack": True,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to compile a program."""

    name: str
    about: str
    """What it does, for the reader of a log or of the documentation."""
    applies: Callable[[Facts], bool]
    """Whether it may change anything for a program."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of Inductor, under those of the project."""
    passes: bool = True
    """Whether aotbuild's own passes rewrite the graph."""
    rewrites: tuple[str, ...] = ()
    """Other rewrites of the graph, in this order."""
    precision: str = ""
    """The type that it computes in, where that is less exact than the program's own."""
    levels: tuple[str, ...] = ()
    """The CPU levels that it is for; all where there are none."""

    @property
    def folds(self) -> bool:
        """Whether parameters may be gone after it, so that none can be put in their place."""
        return bool(self.options.get("freezing"))


def _always(_: Facts) -> bool:
    return True


def _has_weights(facts: Facts) -> bool:
    return bool(facts.convolutions or facts.products)


def _in_float32(facts: Facts) -> bool:
    return _has_weights(facts) and facts.floats == ["float32"]


DEFAULT = "passes"
"""The recipe where nothing is known that is better."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(name=DEFAULT, about="aotbuild's own passes over the graph", applies=_always),
        Recipe(name="plain", about="Inductor by itself", applies=_always, passes=False),
        Recipe(
            name="frozen",
            about="weights are constants, which Inductor folds; products by MKL",
            applies=_has_weights,
            options={"freezing": True, "cpp.weight_prepack": False},
            passes=False,
        ),
        Recipe(
            name="frozen-passes",
            about="own passes, then Inductor folds what is left of the weights",
            applies=_has_weights,
            options={"freezing": True, "cpp.weight_prepack": False},
        ),
        Recipe(
            name="frozen-prepacked",
            about="weights are constants, packed by oneDNN for its own kernels",
            applies=_has_weights,
            options={"freezing": True, "cpp.weight_prepack": True},
            passes=False,
        ),
        Recipe(
            name="gemm-templates",
            about="weights are constants, products by Inductor's own C++ template",
            applies=lambda facts: bool(facts.products),
            options=_TEMPLATES,
            passes=False,
        ),
        Recipe(
            name="channels-last",
            about="images with their channels innermost",
            applies=lambda facts: bool(facts.convolutions),
            options={"layout_optimization": True, "force_layout_optimization": True},
            passes=False,
        ),
        Recipe(
            name="concat-linear",
            about="linear layers of one input as one product",
            applies=lambda facts: facts.products > 1,
            options={
                "freezing": True,
                "cpp.weight_prepack": False,
                "cpp.enable_concat_linear": True,
            },
            passes=False,
        ),
        Recipe(
            name="attention-math",
            about="attention as two products and a softmax",
            applies=lambda facts: bool(facts.attentions),
            rewrites=("attention-math",),
        ),
        Recipe(
            name="bfloat16",
            about="own passes, with the factors of products in bfloat16",
            applies=lambda facts: bool(facts.products) and _in_float32(facts),
            precision=BFLOAT16,
            levels=("x86-64-v4",),
        ),
        Recipe(
            name="bfloat16-onednn",
            about="products and convolutions in bfloat16, by oneDNN with packed weights",
            applies=_in_float32,
            options={"freezing": True, "cpp.weight_prepack": True},
            passes=False,
            rewrites=("bfloat16",),
            precision=BFLOAT16,
            levels=("x86-64-v4",),
        ),
    )
}
"""All recipes by their names; of equally fast ones the first is taken."""


def limits(tune: bool | Tune | None) -> Tune | None:  # noqa: FBT001
    """What a project allows a recipe to lose of accuracy, if it allows anything."""
    given = isinstance(tune, Tune) and (tune.max_error is not None or tune.check is not None)
    return tune if isinstance(tune, Tune) and given else None


def fits(
    recipe: Recipe,
    level: str,
    options: Mapping[str, Any],
    *,
    keep_parameters: bool,
    allowed: Tune | None,
) -> bool:
    """Whether a project's settings leave a recipe possible.

    Args:
        recipe: The recipe.
        level: The CPU level to compile for.
        options: The project's own options of Inductor, which go over those of the recipe.
        keep_parameters: Whether every parameter has to be replaceable at run time.
        allowed: What accuracy may be lost, if any.
    """
    contradicted = any(options.get(key, value) != value for key, value in recipe.options.items())
    return (
        not contradicted
        and not (keep_parameters and recipe.folds)
        and (not recipe.precision or allowed is not None)
        and (not recipe.levels or level in recipe.levels)
    )


def candidates(
    facts: Facts,
    level: str,
    options: Mapping[str, Any],
    *,
    keep_parameters: bool,
    allowed: Tune | None,
) -> list[Recipe]:
    """The recipes that may be the best for a program.

    Args:
        facts: What kind of program it is.
        level: The CPU level to compile for.
        options: The project's own options of Inductor, which go over those of a recipe.
        keep_parameters: Whether every parameter has to be replaceable at run time.
        allowed: What accuracy may be lost, if any.
    """
    return [
        recipe
        for recipe in RECIPES.values()
        if recipe.applies(facts)
        and fits(recipe, level, options, keep_parameters=keep_parameters, allowed=allowed)
    ]


def choose(facts: Facts) -> Recipe:
    """The recipe by the kind of graph, where nothing was measured."""
    del facts
    return RECIPES[DEFAULT]
