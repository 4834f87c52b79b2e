"""The tables of a model, as ``init`` adds them to pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aotbuild.errors import InitError

USUAL_DTYPE = "float32"
USUAL_RANGE = (1, 64)
"""The sizes of a dimension of which nobody says more."""


@dataclass(frozen=True)
class Given:
    """A tensor that a model takes."""

    name: str
    dtype: str
    shape: tuple[str, ...]
    """Numbers, and names of dimensions."""

    @property
    def dims(self) -> list[str]:
        """The dimensions whose size may differ."""
        return [size for size in self.shape if not size.isdecimal()]


def parse_input(text: str) -> Given:
    """An input, written as ``image=float32[batch,1,8,8]`` or ``image=batch,1,8,8``.

    Raises:
        InitError: It is written otherwise.
    """
    match = re.fullmatch(r"\s*(\w+)\s*=\s*([a-z]\w*)?\s*\[([^\[\]]*)\]\s*", text)
    match = match or re.fullmatch(r"\s*(\w+)\s*=()\s*([^\[\]]*?)\s*", text)
    sizes = tuple(part.strip() for part in match[3].split(",") if part.strip()) if match else ()
    if match is None or not all(re.fullmatch(r"\d+|[A-Za-z_]\w*", size) for size in sizes):
        raise InitError(
            f'"{text}" is no input',
            where="command line: --input",
            fix="write its name, dtype and shape, where a name stands for a size that may differ: "
            "--input 'image=float32[batch,1,8,8]'",
        )
    return Given(match[1], match[2] or USUAL_DTYPE, sizes)


def parse_dim(text: str) -> tuple[str, tuple[int, int]]:
    """The range of a dimension, written as ``batch=1..64``.

    Raises:
        InitError: It is written otherwise.
    """
    match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*=\s*(\d+)\s*(?:\.\.|-|:)\s*(\d+)\s*", text)
    if match is None or int(match[2]) > int(match[3]):
        raise InitError(
            f'"{text}" is no range of a dimension',
            where="command line: --dim",
            fix="write its name, and its smallest and its largest size: --dim batch=1..64",
        )
    return match[1], (int(match[2]), int(match[3]))


def model_tables(
    name: str,
    source: str,
    inputs: Sequence[Given],
    dims: Mapping[str, tuple[int, int]],
    *,
    weights: str = "",
    arguments: Mapping[str, str] | None = None,
) -> str:
    """The text of ``[tool.aotbuild.models.<name>]``.

    Args:
        name: The name of the model.
        source: What makes it.
        inputs: What it takes.
        dims: The ranges of dimensions; those that are not in it have the usual one.
        weights: The file of its weights, where there is one.
        arguments: What its constructor takes, as TOML writes the values.

    Raises:
        InitError: A range is of a dimension that no input has.
    """
    used = list(dict.fromkeys(dim for given in inputs for dim in given.dims))
    for dim in dims:
        if dim not in used:
            raise InitError(
                f'no input has the dimension "{dim}"',
                where="command line: --dim",
                fix=f"name one of {', '.join(used)}" if used else "name it in the shape of --input",
            )
    return "\n".join(_lines(name, source, inputs, used, dims, weights, arguments or {})) + "\n"


def _lines(
    name: str,
    source: str,
    inputs: Sequence[Given],
    used: Sequence[str],
    dims: Mapping[str, tuple[int, int]],
    weights: str,
    arguments: Mapping[str, str],
) -> Iterator[str]:
    yield f"[tool.aotbuild.models.{name}]"
    yield f'source = "{source}"'
    if arguments:
        pairs = ", ".join(f"{key} = {value}" for key, value in arguments.items())
        yield f"kwargs = {{ {pairs} }}"
    if weights:
        yield f'weights = "{weights}"'
    for given in inputs:
        shape = ", ".join(size if size.isdecimal() else f'"{size}"' for size in given.shape)
        yield f'inputs.{given.name} = {{ shape = [{shape}], dtype = "{given.dtype}" }}'
    for dim in used:
        low, high = dims.get(dim, USUAL_RANGE)
        yield f"dims.{dim} = {{ min = {low}, max = {high} }}"
