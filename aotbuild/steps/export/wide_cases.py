"""Calls with more than the example: values all over what the declaration allows.

Examples are 0 and 1, or numbers around one. What is wrong only elsewhere, as the largest of an
all-negative row, does not show with them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.reference import Case, flatten_result
from aotbuild.steps.artifacts.samples import Leaf, Samples
from aotbuild.steps.export.input_uses import Uses, input_uses

_LONGEST = 1.0
"""Seconds of an eager call from which on no others are made, and of all of them together."""

_APART = 0.1
"""How far floating-point numbers that are all of one sign are from zero."""

_KINDS = {
    "negative": "inputs that are all negative",
    "positive": "inputs that are all positive",
    "tiny": "inputs near zero",
    "range": "inputs over their whole range",
}


def wide_cases(
    program: torch.export.ExportedProgram,
    call: CallSpec,
    samples: Samples,
    eager: Callable[[Sequence[torch.Tensor]], Any],
    device: torch.device,
    seconds: float,
) -> list[Case]:
    """What the eager model returns for values all over what the declaration allows.

    Inputs whose data the project gave keep it, as do indices and sizes. Where eager itself raises,
    the inputs are tried one by one.

    Args:
        program: The traced program.
        call: Its call spec.
        samples: The arguments of the example.
        eager: The eager model, given its tensors flat.
        device: Where it is.
        seconds: How long the example took.
    """
    cases: list[Case] = []
    uses = input_uses(program)
    if len(uses) != len(samples.leaves):
        return []
    spent = seconds
    for kind, label in _KINDS.items():
        leaves = {
            i: wide
            for i, (leaf, use) in enumerate(zip(samples.leaves, uses, strict=True))
            if (wide := wide_leaf(leaf.at(call.example), use, kind)) is not None
            # An index out of range ends the work of an accelerator, where a CPU raises.
            and (device.type == "cpu" or getattr(torch, leaf.dtype).is_floating_point)
        }
        start = time.perf_counter()
        if spent + seconds > _LONGEST:
            break
        taken, result = _tried(leaves, call, samples, eager, device)
        spent += time.perf_counter() - start
        if taken:
            values, paths = flatten_result(result)
            table = {i: vars(leaf) for i, leaf in taken.items()}
            local = all(uses[i].local for i in taken)
            sizes = dict(call.example)
            cases.append(Case(label, sizes, values, paths, wide=table, elementwise=local))
    return cases


def wide_leaf(leaf: Leaf, use: Uses, kind: str) -> Leaf | None:
    """How an input is drawn for a case; None where it stays as in the example.

    Args:
        leaf: How it is drawn for the example, with numbers for bounds.
        use: What the program does with its values.
        kind: One of the kinds of cases: ``negative``, ``positive``, ``tiny`` or ``range``.
    """
    dtype: torch.dtype = getattr(torch, leaf.dtype)
    if leaf.data is not None or dtype is torch.bool or dtype.is_complex:
        return None
    if use.fixed and (kind != "range" or leaf.max is None or dtype.is_floating_point):
        return None  # but for indices whose range is declared
    if dtype.is_floating_point:
        # With fewer digits, what the compiled code keeps between operators makes a difference.
        wide = dtype.itemsize >= 4 and leaf.values != "integers"
        return _wide_float(leaf, use, kind) if wide else None
    return _wide_integer(leaf, use, kind, dtype)


def _wide_float(leaf: Leaf, use: Uses, kind: str) -> Leaf | None:
    least, most = leaf.bounds
    low = min(-3.0, most or 0.0) if least is None else least
    high = max(3.0, least or 0.0) if most is None else most
    bounded = leaf.bounds != (None, None)
    parts = {"negative": (low, min(high, -_APART)), "positive": (max(low, _APART), high)}
    if kind in parts:
        low, high = parts[kind]
        return replace(leaf, values="uniform", min=low, max=high) if low < high else None
    if kind == "tiny":
        return replace(leaf, values="tiny") if low <= 0 <= high else None
    if bounded:
        return replace(leaf, values="extremes", min=low, max=high) if low < high else None
    if use.converted:
        return None
    return replace(leaf, values="special" if use.local else "large")


def _wide_integer(leaf: Leaf, use: Uses, kind: str, dtype: torch.dtype) -> Leaf | None:
    info = torch.iinfo(dtype)
    # Without a least value, a largest one is counted from 0, as in the example.
    bounded = leaf.min is not None or leaf.max is not None
    least = (0 if leaf.max is not None else info.min) if leaf.min is None else int(leaf.min)
    most = info.max if leaf.max is None else int(leaf.max)
    if use.converted and not bounded:
        least, most = max(least, -_MODERATE), min(most, _MODERATE)
    most = min(most, 2**63 - 2)
    parts = {
        "negative": (least, min(most, least // 2)) if least < 0 else None,
        "positive": (max(least, most - most // 2), most) if most > 0 else None,
        "range": (least, most),
    }
    part = parts.get(kind)
    if part is None or part[0] >= part[1]:
        return None
    return replace(leaf, values="extremes", min=part[0], max=part[1])


_MODERATE = 1000
"""Integers that become floating-point numbers: larger ones leave no digits to compare."""


def _tried(
    leaves: Mapping[int, Leaf],
    call: CallSpec,
    samples: Samples,
    eager: Callable[[Sequence[torch.Tensor]], Any],
    device: torch.device,
) -> tuple[dict[int, Leaf], Any]:
    """The leaves with which the eager model works, and its result."""

    def result(chosen: dict[int, Leaf]) -> Any:
        tensors = samples.with_leaves(chosen).at(call.inputs, call.example, device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return eager(tensors)
            except (Exception, SystemExit):  # noqa: BLE001  # the values are not for this model, whatever it says
                return None

    if not leaves:
        return {}, None
    chosen = dict(leaves)
    found = result(chosen)
    if found is None and len(chosen) > 1:
        chosen = {i: leaf for i, leaf in leaves.items() if result({i: leaf}) is not None}
        found = result(chosen) if chosen else None
    return (chosen, found) if found is not None else ({}, None)
