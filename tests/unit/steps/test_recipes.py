"""Which recipes are candidates, and when what the lock file pins is used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest

from aotbuild.config.schema import Tune
from aotbuild.config.values import RecipeName
from aotbuild.steps.artifacts.facts import Facts
from aotbuild.steps.artifacts.spec import CompileSpec, Pinned, Tools
from aotbuild.steps.tune.pins import recipe_of, settings_of, why_unfit
from aotbuild.steps.tune.recipes import DEFAULT, RECIPES, candidates, choose, limits

IMAGES = Facts(program="a", convolutions=3, products=1, floats=["float32"])
TEXT = Facts(program="a", products=9, attentions=2, floats=["float32"])
POINTWISE = Facts(program="a", floats=["float32"])
PERCENT = Tune(max_error=1e-2)


def names(
    facts: Facts,
    options: dict[str, Any] | None = None,
    *,
    level: str = "x86-64-v4",
    keep: bool = False,
    allowed: Tune | None = None,
) -> set[str]:
    found = candidates(facts, level, options or {}, keep_parameters=keep, allowed=allowed)
    return {recipe.name for recipe in found}


def test_exact_recipes_can_be_named() -> None:
    assert set(get_args(RecipeName)) == {r.name for r in RECIPES.values() if not r.precision}


def test_candidates_follow_from_the_kind_of_graph() -> None:
    assert names(POINTWISE) == {"passes", "plain"}
    assert {"channels-last", "frozen-prepacked"} <= names(IMAGES)
    assert "attention-math" not in names(IMAGES)
    assert {"attention-math", "concat-linear"} <= names(TEXT)
    assert "channels-last" not in names(TEXT)


def test_the_usual_recipe_is_always_the_first() -> None:
    for facts in (IMAGES, TEXT, POINTWISE):
        first = candidates(facts, "x86-64-v3", {}, keep_parameters=True, allowed=None)[0]
        assert first.name == DEFAULT == choose(facts).name


def test_less_exact_recipes_need_a_limit_and_a_level() -> None:
    assert "bfloat16" not in names(TEXT)
    assert "bfloat16" in names(TEXT, allowed=PERCENT)
    assert "bfloat16" in names(TEXT, allowed=Tune(check="demo.checks:near"))
    assert "bfloat16" not in names(TEXT, allowed=PERCENT, level="x86-64-v3")
    assert "bfloat16" not in names(POINTWISE, allowed=PERCENT)
    half = dataclasses.replace(TEXT, floats=["bfloat16"])
    assert "bfloat16" not in names(half, allowed=PERCENT)


def test_limits() -> None:
    assert limits(None) is None
    assert limits(value := True) is None, value
    assert limits(Tune()) is None
    assert limits(PERCENT) == PERCENT


def test_where_all_parameters_are_kept_none_is_folded() -> None:
    found = names(IMAGES, keep=True, allowed=PERCENT)
    assert found == {"passes", "plain", "channels-last", "bfloat16"}


def test_options_of_the_project_exclude_what_contradicts_them() -> None:
    assert "frozen" not in names(IMAGES, {"freezing": False})
    assert "frozen" in names(IMAGES, {"freezing": True, "max_fusion_size": 8})
    assert "frozen-prepacked" not in names(IMAGES, {"cpp.weight_prepack": False})


def test_every_recipe_says_what_it_does() -> None:
    assert all(recipe.about and name == recipe.name for name, recipe in RECIPES.items())


def compiled(directory: Path, pinned: Pinned | None = None, **changes: Any) -> CompileSpec:
    TEXT.write(directory)
    spec = CompileSpec(
        model="net",
        method="forward",
        target="cpu-x86-64-v4",
        project="",
        import_paths=[],
        package="demo",
        options={},
        exported=str(directory),
        output="",
        tools=Tools(aotbuild="", torch=""),
    )
    if pinned:
        changes["pinned"] = dataclasses.replace(pinned, settings=settings_of(spec))
    return dataclasses.replace(spec, **changes)


PINNED = Pinned(recipe="frozen", program="a", settings="")
ROUNDED = Pinned(recipe="bfloat16", program="a", settings="", error=2e-3)


def test_what_is_pinned_is_used(tmp_path: Path) -> None:
    assert recipe_of(compiled(tmp_path)).name == DEFAULT
    assert recipe_of(compiled(tmp_path, PINNED)).name == "frozen"
    assert recipe_of(compiled(tmp_path, ROUNDED, allowed=PERCENT)).name == "bfloat16"


def test_what_tuning_chose_goes_before(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"recipe": "plain"}')
    spec = compiled(tmp_path, PINNED, tuned=str(tmp_path / "recipe.json"))
    assert recipe_of(spec).name == "plain"
    assert recipe_of(dataclasses.replace(spec, recipe="gemm-templates")).name == "gemm-templates"


@pytest.mark.parametrize(
    ("pinned", "changes", "why"),
    [
        (
            dataclasses.replace(PINNED, program="b"),
            {},
            "the model is not the one that was measured",
        ),
        (PINNED, {"options": {"x": 1}}, "the settings are not those that it was measured with"),
        (PINNED, {"swappable": True}, "the settings are not those that it was measured with"),
        (ROUNDED, {}, "bfloat16 is less exact, and tune allows no error"),
        (
            ROUNDED,
            {"allowed": Tune(max_error=1e-3)},
            "bfloat16 has an error of 0.002, and tune allows 0.001",
        ),
        (
            ROUNDED,
            {"allowed": PERCENT, "target": "cpu-x86-64-v3"},
            "the settings exclude bfloat16",
        ),
    ],
)
def test_what_does_not_fit_is_told_and_not_used(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pinned: Pinned,
    changes: dict[str, Any],
    why: str,
) -> None:
    spec = compiled(tmp_path, pinned, **changes)
    assert why_unfit(spec, TEXT) == why
    assert recipe_of(spec, warning=True).name == DEFAULT
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: net for {spec.target} ignores its pinned recipe" in said
    assert f"where: aotbuild.lock.toml why: {why} fix: measure again" in said


def test_a_check_decides_whatever_the_error_was(tmp_path: Path) -> None:
    spec = compiled(tmp_path, ROUNDED, allowed=Tune(check="demo.checks:near"))
    assert why_unfit(spec, TEXT) is None
