"""Torch's own export database as a project: each supported example is a model of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch._export.db.case import SupportLevel
from torch._export.db.examples import all_examples
from wheels import project_head

NAME = "exportdb"

_TABLE = """\
[tool.aotbuild]
cpu-levels = ["x86-64-v3"]
"""
_MODEL = """
[tool.aotbuild.models.{name}]
source = "exportdb.examples:make_{name}"
weights = "random"
example = "exportdb.examples:call_{name}"
"""
_EXAMPLES = '''\
"""The examples as factories of modules, calls and dynamic shapes."""

import functools

import torch

torch.manual_seed(0)  # examples draw random numbers when they are imported
from torch._export.db.examples import all_examples


def call(case):
    return case.example_args, case.example_kwargs


for name, case in all_examples().items():
    globals()[f"make_{name}"] = functools.partial(lambda model: model, case.model)
    globals()[f"call_{name}"] = functools.partial(call, case)
    globals()[f"shapes_{name}"] = case.dynamic_shapes
'''

COMPARE = """
import copy, json, torch, warnings
import torch.utils._pytree as pytree
torch.manual_seed(0)
from torch._export.db.examples import all_examples
warnings.simplefilter("ignore")
import exportdb.models

differing = {}
for name in NAMES:
    case, model = all_examples()[name], getattr(exportdb.models, name)
    extra = getattr(case, "extra_inputs", None)
    calls = [case.example_args] + ([extra] if extra else [])
    for args in calls:
        with torch.no_grad():
            expected = case.model(*copy.deepcopy(args), **case.example_kwargs)  # it may change them
        try:
            got = model(*args, **case.example_kwargs)
            (mine, tree), (its, other) = map(pytree.tree_flatten, (got, expected))
            assert tree == other, (tree, other)
            for one, two in zip(mine, its):
                assert type(one) is type(two), (one, two)
                torch.testing.assert_close(one, two)
        except Exception as error:
            differing[name] = f"{type(error).__name__}: {error}"
print(json.dumps(differing))
"""
"""Code that compares models with the examples, for the ``NAMES`` before it."""


_examples: Any = all_examples


def supported() -> list[str]:
    """The names of the examples that torch.export supports."""
    cases = _examples().items()
    return [name for name, case in cases if case.support_level is SupportLevel.SUPPORTED]


def write_project(directory: Path, names: Sequence[str]) -> None:
    """Write a project whose models are these examples."""
    package = directory / "exportdb"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "examples.py").write_text(_EXAMPLES)
    models = []
    for name in names:
        model = _MODEL.format(name=name)
        if _examples()[name].dynamic_shapes:
            model += f'dynamic-shapes = "exportdb.examples:shapes_{name}"\n'
        models.append(model)
    (directory / "pyproject.toml").write_text(project_head(NAME) + _TABLE + "".join(models))
