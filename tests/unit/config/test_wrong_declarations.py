"""The corpus of wrong declarations: each is told with its place and a way out."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from samples import edited
from validate_pyproject.api import Validator
from validate_pyproject.errors import ValidationError

from aotbuild.config.project import load_project
from aotbuild.errors import ConfigError

_FILE = Path(__file__).with_name("wrong_declarations.toml")
CORPUS: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
BASES: dict[str, str] = CORPUS["base"]
CASES: list[dict[str, Any]] = CORPUS["wrong"]
SEEN = [case for case in CASES if case.get("schema", True)]
UNSEEN = [case for case in CASES if case not in SEEN]


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def text_of(case: dict[str, Any]) -> str:
    base = BASES[case.get("in", next(iter(BASES)))]
    return edited(case["instead-of"], case["write"], base)


def write(root: Path, text: str) -> Path:
    for name in CORPUS["files"]:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def validator() -> Validator:
    """validate-pyproject with our schema, which it finds by the entry point."""
    return Validator()


@pytest.mark.parametrize("base", BASES)
def test_the_declarations_that_are_made_wrong_are_right(
    tmp_path: Path, validator: Validator, base: str
) -> None:
    assert load_project(write(tmp_path, BASES[base])) is not None
    validator(tomllib.loads(BASES[base]))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_mistake_is_told_with_its_place_and_a_way_out(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(write(tmp_path, text_of(case)))
    error = caught.value
    assert case["what"] in error.what
    assert error.where == f"pyproject.toml: {case['where']}"
    assert error.fix
    block = error.block()
    said = block.replace("\n" + " " * 9, "\n")
    for text in case.get("told", []):
        assert text in said
    if "meant" in case:
        assert f'did you mean "{case["meant"]}"?' in said
    assert block.startswith("aotbuild: error: ")
    assert block.count("aotbuild: error: ") == 1
    assert "Traceback" not in block
    assert "\n\n" not in block


@pytest.mark.parametrize("case", SEEN, ids=named)
def test_the_schema_refuses_what_it_can_see(validator: Validator, case: dict[str, Any]) -> None:
    # TypeError: validate-pyproject 0.27 refuses a date where none belongs, but cannot print it.
    with pytest.raises((ValidationError, TypeError)):
        validator(tomllib.loads(text_of(case)))


@pytest.mark.parametrize("case", UNSEEN, ids=named)
def test_what_the_corpus_says_the_schema_cannot_see_it_does_not(
    validator: Validator, case: dict[str, Any]
) -> None:
    validator(tomllib.loads(text_of(case)))


def test_the_corpus_is_large_and_the_schema_sees_most_of_it() -> None:
    assert len(CASES) >= 80
    assert len(SEEN) >= 40
    assert len(SEEN) > len(UNSEEN)
    assert len({named(case) for case in CASES}) == len(CASES)
