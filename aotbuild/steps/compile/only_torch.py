"""What a model calls that only torch has, and from where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.errors import CompileError
from aotbuild.steps.compile.torch_interface import BY_RUNNER
from aotbuild.steps.export.input_uses import operator_name
from aotbuild.steps.export.traced_lines import traced_line


@dataclass(frozen=True)
class Place:
    """What an error of a model tells."""

    where: str
    """Where the model is declared."""
    project: Path
    """Directory of the project."""


def only_torch_error(
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
    listed = library.with_suffix(".json")
    called = listed.read_text("utf-8") if BY_RUNNER in functions else ""
    reasons = what_needs_torch(functions, graph, called, place.project)
    return torch_needed(place.where, "\n".join(reasons))


def torch_needed(where: str, why: str) -> CompileError:
    """The error for a model that has to be stand-alone, and needs torch."""
    return CompileError(
        "the model needs torch at run time",
        where=where,
        why=why,
        fix='write the line in another way, or set runtime = "torch"',
    )


def what_needs_torch(
    functions: Sequence[str], graph: torch.fx.Graph, called_by_runner: str, project: Path
) -> list[str]:
    """What of a model needs torch: a text for each line of its code.

    Args:
        functions: The names of functions that only torch has.
        graph: The graph that the code was made of.
        called_by_runner: Inductor's list, as JSON, of the operators that are called by way of
            torch's own runner.
        project: Directory of the project.
    """
    names = [_PREFIX.sub("", name) for name in functions if name not in _RUNNERS]
    names += _called_by_runner(called_by_runner) if BY_RUNNER in functions else []
    lines: dict[str, list[str]] = {}
    for name in names:
        for operator, line in _operators(name, graph, project):
            lines.setdefault(line, []).append(operator)
    if not lines:  # where operators are known, what they were made into tells nothing more
        return [f"its code calls {name}, which only torch has" for name in names]
    return [
        f"only torch has {' and '.join(dict.fromkeys(operators))}"
        + (f", called at {line}" if line else "")
        for line, operators in lines.items()
    ]


_PREFIX = re.compile(r"aoti_torch_(?:cpu_|aten_)?_*")
_RUNNERS = {BY_RUNNER, "aoti_torch_new_uninitialized_tensor"}
"""What is called for operators that have no function in C."""
_SEEDS = "randint_low_out"
"""What Inductor draws one number by, from which its own code makes all that is random."""


def _called_by_runner(listed: str) -> list[str]:
    """The names of operators that have no function in C."""
    targets = [str(entry["node"]["target"]) for entry in json.loads(listed)["nodes"]]
    return [target.removeprefix("torch.ops.").replace("::", ".") for target in targets]


def _operators(function: str, graph: torch.fx.Graph, project: Path) -> Iterator[tuple[str, str]]:
    """The operator of a graph that calls a function, with its line if that is known."""
    bare = function.removesuffix("_out").removeprefix("aten.").removesuffix(".default").lstrip("_")
    for node in graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        name = operator_name(node.target)
        own = name.removeprefix("aten.").lstrip("_")
        called = bare == own or bare.startswith((f"{own}_", f"{own}."))
        seeds = function.endswith(_SEEDS) and torch.Tag.nondeterministic_seeded in node.target.tags
        if called or seeds or bare == f"linalg_{own}":
            yield name, traced_line(str(node.meta.get("stack_trace") or ""), project)
