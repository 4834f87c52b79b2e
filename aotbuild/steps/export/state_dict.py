"""Loading a state dict into a module, and telling why it does not fit."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from aotbuild.config.messages import did_you_mean, located
from aotbuild.errors import WeightsError
from aotbuild.runtime import torch_arrays
from aotbuild.runtime.array_library import is_whole
from aotbuild.runtime.checkpoint import WRAPPERS, as_named
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.export.checkpoint_parts import fitting_parts, likely_part
from aotbuild.steps.export.module_state import state_of
from aotbuild.steps.export.tensor_files import key_advice, read_state_dict
from aotbuild.steps.project_code import error_text

_SHOWN = 5
"""How many names are told."""
_CASTS = {"float32", "bfloat16", "float16"}


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
        fix = key_advice(fitting, shown)
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
        f"{name}: {dtype_name(state[name].dtype)} in the file, "
        f"{dtype_name(tensor.dtype)} in the module"
        for name, tensor in expected.items()
        if name in state
        and isinstance(tensor, torch.Tensor)
        and state[name].dtype != tensor.dtype
        and not (tensor.is_floating_point() and state[name].dtype == cast)
        # A count, as of batches tracked, may have been saved with another dtype.
        and not is_whole(torch_arrays, state[name], dtype_name(tensor.dtype))
    ]
    if not wrong:
        return
    names = [line.split(":")[0] for line in wrong]
    given = dtype_name(state[names[0]].dtype)
    castable = given in _CASTS and all(expected[n].is_floating_point() for n in names)
    raise WeightsError(
        f'"{shown}" has tensors of another dtype',
        where=where,
        why=_enumerated("other dtypes", wrong, separator="\n  "),
        fix=f'write dtype = "{given}" into the model\'s table to run it so, or save the '
        "weights in the dtype of the module"
        if castable
        else "save the weights in the dtype of the module",
    )


def _enumerated(label: str, names: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{label} ({len(names)}):{separator[-1]}{separator.join(names[:_SHOWN])}{more}"
