"""Reading files of tensors: state dicts, and example data."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from aotbuild.config.messages import did_you_mean, located
from aotbuild.errors import WeightsError
from aotbuild.runtime.checkpoint import part_of
from aotbuild.steps.export.checkpoint_parts import tables_in
from aotbuild.steps.export.module_state import is_state_dict

_SHOWN = 5
"""How many names of tables are told."""
_DAMAGED = (zipfile.BadZipFile, zlib.error)


def read_state_dict(
    file: Path,
    shown: str,
    where: str,
    key: str = "",
    parts: Callable[[object], list[str]] = tables_in,
) -> Mapping[str, torch.Tensor]:
    """Read a state dict without running code from it.

    Args:
        file: The file: safetensors, or what torch.save wrote.
        shown: Its path, as messages show it.
        where: Place of the key that names it, for messages.
        key: The key under which the state dict is in the file; empty where it is the file.
        parts: The keys of a checkpoint to propose.

    Raises:
        WeightsError: The file is missing, damaged, or of another format.
    """
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except FileNotFoundError:
        raise WeightsError(
            f'the weights file "{shown}" does not exist',
            where=where,
            fix="put the file there, or correct the path (it is relative to pyproject.toml)",
        ) from None
    state: Any
    if file.suffix == ".safetensors" or _looks_like_safetensors(head, file.stat().st_size):
        try:
            state = load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(
                f'"{shown}" is no valid safetensors file',
                where=where,
                why=f"{error} (the file has {file.stat().st_size} bytes)",
                fix="it may be truncated, a Git LFS pointer, or of another format; "
                "write it again with safetensors.torch.save_file(module.state_dict(), ...)",
            ) from error
    else:
        state = _loaded(file, shown, where)
    tables = tables_in(state)
    part = part_of(state, key)
    if part is None and key:
        raise WeightsError(
            f'"{shown}" holds no state dict under "{key}"',
            where=where,
            why=f"it holds a {type(state).__name__}"
            + (f" with the tables {', '.join(tables[:_SHOWN])}" if tables else ""),
            fix=did_you_mean(key, tables) or key_advice(parts(state), shown),
        )
    if not part or not is_state_dict(part):
        raise WeightsError(
            f'"{shown}" holds no state dict' + (f' under "{key}"' if key else ""),
            where=where,
            why=f"it holds a {type(state if part is None else part).__name__}"
            + (f" with the tables {', '.join(tables[:_SHOWN])}" if tables and not key else ""),
            fix=key_advice(parts(state), shown),
        )
    return cast("Mapping[str, torch.Tensor]", part)


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and length < size


def _loaded(file: Path, shown: str, where: str) -> Any:
    """What torch.save wrote.

    Raises:
        WeightsError: It did not, or there is more than data in the file.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything at a file that is not its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # Of an object that is no data torch tells in the middle of a long text.
        telling = [line for line in lines if "Unsupported" in line]
        reason = (telling or lines or [type(error).__name__])[0]
        for advice in (" Please use", " In PyTorch"):  # to whoever calls torch.load
            reason = reason.partition(advice)[0]
        raise WeightsError(
            f'"{shown}" cannot be read as weights',
            where=where,
            why=reason,
            fix="write it with safetensors.torch.save_file(module.state_dict(), ...) or "
            "torch.save(module.state_dict(), ...); it is loaded with weights_only=True",
        ) from error


def key_advice(parts: Sequence[str], shown: str) -> str:
    """What to write for a file that holds more than a state dict."""
    likely = [f'weights = "{shown}{f"#{part}" if part else ""}"' for part in parts]
    if likely:
        return f"write {' or '.join(likely[:_SHOWN])}"
    return "save module.state_dict() alone, without optimizer or epoch"


def read_tensors(file: Path, shown: str, path: str) -> dict[str, torch.Tensor]:
    """Read example data: a ``.safetensors`` or ``.npz`` file of arrays.

    Args:
        file: The file.
        shown: Its path, as messages show it.
        path: Dotted path of the table whose ``example`` names it.

    Returns:
        The arrays by name, in their dtypes.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        import numpy as np

        # numpy leaves a file that it opened itself open when it cannot read it.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except ModuleNotFoundError as error:
        raise WeightsError(
            f'reading "{shown}" needs {error.name}',
            where=located(f"{path}.example"),
            fix=f'add "{error.name}" to build-system.requires, or write a .safetensors file',
        ) from error
    except (SafetensorError, OSError, EOFError, ValueError, TypeError, *_DAMAGED) as error:
        raise WeightsError(
            f'"{shown}" cannot be read as example data',
            where=located(f"{path}.example"),
            why=str(error) or type(error).__name__,
            fix="write it with safetensors.torch.save_file or numpy.savez, one array per input",
        ) from error
