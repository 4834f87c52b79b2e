"""The program of a method, without the weights that are stored apart from it.

A program does not change when only its weights do, and neither does what is compiled from it.
Importing this module does not import torch: the cache looks for a program by its digest.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import inspect
import io
import json
import math
import operator
import re
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from aotbuild.errors import ExportError
from aotbuild.steps.files import replacing

if TYPE_CHECKING:
    import torch

Program: TypeAlias = "torch.export.ExportedProgram"

PROGRAM = "program.pt2"


def write_program(program: Program, apart: Collection[str], directory: Path) -> None:
    """Write a program; an equal file keeps its time.

    Args:
        program: The program.
        apart: The names in it of the tensors that are stored apart.
        directory: Where it goes.
    """
    import torch

    _forget_directories(program)
    with _functions_of_sizes(), _hollow(program, apart):
        buffer = io.BytesIO()  # in a file, the archive would be named after it
        try:
            torch.export.save(program, buffer)
        except Exception as error:
            raise _unsaved(program, error) from error
    data = buffer.getvalue()
    path = directory / PROGRAM
    if path.exists() and path.read_bytes() == data:
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_program(directory: Path, weights: Mapping[str, torch.Tensor]) -> Program:
    """Read a program, and give it the weights, by their names in it."""
    import torch

    with _functions_of_sizes():
        program = torch.export.load(directory / PROGRAM)
    for name, tensor in weights.items():
        table = table_of(program, name)
        parameter = isinstance(table[name], torch.nn.Parameter)
        table[name] = torch.nn.Parameter(tensor, requires_grad=False) if parameter else tensor
    return program


@contextlib.contextmanager
def _functions_of_sizes() -> Iterator[None]:
    """Let torch save and load the functions of sizes that it traces but does not save.

    torch 2.13 to 2.15 knows ``math.trunc`` there, but not ``math.ceil``, ``math.floor``, ``round``
    and others: "op <built-in function ceil> is not in _SYM_OPS". ``test_functions_of_sizes``
    notices when it does.
    """
    from torch._export.serde import serialize
    from torch.utils._sympy import functions

    deserializer: Any = serialize.GraphModuleDeserializer
    known: set[Any] = serialize._SYM_OPS
    original, parse = deserializer.deserialize_operator, deserializer._parse_sym_expr
    added = _size_functions() - known
    symbolic = {n: f for n, f in vars(functions).items() if n.startswith("OpaqueUnaryFn_")}

    def deserialize_operator(self: Any, target: str) -> Any:
        name = target.removeprefix("builtins.")
        return original(self, target) if name == target else getattr(builtins, name)

    def parse_expression(self: Any, *args: Any) -> Any:
        self.sympy_functions.update(symbolic)
        return parse(self, *args)

    known |= added
    deserializer.deserialize_operator = deserialize_operator
    deserializer._parse_sym_expr = parse_expression
    try:
        yield
    finally:
        known -= added
        deserializer.deserialize_operator, deserializer._parse_sym_expr = original, parse


def _size_functions() -> set[Any]:
    """What torch traces of arithmetic on sizes, by name."""
    import torch

    opaque = {function for name, function in vars(torch).items() if name.startswith("_sym_")}
    return {math.ceil, math.floor, math.trunc, builtins.round, builtins.abs, operator.abs, *opaque}


def module_of(program: Program) -> torch.fx.GraphModule:
    """A fresh module of a program, which checks no sizes of its own: compiling changes it."""
    import torch

    takes = inspect.signature(program.module).parameters
    module = program.module(**({"check_guards": False} if "check_guards" in takes else {}))
    assert isinstance(module, torch.fx.GraphModule)  # noqa: S101
    return module


def program_digest(directory: Path) -> str:
    """The digest of a program without the lines of code that it was traced from.

    They have paths, and change with every line that is written above them.
    """
    digest = hashlib.sha256()
    with zipfile.ZipFile(directory / PROGRAM) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".data/serialization_id"):  # of all that is in the archive
                continue
            data = archive.read(name)
            if name.endswith(".json"):
                data = json.dumps(_without_lines(json.loads(data)), sort_keys=True).encode()
            digest.update(hashlib.sha256(name.encode()).digest())
            digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


def _without_lines(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_lines(item) for key, item in value.items() if key != "stack_trace"}
    if isinstance(value, list):
        return [_without_lines(item) for item in value]
    return value


def table_of(program: Program, name: str) -> dict[str, Any]:
    """The table of a program that holds a tensor."""
    tables: tuple[dict[str, Any], ...] = (program.state_dict, program.constants)
    return next(table for table in tables if name in table)


def is_plain(tensor: Any) -> bool:
    """Whether a tensor is nothing but its bytes."""
    import torch

    return type(tensor) in {torch.Tensor, torch.nn.Parameter} and tensor.layout is torch.strided


def _unsaved(program: Program, error: Exception) -> ExportError:
    """The error for a program that torch cannot save, with the line of the node that it names."""
    reasons = [line for line in str(error).splitlines() if line.strip()]
    match = re.match(r"Failed serializing node (\w+)", str(error))
    nodes = [node for node in program.graph.nodes if match and node.name == match[1]]
    lines = nodes[0].meta.get("stack_trace", "").strip().splitlines() if nodes else []
    place = re.match(r'\s*File "(.*)", line (\d+), in (\w+)', lines[-2]) if lines[1:] else None
    return ExportError(
        "torch.export cannot save the traced program",
        where=f"{place[1]}:{place[2]} in {place[3]}: {lines[-1].strip()}" if place else "",
        why=reasons[-1] if reasons else type(error).__name__,
        fix="compute it with torch's own operators, or, if it follows from constants alone, "
        "once in __init__",
    )


def _forget_directories(program: Program) -> None:
    """Name files by their place among the modules: each isolated build has them elsewhere."""
    import torch

    roots = sorted({f"{root}/" for root in sys.path if root}, key=len, reverse=True)
    pattern = re.compile(f'File "({"|".join(map(re.escape, roots))})')
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            trace = node.meta.get("stack_trace")
            if trace:
                node.meta["stack_trace"] = pattern.sub('File "', trace)


@contextlib.contextmanager
def _hollow(program: Program, apart: Collection[str]) -> Iterator[None]:
    """Put tensors without memory in place of the state dict and of what is stored apart."""
    tables: tuple[dict[str, Any], ...] = (program.state_dict, program.constants)
    originals = [dict(table) for table in tables]
    try:
        for name in {*apart, *program.state_dict}:
            table = table_of(program, name)
            if is_plain(table[name]):
                table[name] = _without_memory(table[name])
        yield
    finally:
        for table, original in zip(tables, originals, strict=True):
            table.update(original)


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    hollow = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    parameter = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(hollow, requires_grad=False) if parameter else hollow
