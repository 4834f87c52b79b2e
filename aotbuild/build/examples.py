"""Example inputs: the sizes at which a model is traced and verified, and tensors of those sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from aotbuild.config.inputs import map_tensors, tensor_leaves
from aotbuild.config.schema import Dim, Model, TensorInput
from aotbuild.runtime import manifest

_SEED = 20240613
_FIRST_SIZE = 4
_UNLIMITED = 4
"""How many times the example a dimension without an upper limit is tried with."""


def example_sizes(dims: Mapping[str, Dim]) -> dict[str, int]:
    """A size for each dimension to trace with: inside its range, at least 2, all different.

    Different sizes keep two dimensions from looking like one.
    """
    sizes: dict[str, int] = {name: dim.example for name, dim in dims.items() if dim.example}
    for name, dim in dims.items():
        if name in sizes:
            continue
        low = max(dim.min, 2)
        wanted = max(2 * dim.min + 1, _FIRST_SIZE)  # the ends are where code is special
        high = dim.max if dim.max is not None else wanted + len(dims)
        preferred = min(wanted, high)
        candidates = [*range(preferred, high + 1), *range(low, preferred)]
        free = (size for size in candidates if size not in sizes.values())
        sizes[name] = next(free, preferred)
    return sizes


def verification_sizes(
    ranges: Mapping[str, Dim | manifest.Dim], example: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """The cases to verify: the example, all dimensions at their smallest, each at either end.

    A size of 0 or 1 that lies inside a range is a case of its own: tracing supposes other sizes.

    Args:
        ranges: Smallest and largest size of each dimension.
        example: Size of each dimension in the example.

    Returns:
        Sizes by a name of the case, such as ``batch = 256``.
    """
    cases = {"the example": dict(example)}
    smallest = {name: dim.min for name, dim in ranges.items()}
    cases[_named(smallest)] = smallest
    for name, dim in ranges.items():
        largest = dim.max if dim.max is not None else _UNLIMITED * example[name] + 1
        for size in dict.fromkeys([dim.min, max(dim.min, 1), largest]):
            cases[_named({name: size})] = {**example, name: size}
    distinct: dict[str, dict[str, int]] = {}
    for label, sizes in cases.items():
        if sizes not in distinct.values():
            distinct[label] = sizes
    return distinct


def example_inputs(model: Model, sizes: Mapping[str, int], device: torch.device) -> dict[str, Any]:
    """Values for the inputs of ``model``, the same in every process.

    Unless declared otherwise, floating-point values are drawn from the normal distribution, and
    integers are 0 or 1, which are indices of every table and values of every mask.
    """
    generator = torch.Generator().manual_seed(_SEED)

    def make(spec: TensorInput) -> torch.Tensor:
        return _example_tensor(spec, sizes, generator).to(device)

    return {name: map_tensors(tree, make) for name, tree in model.inputs.items()}


def input_bytes(model: Model, sizes: Mapping[str, int]) -> int:
    """Memory of the inputs at ``sizes``, in bytes."""
    total = 0
    for _, spec in (leaf for tree in model.inputs.values() for leaf in tensor_leaves(tree, "")):
        count = 1
        for size in spec.shape:
            count *= size if isinstance(size, int) else sizes[size]
        total += count * getattr(torch, spec.dtype).itemsize
    return total


def _example_tensor(
    spec: TensorInput, sizes: Mapping[str, int], generator: torch.Generator
) -> torch.Tensor:
    shape = [size if isinstance(size, int) else sizes[size] for size in spec.shape]
    dtype: torch.dtype = getattr(torch, spec.dtype)
    low = 0.0 if spec.min is None else spec.min
    high = low + 1 if spec.max is None else spec.max
    real = dtype.is_floating_point or dtype.is_complex
    if spec.values == "integers" or not real:
        return torch.randint(int(low), int(high) + 1, shape, generator=generator).to(dtype)
    exact = dtype if dtype.itemsize >= 4 else torch.float32
    bounded = spec.min is not None or spec.max is not None
    if spec.values == "uniform" or (bounded and spec.values is None):
        drawn = torch.rand(shape, dtype=exact, generator=generator) * (high - low) + low
    else:
        drawn = torch.randn(shape, dtype=exact, generator=generator)
        if bounded:
            drawn = drawn.clamp(spec.min, spec.max)
    return drawn.to(dtype)


def _named(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())
