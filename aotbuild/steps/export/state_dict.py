"""Reading a weights file into a module."""

from __future__ import annotations

import copy
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from aotbuild.config.parse import did_you_mean, located
from aotbuild.errors import WeightsError
from aotbuild.runtime.checkpoint import WRAPPERS, as_named, is_whole, part_of
from aotbuild.steps.export.checkpoint_parts import fitting_parts, likely_part, tables_in
from aotbuild.steps.export.module_state import is_state_dict, state_of
from aotbuild.steps.project_code import error_text

_SHOWN = 5
_CASTS = {"float32", "bfloat16", "float16"}
_CHECKED = 1 << 24
"""How many values are checked at once."""
_DAMAGED = (zipfile.BadZipFile, zlib.error)


def load_weights(
    module: torch.nn.Module,
    file: Path,
    shown: str,
    path: str,
    dtype: str | None = None,
    key: str = "",
) -> None:
    """Load a state dict into ``module``, every key of it.

    The module's own ``load_state_dict`` decides what it takes: hooks in it rename tensors, as those
    of ``weight_norm``, and fill in what older versions did not save.

    Args:
        module: The module, changed in place.
        file: A safetensors file, or one that ``torch.save`` wrote.
        shown: The file's name in messages.
        path: Dotted path of the entry, for errors.
        dtype: What the module's floating-point tensors are cast to afterwards; those of the file
            may have it already.
        key: The key under which the state dict is in the file; empty where it is the file.

    Raises:
        WeightsError: The file cannot be read, or does not fit the module.
    """
    where = located(path)
    expected = state_of(module)
    tied = _tied(expected)

    def takes(part: Mapping[str, torch.Tensor]) -> bool:
        named = as_named(part, expected)
        return set(named) == set(expected) or _takes(module, named, tied)

    def parts(checkpoint: object) -> list[str]:
        likely = likely_part(checkpoint, expected)
        return fitting_parts(checkpoint, expected, takes) or [likely] * bool(likely)

    read = read_state_dict(file, shown, where, key, parts)
    state: Any = OrderedDict(as_named(read, expected))
    if hasattr(read, "_metadata"):  # the versions of the modules, which their hooks ask for
        state._metadata = _versions(read._metadata, state)
    same = set(state) == set(expected) and not _other_shapes(state, expected)
    if not same and not _takes(module, state, tied):
        fitting = [
            f"{key}.{part}" if key else part for part in fitting_parts(read, expected, takes)
        ]
        _check_keys(set(state), set(expected), tied, shown, where, fitting)
        _check_tensors(state, expected, shown, where)
    _check_dtypes(state, expected, shown, where, dtype)
    try:
        module.load_state_dict(state, strict=False)
    except Exception as error:
        raise WeightsError(
            f'the module does not take "{shown}"',
            where=where,
            why=error_text(error),
            fix="correct what its load_state_dict() does, or save the weights of this very module",
        ) from error


