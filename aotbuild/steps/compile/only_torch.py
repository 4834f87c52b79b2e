"""What a model calls that only torch has, and from where."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.errors import CompileError
from aotbuild.steps.export.input_uses import operator_name
from aotbuild.steps.export.traced_lines import traced_line


@dataclass(frozen=True)
class Place:
    """What an error of a model tells."""

    where: str
    """Where the model is declared."""
    project: Path
    """Directory of the project."""


def needs_torch(
    functions: Sequence[str], graph: torch.fx.Graph, library: Path, place: Place
) -> CompileError:
    """The error for a model whose code calls functions that only torch has.

    Args:
        functions: The names of the functions.
        graph: The graph that the code was made of.
        library: The library that could not be linked; beside it Inductor lists the operators that
            are called by way of torch's own runner.
        place: Where the model is.
    """
    names = [_PREFIX.sub("", name) for name in functions if name not in _BY_RUNNER]
    names += _called_by_runner(library) if _PROXY in functions else []
    operators = [_operator(name, graph, place.project) for name in names]
    return CompileError(
        "the model needs torch at run time",
        where=place.where,
        why="\n".join(dict.fromkeys(operators)),
        fix='write the line in another way, or set runtime = "torch"',
    )


_PREFIX = re.compile(r"aoti_torch_(?:cpu_|aten_)?_*")
_PROXY = "aoti_torch_proxy_executor_call_function"
_BY_RUNNER = {_PROXY, "aoti_torch_new_uninitialized_tensor"}
"""What is called for operators that have no function in C."""


def _called_by_runner(library: Path) -> list[str]:
    """The names of operators that have no function in C."""
    listed = json.loads(library.with_suffix(".json").read_text("utf-8"))
    targets = [str(entry["node"]["target"]) for entry in listed["nodes"]]
    return [target.removeprefix("torch.ops.").replace("::", ".") for target in targets]


def _operator(function: str, graph: torch.fx.Graph, project: Path) -> str:
    """What calls a function, and from which line of the project, as far as it can be told."""
    bare = function.removesuffix("_out").removeprefix("aten.").removesuffix(".default")
    for node in graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        name = operator_name(node.target)
        own = name.removeprefix("aten.").lstrip("_")
        if bare == own or bare.startswith((f"{own}_", f"{own}.")):
            line = traced_line(str(node.meta.get("stack_trace") or ""), project)
            return f"only torch has {name}" + (f", called at {line}" if line else "")
    return f"its code calls {function}, which only torch has"
