"""The weights of an export: one file for all methods of a model, apart from their programs.

A program does not change when only its weights do, and neither does what is compiled from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.export.graph_signature import InputKind, InputSpec

from aotbuild.runtime.manifest import Constant, Parameter
from aotbuild.runtime.weights import WeightsFile
from aotbuild.steps.artifacts.spec import INDEX, PROGRAM, WEIGHTS
from aotbuild.steps.artifacts.weights_file import write_weights
from aotbuild.steps.files import replacing, write_if_changed

MODULE = "aotbuild_module"
"""Where the traced module holds the project's own: the prefix of the names of its tensors."""

_SMALL = 8
"""Elements of a constant that Inductor writes into the code."""

Program: TypeAlias = torch.export.ExportedProgram


@dataclass(frozen=True)
class Stored:
    """The weights that an export wrote."""

    directory: Path
    tensors: dict[str, Constant]
    """By a name of their own: that in the state dict, or ``<method>:<name>`` for others."""
    names: dict[str, dict[str, str]]
    """For each method the own name of what its program has under another name."""
    state: list[Parameter]
    """The state dict of the module."""
    digest: str
    """Of all values."""

    @classmethod
    def read(cls, directory: Path) -> Stored:
        """Read what ``store`` wrote."""
        table = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        return cls(
            directory,
            {key: Constant(**entry) for key, entry in table["tensors"].items()},
            table["names"],
            [Parameter(**entry) for entry in table["state"]],
            table["digest"],
        )

    def open(self) -> dict[str, torch.Tensor]:
        """The tensors by their own names, mapped."""
        mapped = WeightsFile(self.directory / WEIGHTS)
        return {key: mapped.tensor(constant) for key, constant in self.tensors.items()}

    def used(self, method: str) -> set[str]:
        """The own names of what a method uses."""
        return set(self.names[method].values())

    def load_program(
        self, method: str, tensors: Mapping[str, torch.Tensor], device: torch.device
    ) -> Program:
        """The program of a method, with its weights."""
        program = torch.export.load(self.directory / method / PROGRAM)
        for name, key in self.names[method].items():
            table = _table_of(program, name)
            tensor = tensors[key].to(device)
            parameter = isinstance(table[name], torch.nn.Parameter)
            table[name] = torch.nn.Parameter(tensor, requires_grad=False) if parameter else tensor
        return program


def store(
    programs: Mapping[str, Program], state: Mapping[str, torch.Tensor], directory: Path
) -> Stored:
    """Write the weights of all programs, and each program without them.

    Args:
        programs: By the names of the methods.
        state: The state dict of the module that they were traced from.
        directory: Where they go; each method has a directory in it.
    """
    tensors: dict[str, torch.Tensor] = {}
    keys: dict[Any, str] = {}
    for name, tensor in state.items():  # one that has several names goes by the first
        if _is_plain(tensor):
            keys.setdefault(_identity(tensor), name)
    names: dict[str, dict[str, str]] = {}
    for method, program in programs.items():
        own = names[method] = {}
        for name, tensor in _stored_apart(program, set(keys)).items():
            key = keys.setdefault(_identity(tensor), f"{method}:{own_name(name)}")
            tensors[key] = tensor.detach()
            own[name] = key
    # What is equal by chance is stored twice here: compiled as one, it could not become different.
    written = write_weights(directory / WEIGHTS, tensors, by_content=False)
    parameters = [
        Parameter(
            name,
            str(tensor.dtype).removeprefix("torch."),
            list(tensor.shape),
            keys[_identity(tensor)] if _is_plain(tensor) else name,
        )
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor)
    ]
    stored = Stored(directory, written.constants, names, parameters, written.digest)
    fields = dataclasses.asdict(stored)
    del fields["directory"]
    write_if_changed(directory / INDEX, json.dumps(fields, indent=1) + "\n")
    for method, program in programs.items():
        _save(program, names[method], directory / method / PROGRAM)
    return stored


def own_name(name: str) -> str:
    """The name of a tensor in the project's module, without the traced module around it."""
    return name.removeprefix(f"{MODULE}.")


def _save(program: Program, apart: Mapping[str, str], path: Path) -> None:
    """Write a program without the tensors that are stored apart; an equal file keeps its time."""
    _forget_directories(program)
    with _hollow(program, apart):
        buffer = io.BytesIO()  # in a file, the archive would be named after it
        torch.export.save(program, buffer)
    data = buffer.getvalue()
    if path.exists() and path.read_bytes() == data:
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _forget_directories(program: Program) -> None:
    """Name files by their place among the modules: each isolated build has them elsewhere."""
    roots = sorted({f"{root}/" for root in sys.path if root}, key=len, reverse=True)
    pattern = re.compile(f'File "({"|".join(map(re.escape, roots))})')
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            trace = node.meta.get("stack_trace")
            if trace:
                node.meta["stack_trace"] = pattern.sub('File "', trace)


@contextlib.contextmanager
def _hollow(program: Program, apart: Mapping[str, str]) -> Iterator[None]:
    """Put tensors without memory in place of the state dict and of what is stored apart."""
    tables: tuple[dict[str, Any], ...] = (program.state_dict, program.constants)
    kept = [dict(table) for table in tables]
    try:
        for name in {*apart, *program.state_dict}:
            table = _table_of(program, name)
            if _is_plain(table[name]):
                table[name] = _without_memory(table[name])
        yield
    finally:
        for table, before in zip(tables, kept, strict=True):
            table.update(before)


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    hollow = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    parameter = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(hollow, requires_grad=False) if parameter else hollow


def _stored_apart(program: Program, state: set[Any]) -> dict[str, torch.Tensor]:
    """What a program uses that is stored apart from it: all but small constants of the code."""
    stored = {name: _table_of(program, name)[name] for name in map(_target, _weights(program))}
    return {
        name: tensor
        for name, tensor in stored.items()
        if _is_plain(tensor) and (not _is_written_into_code(tensor) or _identity(tensor) in state)
    }


def _weights(program: Program) -> list[InputSpec]:
    """The inputs of a program's graph that are weights and are used."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    kinds = {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR}
    return [
        spec
        for spec in program.graph_signature.input_specs
        if spec.kind in kinds and nodes[spec.arg.name].users
    ]


def _target(spec: InputSpec) -> str:
    return str(spec.target)


def _table_of(program: Program, name: str) -> dict[str, Any]:
    """The table of a program that holds a tensor."""
    tables: tuple[dict[str, Any], ...] = (program.state_dict, program.constants)
    return next(table for table in tables if name in table)


def _is_written_into_code(tensor: torch.Tensor) -> bool:
    """Whether Inductor makes a constant part of the code."""
    return tensor.dim() == 0 or (tensor.dim() == 1 and tensor.numel() <= _SMALL)


def _is_plain(tensor: Any) -> bool:
    """Whether a tensor is nothing but its bytes."""
    return type(tensor) in {torch.Tensor, torch.nn.Parameter} and tensor.layout is torch.strided


def _identity(tensor: torch.Tensor) -> Any:
    """What two names of one tensor have in common."""
    where = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.device)
    # Tensors without elements have no place.
    place = where if tensor.numel() else id(tensor)
    return place, tensor.dtype, tensor.shape, tensor.stride()
