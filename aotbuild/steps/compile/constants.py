"""The constants of a compiled library: which weights they are, or how they are computed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from aotbuild.errors import CompileError
from aotbuild.passes.pipeline import Applied
from aotbuild.runtime.manifest import Constant, Derivation
from aotbuild.steps.artifacts.export_weights import MODULE, own_name
from aotbuild.steps.artifacts.library import COMPUTED_WEIGHTS
from aotbuild.steps.artifacts.weights_file import unwritten, write_weights
from aotbuild.steps.compile.inductor import Compiled
from aotbuild.steps.compile.program_weights import ProgramWeights

_COMPUTED = "computed:"
"""Before the name of a constant that is not in the state dict, but was computed from it."""

_FIELD = re.compile(
    r"constants_info_\[(\d+)\]\.(name|original_fqn|shape|stride)\s*=\s*"
    r'(?:"((?:[^"\\]|\\.)*)"|\{([^}]*)\})'
)


def record_constants(
    compiled: Compiled,
    weights: ProgramWeights,
    derived: Mapping[str, Derivation],
    output: Path,
    where: str,
) -> tuple[dict[str, str], list[Constant]]:
    """List the constants of a library, and write those that cannot be computed again.

    Args:
        compiled: What Inductor made.
        weights: The weights of the program.
        derived: How constants are computed again, by their names in the variant.
        output: Directory for the file.
        where: Where the model is declared.

    Returns:
        For the library's names those of the export's weights that they are, and the constants that
        were computed from such.

    Raises:
        CompileError: A constant is not what the library takes it for.
    """
    names = expected_constants(compiled, where)
    shared: dict[str, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, fqn in names.items():
        tensor = compiled.constants[fqn]
        key = weights.key_of(tensor)
        if key is None:
            tensors[name] = tensor
        else:
            shared[name] = key
    # None may be taken for a parameter from whose values it was computed.
    computed = {name: _computed_name(names[name]) for name in tensors}
    stored = {name: tensor for name, tensor in tensors.items() if computed[name] not in derived}
    written = write_weights(output / COMPUTED_WEIGHTS, stored).constants
    own = [
        dataclasses.replace(written.get(name) or unwritten(name, tensor), fqn=computed[name])
        for name, tensor in tensors.items()
    ]
    return shared, own


def expected_constants(compiled: Compiled, where: str) -> dict[str, str]:
    """The constants that a library expects, by its names, and theirs in the state dict.

    The names, sizes and strides are in its generated source. Nothing checks them at run time: other
    strides give garbage, a missing constant a crash.

    Args:
        compiled: What Inductor made.
        where: Where the model is declared.

    Raises:
        CompileError: A constant is not what the library takes it for.
    """
    fields: dict[int, dict[str, str]] = {}
    for index, key, text, numbers in _FIELD.findall(compiled.source.read_text(encoding="utf-8")):
        fields.setdefault(int(index), {})[key] = text or numbers
    names: dict[str, str] = {}
    for _, entry in sorted(fields.items()):
        name, fqn = entry["name"], entry["original_fqn"]
        tensor = compiled.constants.get(fqn)
        fits = tensor is not None and (
            _numbers(entry["shape"]) == list(tensor.shape)
            and _numbers(entry["stride"]) == list(tensor.stride())
        )
        if not fits or fqn in names.values():
            raise CompileError(
                f"the library's constant {name} is not the model's {fqn}",
                where=where,
                fix="report it to the aotbuild project with the model's code",
            )
        names[name] = fqn
    if compiled.constants and not names:
        raise CompileError(
            "the generated code tells none of the model's constants",
            where=where,
            why=f"torch {torch.__version__} writes them in a form that is not known here",
            fix="install a newer aotbuild, or an older torch",
        )
    return names


def derivations(applied: Applied, weights: ProgramWeights) -> dict[str, Derivation]:
    """How constants that passes computed follow from the state dict, where from nothing else."""
    known = {_computed_name(name): weights.by_keys(own) for name, own in applied.derived.items()}
    return {name: derivation for name, derivation in known.items() if derivation is not None}


def _computed_name(name: str) -> str:
    return f"{_COMPUTED}{own_name(name).removeprefix(f'{MODULE}_')}"


def _numbers(text: str) -> list[int]:
    return [int(number.strip().removesuffix("L")) for number in text.split(",") if number.strip()]
