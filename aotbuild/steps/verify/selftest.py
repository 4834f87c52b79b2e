"""The call that a package carries to be tested with where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from aotbuild.runtime.integrity import identify
from aotbuild.runtime.manifest import Expected, SelfTest
from aotbuild.steps.artifacts.verification import SELFTEST
from aotbuild.steps.artifacts.weights_file import write_weights

LARGEST = 1 << 20
"""Bytes of inputs and outputs; a call with more is not shipped."""


def record_call(
    directory: Path,
    inputs: Sequence[torch.Tensor],
    outputs: dict[str, Any],
    leaves: Sequence[Any],
    tolerance: Callable[[torch.Tensor, int], tuple[float, float]],
) -> SelfTest:
    """Write a call and its eager result to ``selftest.safetensors``.

    Args:
        directory: Where the file goes.
        inputs: The tensors of the call.
        outputs: How the result nests, from the call spec.
        leaves: The leaves of the eager result other than None, in the order of ``outputs``.
        tolerance: Relative and absolute tolerance of an output, given it and its position among
            ``leaves``.
    """
    outputs_given = [
        (i, torch.as_tensor(leaves[position]), position)
        for position, i in enumerate(_computed(outputs))
        if i is not None
    ]
    named = {f"input {i}": tensor for i, tensor in enumerate(inputs)}
    named |= {f"output {i}": tensor for i, tensor, _ in outputs_given}
    constants = write_weights(directory / SELFTEST, named).constants
    expected = []
    for i, tensor, position in outputs_given:
        rtol, atol = tolerance(tensor, position)
        expected.append(Expected(i, constants[f"output {i}"], rtol, atol))
    return SelfTest(
        identify(directory / SELFTEST, SELFTEST),
        [constants[f"input {i}"] for i in range(len(inputs))],
        expected,
    )


def leaves_of(outputs: dict[str, Any], results: Sequence[Any]) -> list[Any]:
    """The leaves of a result other than None, given what the program computes."""
    constants = [
        leaf.get("value")
        for leaf in _leaves(outputs)
        if leaf["type"] != "constant" or leaf["value"] is not None
    ]
    return [
        value if i is None else results[i]
        for i, value in zip(_computed(outputs), constants, strict=True)
    ]


def _computed(outputs: dict[str, Any]) -> list[int | None]:
    """For each leaf of a result other than None the output that it is; None for a constant."""
    return [
        None if leaf["type"] == "constant" else leaf["index"]
        for leaf in _leaves(outputs)
        if leaf["type"] != "constant" or leaf["value"] is not None
    ]


def size_of(tensors: Sequence[Any]) -> int:
    """Bytes of the tensors among these values."""
    return sum(t.numel() * t.itemsize for t in tensors if isinstance(t, torch.Tensor))


def _leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "items" not in tree:
        yield tree
    for item in tree.get("items", []):
        yield from _leaves(item)
