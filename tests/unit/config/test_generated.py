"""What is made of the declaration's dataclasses: fresh, and true of every declaration we have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from validate_pyproject.api import Validator
from validate_pyproject.errors import ValidationError

from aotbuild.config.generate import COMMAND, generated
from aotbuild.config.json_schema import get_schema, make_schema
from aotbuild.config.keys import docstrings, keys_of
from aotbuild.config.parse import parse_table
from aotbuild.config.schema import (
    Call,
    Config,
    ConstantInput,
    DeclaredDim,
    Model,
    Settings,
    TargetSettings,
    TensorInput,
    Verify,
)

REPOSITORY = Path(__file__).resolve().parents[3]
TABLES = [
    Config,
    Model,
    Call,
    Settings,
    TargetSettings,
    DeclaredDim,
    TensorInput,
    ConstantInput,
    Verify,
]
PROJECTS = [
    *sorted((REPOSITORY / "tests" / "packages").glob("*/pyproject.toml")),
    REPOSITORY / "example_project" / "pyproject.toml",
]


def toml_blocks(name: str) -> list[str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def validator() -> Validator:
    """validate-pyproject with our schema, which it finds by the entry point."""
    return Validator()


@pytest.mark.parametrize("name", generated())
def test_generated_files_are_fresh(name: str) -> None:
    path = REPOSITORY / name
    stale = not path.is_file() or path.read_text(encoding="utf-8") != generated()[name]
    assert not stale, f"{name} is stale: run `{COMMAND}` and commit what it writes"


def test_the_schema_in_the_package_is_the_one_that_is_made() -> None:
    assert get_schema("aotbuild") == make_schema()


def test_the_reference_shows_every_default_that_is_a_single_value() -> None:
    text = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \| ", text, re.MULTILINE)
    shown = {(key, default) for key, _, default in rows}
    assert {("min", "`1`"), ("auto", "`false`"), ("size-limit", "`100`")} <= shown
    assert {
        ("torch", '`"compatible"`'),
        ("weights-in", '`"wheel"`'),
        ("weights-out", '`"dist"`'),
    } <= shown
    for cls in TABLES:
        for key in keys_of(cls).values():
            has_default = isinstance(key.default, bool | int | str) and not key.required
            assert not has_default or any(
                name == key.key and default.startswith("`") for name, default in shown
            ), key.key


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_every_key_is_documented(cls: type) -> None:
    assert set(docstrings(cls)) == {key.name for key in keys_of(cls).values()}


def test_validate_pyproject_finds_the_schema(validator: Validator) -> None:
    wrong: dict[str, Any] = {"tool": {"aotbuild": {"modls": {}}}}
    with pytest.raises(ValidationError, match=r"tool\.aotbuild"):
        validator(wrong)


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_the_schema_accepts_our_projects(validator: Validator, path: Path) -> None:
    validator(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["README.md", "docs/reference.md"])
def test_the_schema_and_the_parser_accept_what_the_documentation_shows(
    validator: Validator, name: str
) -> None:
    blocks = toml_blocks(name)
    assert blocks
    for block in blocks:
        table = tomllib.loads(block)
        validator(table)
        assert parse_table(Config, table["tool"]["aotbuild"], "tool.aotbuild").models


INPUTS: list[tuple[Any, bool]] = [
    ({"shape": []}, True),
    ({"value": 1.5}, True),
    ({"none": True}, True),
    ({"value": False, "none": False}, True),
    ([{"shape": [1]}, [{"none": True}]], True),
    ({"key": {"shape": [1]}, "value": {"shape": [1]}}, True),
    ({"shape": {"shape": [1]}, "none": {"none": True}}, True),
    ({"user id": {"shape": ["batch"]}}, True),
    ({"none": False}, False),
    ({"value": [1]}, False),
    ({"value": 1, "none": True}, False),
    ({"shape": [1], "k": {"shape": [1]}}, False),
    ({"k": {"shape": [1]}, "v": 3}, False),
    ({}, False),
    ("float32", False),
]


@pytest.mark.parametrize(("tree", "right"), INPUTS, ids=str)
def test_the_schema_and_the_parser_agree_on_inputs(
    validator: Validator, tree: Any, *, right: bool
) -> None:
    table = {"models": {"net": {"source": "a:B", "inputs": {"x": tree}}}}
    for accept in (
        lambda: validator({"tool": {"aotbuild": table}}),
        lambda: parse_table(Config, table, "tool.aotbuild"),
    ):
        try:
            accept()
        except Exception:  # noqa: BLE001 - both have errors of their own
            assert not right
        else:
            assert right
