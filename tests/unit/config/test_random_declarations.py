"""Random changes of declarations: each is taken, or refused by an error of the declaration."""

from __future__ import annotations

import copy
import datetime as dt
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from aotbuild.config.keys import keys_of
from aotbuild.config.project import load_project
from aotbuild.config.schema import (
    Call,
    Config,
    ConstantInput,
    DeclaredDim,
    Method,
    Model,
    TensorInput,
    Tune,
    Verify,
)
from aotbuild.errors import AotBuildError
from aotbuild.steps.plan.export import export_spec
from aotbuild.steps.plan.options import check_options
from aotbuild.steps.plan.plan import declared_models

DECLARATION: dict[str, Any] = {
    "package": "demo.models",
    "cpu-levels": ["x86-64-v3", "x86-64-v4"],
    "targets": {"cpu-x86-64-v3": {}},
    "inductor": {"cpp": {"enable_unsafe_math_opt_flag": False}},
    "verify": {"rtol": 1e-3, "atol": 1e-4},
    "profiles": {"ci": {"cpu-levels": ["x86-64-v3"]}},
    "models": {
        "net": {
            "source": "demo.net:Net",
            "weights": "net.safetensors",
            "args": [1, "two", [3.0]],
            "kwargs": {"width": 3},
            "inputs": {
                "x": {"shape": ["batch", "2*length+1", 3], "dtype": "float32", "range": [0, 1]},
                "y": [{"shape": ["batch"], "dtype": "int64", "max": 9}, {"value": 3}],
                "z": {"a": {"shape": []}},
            },
            "dims": {"batch": {"min": 1, "max": 64}, "length": "auto"},
            "methods": {"encode": {"inputs": {"x": {"shape": [1, 2]}}}},
        }
    },
}
TABLES = (Config, Model, Method, Call, Tune, Verify, TensorInput, ConstantInput, DeclaredDim)
KEYS = sorted({key for table in TABLES for key in keys_of(table)})
WORDS = [
    *("", " ", "batch", "batch-1", "2*batch", "0*batch", "1-batch", "batch*batch", "-1", "auto"),
    *(
        "float32",
        "floot32",
        "cpu",
        "cuda",
        "x86-64-v3",
        "demo:Net",
        "demo",
        ":",
        "a:b:c",
        "net.pt2",
    ),
    *(
        "net.pt#model",
        "../net.pt",
        "/net.pt",
        "class",
        "ü",
        "\x00",
        "a b",
        "é:é",
        "x" * 300,
        "True",
    ),
    *("10 MB", "-1", "1e400", "%", "{x}", "..", "~", "models", "forward", "__init__", "#"),
]
PLAIN = st.one_of(
    st.sampled_from(WORDS),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 3, 2**31, 2**63 - 1, -(2**63), 10**30]),
    st.sampled_from([0.0, -0.0, 0.5, 1e308, float("inf"), float("nan")]),
    st.sampled_from([dt.date(2026, 1, 1), dt.time(1, 2)]),
)
NAMES = st.one_of(st.sampled_from(KEYS), st.sampled_from(WORDS))
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    """A right declaration in which some places were changed."""
    table = copy.deepcopy(DECLARATION)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = table
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else None
            inner = place[key] if keys else None
            if isinstance(inner, dict | list) and draw(st.integers(0, 4)):
                place = inner
                continue
            break
        change = draw(st.sampled_from(["replace", "add", "remove"]))
        if change == "add" and isinstance(place, dict):
            place[draw(NAMES)] = draw(VALUES)
        elif change == "add":
            place.append(draw(VALUES))
        elif change == "remove" and key is not None:
            del place[key]
        elif key is not None:
            place[key] = draw(VALUES)
    return table


@settings(max_examples=100, deadline=None, derandomize=True)
@given(declarations())
def test_every_declaration_is_taken_or_refused_by_a_message(table: dict[str, Any]) -> None:
    block = refusal(table)
    assert not block or block.startswith("aotbuild: error: ")
    assert "unexpected" not in block.partition("\n")[0]


def refusal(table: dict[str, Any]) -> str:
    """How a declaration is refused; empty if it is not."""
    try:
        load(table)
    except AotBuildError as error:
        return error.block()
    return ""


def load(table: dict[str, Any]) -> None:
    """Read a declaration, and make of it what the step export is given."""
    pyproject = {"project": {"name": "demo"}, "tool": {"aotbuild": table}}
    with patch("aotbuild.config.project.read_pyproject", return_value=pyproject):
        project = load_project(Path(__file__).parent)
    assert project is not None
    names = declared_models(project, [], where="tool.aotbuild.models")
    check_options(project, names)
    for name in names:
        export_spec(project, name, (project.models[name].devices or ["cpu"])[0], output="")
