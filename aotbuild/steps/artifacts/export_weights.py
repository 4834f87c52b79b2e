"""The weights of an export: one file for all methods of a model, apart from their programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import InputKind, InputSpec

from aotbuild.runtime.manifest import Parameter
from aotbuild.runtime.weights import WeightsFile
from aotbuild.steps.artifacts.program import (
    Program,
    is_plain,
    read_program,
    table_of,
    write_program,
)
from aotbuild.steps.artifacts.weights_file import write_weights
from aotbuild.steps.artifacts.weights_index import WEIGHTS, WeightsIndex
from aotbuild.steps.dtypes import dtype_name

MODULE = "aotbuild_module"
"""Where the traced module holds the project's own: the prefix of the names of its tensors."""

_SMALL = 8
"""Elements of a constant that Inductor writes into the code."""


@dataclass(frozen=True)
class Stored(WeightsIndex):
    """The weights that an export wrote."""

    directory: Path

    @classmethod
    def read(cls, directory: Path) -> Stored:
        """Read what ``store`` wrote."""
        return cls(**vars(WeightsIndex.read(directory)), directory=directory)

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
        """The program of a method, with its weights.

        Args:
            method: Its name.
            tensors: The tensors by their own names, as ``open`` gives them.
            device: Where they are to be.
        """
        weights = {name: tensors[key].to(device) for name, key in self.names[method].items()}
        return read_program(self.directory / method, weights)


def store(
    programs: Mapping[str, Program],
    state: Mapping[str, torch.Tensor],
    directory: Path,
    initial: Mapping[str, torch.Tensor] | None = None,
) -> Stored:
    """Write the weights of all programs, and each program without them.

    Args:
        programs: By the names of the methods.
        state: The state dict of the module that they were traced from.
        directory: Where they go; each method has a directory in it.
        initial: What the buffers are at first that the model keeps between calls. Those that are
            all zeros are not stored.
    """
    tensors, keys, names = _separated(programs, state)
    for name, tensor in (initial or {}).items():
        if tensor.contiguous().flatten().view(torch.uint8).any():
            tensors[initial_key(name)] = tensor.contiguous()
    # What is equal by chance is stored twice here: compiled as one, it could not become different.
    written = write_weights(directory / WEIGHTS, tensors, by_content=False)
    parameters = [
        Parameter(
            name,
            dtype_name(tensor.dtype),
            list(tensor.shape),
            keys[_identity(tensor)] if is_plain(tensor) else name,
        )
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor)
    ]
    stored = Stored(written.constants, names, parameters, written.digest, directory)
    stored.write(directory)
    for method, program in programs.items():
        write_program(program, names[method], directory / method)
    return stored


def write_hollow_programs(
    programs: Mapping[str, Program], state: Mapping[str, torch.Tensor], directory: Path
) -> dict[str, dict[str, str]]:
    """Write each program as ``store`` does, and no weights.

    Args:
        programs: By the names of the methods.
        state: The state dict of the module that they were traced from.
        directory: Where they go; each method has a directory in it.

    Returns:
        For each method the names that its weights would be stored by, by their names in it.
    """
    _, _, names = _separated(programs, state)
    for method, program in programs.items():
        (directory / method).mkdir(parents=True, exist_ok=True)
        write_program(program, names[method], directory / method)
    return names


def _separated(
    programs: Mapping[str, Program], state: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[Any, str], dict[str, dict[str, str]]]:
    """The tensors to store by their own names, these names by identity, and by method."""
    tensors: dict[str, torch.Tensor] = {}
    keys: dict[Any, str] = {}
    for name, tensor in state.items():  # one that has several names goes by the first
        if is_plain(tensor):
            keys.setdefault(_identity(tensor), name)
    names: dict[str, dict[str, str]] = {}
    for method, program in programs.items():
        own = names[method] = {}
        for name, tensor in _stored_apart(program, set(keys)).items():
            key = keys.setdefault(_identity(tensor), f"{method}:{own_name(name)}")
            tensors[key] = tensor.detach()
            own[name] = key
    return tensors, keys, names


def initial_key(name: str) -> str:
    """The name by which the first value is stored of a buffer that the model keeps."""
    return f"initial:{name}"


def own_name(name: str) -> str:
    """The name of a tensor in the project's module, without the traced module around it."""
    return name.removeprefix(f"{MODULE}.")


def _stored_apart(program: Program, state: set[Any]) -> dict[str, torch.Tensor]:
    """What a program uses that is stored apart from it: all but small constants of the code."""
    stored = {name: table_of(program, name)[name] for name in map(_target, _weights(program))}
    return {
        name: tensor
        for name, tensor in stored.items()
        if is_plain(tensor) and (not _is_written_into_code(tensor) or _identity(tensor) in state)
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


def _is_written_into_code(tensor: torch.Tensor) -> bool:
    """Whether Inductor makes a constant part of the code."""
    return tensor.dim() == 0 or (tensor.dim() == 1 and tensor.numel() <= _SMALL)


def _identity(tensor: torch.Tensor) -> Any:
    """What two names of one tensor have in common."""
    where = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.device)
    # Tensors without elements have no place.
    place = where if tensor.numel() else id(tensor)
    return place, tensor.dtype, tensor.shape, tensor.stride()
