"""Reading a state dict from a file, without running code from it."""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .array_library import ArrayLibrary
from .errors import StateDictError
from .lazy import torch

PADDING = "__pad__"
"""How the entries between the tensors of a weights file of aotbuild begin."""

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Those of torch by their names in a safetensors file."""


def read_checkpoint(
    path: str | os.PathLike[str], arrays: Callable[[], ArrayLibrary]
) -> dict[str, Any]:
    """Read a safetensors file, or one that ``torch.save`` wrote, with ``weights_only=True``.

    Args:
        path: Of the file; ``net.pt#model`` is the state dict under the key ``model`` in it, as
            ``part_of`` finds it.
        arrays: Gives what the tensors of a safetensors file are made by.

    Raises:
        StateDictError: It is missing, damaged, or holds no state dict.
    """
    file, key = Path(path), ""
    if not file.exists() and "#" in file.name:  # the state dict is under a key of a checkpoint
        name, _, key = str(file).rpartition("#")
        file = Path(name)
    try:
        if file.suffix == ".safetensors":
            state: Any = _read_safetensors(file, arrays())
        else:
            state = _read_saved(file)
    except StateDictError:
        raise
    except OSError as error:
        raise StateDictError(f"{file}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch.load raises nearly anything at a file that is not its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StateDictError(f"{file}: cannot be read as a state dict ({reason})") from error
    if not isinstance(state, Mapping):
        raise StateDictError(f"{file}: holds a {type(state).__name__}, not a state dict")
    part = part_of(state, key)
    if part is None:
        raise StateDictError(
            f'{file}: holds no state dict under "{key}", but {", ".join(map(str, state))}'
        )
    return dict(part)


def part_of(checkpoint: Any, key: str) -> Mapping[Any, Any] | None:
    """The table that a checkpoint has under a key; None where it has none.

    ``ema.model`` is the table ``model`` in the table ``ema``, or all tensors of ``ema`` whose names
    begin with ``model.``, without that.
    """
    if not isinstance(checkpoint, Mapping) or not key:
        return checkpoint if isinstance(checkpoint, Mapping) else None
    words = key.split(".")
    for count in range(len(words), 0, -1):
        table = checkpoint.get(".".join(words[:count]))
        part = part_of(table, ".".join(words[count:])) if isinstance(table, Mapping) else None
        if part is not None:
            return part
    start = f"{key}."
    named = {
        name.removeprefix(start): value
        for name, value in checkpoint.items()
        if isinstance(name, str) and name.startswith(start)
    }
    return named or None


def as_named(state: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A state dict by the names that a model has, of one that was saved from a module around it.

    ``DataParallel`` and ``torch.compile`` put a word before all names of what they wrap, be it the
    model or a part of it, and ``AveragedModel`` counts its averages beside them. What
    ``weight_norm`` called ``weight_g`` and ``weight_v`` is ``parametrizations.weight.original0``
    and ``original1`` since torch 2.0.

    Args:
        state: The state dict.
        names: Those of the model's parameters and buffers.
    """
    named = dict(state)
    if _AVERAGES in named and _AVERAGES not in names:
        rest = {name: value for name, value in named.items() if name != _AVERAGES}
        named = rest if all(name.startswith(WRAPPERS[0]) for name in rest) else named
    for _ in range(len(WRAPPERS)):
        for prefix in WRAPPERS:
            wrapped = all(name.startswith(prefix) for name in named)
            if named and wrapped and not any(name.startswith(prefix) for name in names):
                named = {name.removeprefix(prefix): value for name, value in named.items()}
    unwrapped = {_unwrapped(name): name for name in names}
    for name in [name for name in named if name not in names]:
        other = unwrapped.get(_unwrapped(name), name)
        for end, number in (("_g", 0), ("_v", 1)):
            module, _, tensor = name.removesuffix(end).rpartition(".")
            renamed = f"{module}." * bool(module) + f"parametrizations.{tensor}.original{number}"
            if name.endswith(end) and renamed in names:
                other = renamed
        if other not in named:
            named[other] = named.pop(name)
    return named


WRAPPERS = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put before the names of a module's parameters."""

_AVERAGES = "n_averaged"
"""What ``AveragedModel`` calls the number of models that it is the average of."""


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if f"{word}." not in WRAPPERS)


def _read_saved(file: Path) -> Any:
    """What ``torch.save`` wrote.

    Raises:
        StateDictError: torch is not installed.
    """
    with file.open("rb") as opened:
        is_archive = opened.read(2) == b"PK"
    if not importlib.util.find_spec("torch"):
        raise StateDictError(
            f"{file}: is no .safetensors file, and any other is read by torch, which is not "
            "installed: pip install torch, or save the state dict by safetensors"
        )
    return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive)


def _read_safetensors(file: Path, arrays: ArrayLibrary) -> dict[str, Any]:
    """The tensors of a safetensors file, over its mapped bytes."""
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    _, found = read_header(mapped)
    return {
        name: arrays.over(mapped, dtype, shape, begin, end - begin)
        for name, (dtype, shape, begin, end) in found.items()
        if not name.startswith(PADDING)
    }


Header = dict[str, tuple[str, tuple[int, ...], int, int]]
"""For each tensor of a safetensors file its dtype, its shape, and where in the file it lies."""


def read_header(data: Any) -> tuple[dict[str, Any], Header]:
    """What a safetensors file tells of itself.

    Args:
        data: Its bytes, which may be mapped.

    Returns:
        The metadata, and the tensors.

    Raises:
        ValueError: It is damaged, or none.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if not 8 < start <= len(data):
        raise ValueError("it is truncated, or not a safetensors file")
    try:
        header = json.loads(data[8:start])
        metadata = header.pop("__metadata__", {})
        found = {name: _entry(entry) for name, entry in header.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError("its header is damaged") from error
    if not isinstance(metadata, dict):
        raise ValueError("its header is damaged")  # noqa: TRY004  # the file is wrong, no argument
    for name, (_, _, begin, end) in found.items():
        if not 0 <= begin <= end <= len(data) - start:
            raise ValueError(f"it is truncated: {name} is not in it")
    return metadata, {n: (d, s, start + b, start + e) for n, (d, s, b, e) in found.items()}


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """The dtype, the shape and the place of a tensor, if they are as they have to be.

    Raises:
        KeyError: One of them is missing, or the dtype is unknown.
        TypeError: One is of another type.
        ValueError: A number is no size, or there are more or fewer of them.
    """
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list):
        raise TypeError
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise ValueError
    return DTYPES[entry["dtype"]], tuple(shape), begin, end