def _versions(metadata: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The versions of modules by the names that these have without what was around them."""
    outer = [prefix for prefix in WRAPPERS if any(name.startswith(prefix) for name in names)]
    versions = {}
    for name, version in metadata.items():  # a module comes after the one around it
        words = name.split(".")
        while words and f"{words[0]}." in WRAPPERS and f"{words[0]}." not in outer:
            del words[0]
        versions[".".join(words)] = version
    return versions


def _takes(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], tied: list[set[str]]
) -> bool:
    """Whether a module loads a state dict whose names are not its own, with all its hooks.

    A copy of the module without memory is asked, so that the module stays as it is.
    """
    memo: dict[int, Any] = {
        id(tensor): tensor.to("meta")
        if not isinstance(tensor, torch.nn.Parameter)
        else torch.nn.Parameter(tensor.detach().to("meta"), requires_grad=False)
        for tensor in [*module.parameters(), *module.buffers()]
        if _sized(tensor)
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied to where no memory is
            copied = copy.deepcopy(module, memo)
            result: Any = copied.load_state_dict(copy.copy(state), strict=False)
            if result is None:  # it is the module's own, and tells nothing
                copied.load_state_dict(copy.copy(state), strict=True)
                return True
    except Exception:  # noqa: BLE001  # whatever its hooks raise, it does not take it
        return False
    missing = set(result.missing_keys)
    for names in tied:
        if not names <= missing:
            missing -= names
    return not missing and not result.unexpected_keys


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
            fix=did_you_mean(key, tables) or _key_advice(parts(state), shown),
        )
    if not part or not is_state_dict(part):
        raise WeightsError(
            f'"{shown}" holds no state dict' + (f' under "{key}"' if key else ""),
            where=where,
            why=f"it holds a {type(state if part is None else part).__name__}"
            + (f" with the tables {', '.join(tables[:_SHOWN])}" if tables and not key else ""),
            fix=_key_advice(parts(state), shown),
        )
    return cast("Mapping[str, torch.Tensor]", part)


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


def _key_advice(parts: Sequence[str], shown: str) -> str:
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


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and length < size


def _tied(expected: Mapping[str, torch.Tensor]) -> list[set[str]]:
    """Names that share one tensor: safetensors files hold such a tensor once."""
    groups: dict[tuple[int, torch.Size, tuple[int, ...]], set[str]] = {}
    for name, tensor in expected.items():
        if _sized(tensor) and tensor.numel():
            key = (tensor.data_ptr(), tensor.shape, tensor.stride())
            groups.setdefault(key, set()).add(name)
    return [names for names in groups.values() if len(names) > 1]


def _sized(tensor: object) -> bool:
    """Whether it is a tensor whose shape is known: no extra state, no lazy parameter."""
    return isinstance(tensor, torch.Tensor) and not torch.nn.parameter.is_lazy(tensor)


def _check_keys(
    found: set[str],
    expected: set[str],
    tied: list[set[str]],
    shown: str,
    where: str,
    fitting: Sequence[str],
) -> None:
    given = {name for names in tied if names & found for name in names}
    missing = sorted(expected - found - given)
    unexpected = sorted(found - expected)
    if not missing and not unexpected:
        return
    lines = []
    if missing:
        lines.append(_enumerated("missing in the file", missing))
    if unexpected:
        lines.append(_enumerated("unknown to the module", unexpected))
    fix = "save the weights of this very module, or correct args and kwargs of the source"
    prefix = _common_prefix(unexpected, expected)
    if fitting:
        fix = _key_advice(fitting, shown)
    elif prefix:
        fix = f'the keys have the prefix "{prefix}": save module.state_dict() without the wrapper'
    elif hints := [
        f"{name}: {hint}" for name in unexpected if (hint := did_you_mean(name, missing))
    ]:
        more = [f"and {len(hints) - _SHOWN} more"] if len(hints) > _SHOWN else []
        fix = "\n".join([*hints[:_SHOWN], *more])
    raise WeightsError(
        f'"{shown}" does not fit the module', where=where, why="\n".join(lines), fix=fix
    )


def _common_prefix(unexpected: list[str], expected: set[str]) -> str:
    for name in unexpected[:1]:
        for known in expected:
            prefix = name.removesuffix(known)
            if prefix != name and all(key.startswith(prefix) for key in unexpected):
                return prefix
    return ""


def _check_tensors(
    state: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    shown: str,
    where: str,
) -> None:
    wrong = _other_shapes(state, expected)
    if wrong:
        raise WeightsError(
            f'"{shown}" has tensors of another shape',
            where=where,
            why=_enumerated("other shapes", wrong, separator="\n  "),
            fix="save the weights of this very module, or correct args and kwargs of the source",
        )


def _other_shapes(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> list[str]:
    return [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(tensor.shape)} in the module"
        for name, tensor in expected.items()
        if name in state and _sized(tensor) and state[name].shape != tensor.shape
    ]


def _check_dtypes(
    state: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    shown: str,
    where: str,
    dtype: str | None,
) -> None:
    cast = getattr(torch, dtype) if dtype else None
    wrong = [
        f"{name}: {_name(state[name].dtype)} in the file, {_name(tensor.dtype)} in the module"
        for name, tensor in expected.items()
        if name in state
        and isinstance(tensor, torch.Tensor)
        and state[name].dtype != tensor.dtype
        and not (tensor.is_floating_point() and state[name].dtype == cast)
        # A count, as of batches tracked, may have been saved with another dtype.
        and not is_whole(state[name], tensor.dtype)
    ]
    if not wrong:
        return
    names = [line.split(":")[0] for line in wrong]
    found = state[names[0]].dtype
    castable = _name(found) in _CASTS and all(expected[n].is_floating_point() for n in names)
    raise WeightsError(
        f'"{shown}" has tensors of another dtype',
        where=where,
        why=_enumerated("other dtypes", wrong, separator="\n  "),
        fix=f'write dtype = "{_name(found)}" into the model\'s table to run it so, or save the '
        "weights in the dtype of the module"
        if castable
        else "save the weights in the dtype of the module",
    )


def check_finite(
    parameters: Iterable[tuple[str, torch.Tensor]],
    buffers: Iterable[tuple[str, torch.Tensor]],
    shown: str,
    path: str,
) -> None:
    """Make sure that weights are numbers.

    Args:
        parameters: May neither be NaN nor infinite.
        buffers: May be infinite, as masks are, but not NaN.
        shown: What they are from.
        path: Dotted path of the entry, for errors.

    Raises:
        WeightsError: One is not.
    """
    for kind, tensors in (("parameter", parameters), ("buffer", buffers)):
        for name, tensor in tensors:
            plain = type(tensor) in {torch.Tensor, torch.nn.Parameter} and tensor.numel()
            real = tensor.is_floating_point() and tensor.dtype.itemsize > 1
            if plain and (real or tensor.is_complex()):
                _check_numbers(tensor.detach(), kind, name, shown, path)


def _check_numbers(tensor: torch.Tensor, kind: str, name: str, shown: str, path: str) -> None:
    # In parts, because each check makes tensors as large as what it is given.
    rows = tensor.reshape(1) if tensor.dim() == 0 else tensor
    step = max(1, _CHECKED // max(1, rows[0].numel()))
    bad = 0
    for part in torch.split(rows, step):
        numbers = part.isfinite() if kind == "parameter" else ~part.isnan()
        bad += part.numel() - int(numbers.sum())
    if bad:
        raise WeightsError(
            f"{shown}: the {kind} {name} is not finite",
            where=located(path),
            why=f"{bad} of its {tensor.numel()} values are NaN"
            + (" or infinite" if kind == "parameter" else ""),
            fix="use the weights of a training that did not diverge; if they are meant to be so, "
            "set check-finite = false",
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _enumerated(label: str, names: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{label} ({len(names)}):{separator[-1]}{separator.join(names[:_SHOWN])}{more}"
