"""Samples: the sizes at which a model is traced and verified, and tensors of those sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from aotbuild.config import schema
from aotbuild.config.sizes import bound_at
from aotbuild.runtime.dims import Dim, concrete
from aotbuild.runtime.manifest import Input
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.files import replacing

SAMPLES = "samples.pt"

_SEED = 20240613
_FIRST_SIZE = 4
LARGEST_INPUTS = 1 << 28
"""Bytes of inputs that are computed with in a build."""

_UNLIMITED = 4
"""How many times the example a dimension without an upper limit is tried with."""


def example_sizes(
    dims: Mapping[str, schema.DeclaredDim], given: Mapping[str, int]
) -> dict[str, int]:
    """A size for each dimension to trace with: inside its range, at least 2, all different.

    Different sizes keep two dimensions from looking like one. Of a multiple it is twice the number
    at least: to torch, the multiple is what is dynamic.

    Args:
        dims: The declared dimensions.
        given: Sizes that the example data of the project has.
    """
    sizes: dict[str, int] = {name: dim.example for name, dim in dims.items() if dim.example}
    sizes.update(given)
    for name, dim in dims.items():
        if name in sizes:
            continue
        step = dim.multiple_of
        low = dim.multiple_from(max(dim.min, 2 * step))
        # The ends of a range are where code is special.
        wanted = dim.multiple_from(max(2 * dim.min + 1, _FIRST_SIZE, low))
        high = dim.max if dim.max is not None else wanted + len(dims) * step
        preferred = min(wanted, high)
        candidates = [*range(preferred, high + 1, step), *range(low, preferred, step)]
        free = (size for size in candidates if size not in sizes.values())
        sizes[name] = next(free, preferred)
    return sizes


def verification_sizes(
    ranges: Mapping[str, Dim],
    example: Mapping[str, int],
    exceptions: Sequence[Mapping[str, int]] = (),
) -> dict[str, dict[str, int]]:
    """The cases to verify: the example, all dimensions at their smallest, each at either end.

    A size of 0 or 1 that lies inside a range is a case of its own: tracing supposes other sizes.

    Args:
        ranges: Smallest and largest size of each dimension.
        example: Size of each dimension in the example.
        exceptions: Further sizes, at which something is special.

    Returns:
        Sizes by a name of the case, such as ``batch = 256``.
    """
    cases = {"the example": dict(example)}
    smallest = {name: dim.min for name, dim in ranges.items()}
    cases[_named(smallest)] = smallest
    for name, dim in ranges.items():
        largest = dim.max if dim.max is not None else _UNLIMITED * example[name] + dim.multiple_of
        for size in dict.fromkeys([dim.min, dim.multiple_from(max(dim.min, 1)), largest]):
            cases[_named({name: size})] = {**example, name: size}
    for sizes in exceptions:
        changed = {name: size for name, size in sizes.items() if size != example[name]}
        cases[_named(changed)] = dict(sizes)
    distinct: dict[str, dict[str, int]] = {}
    for label, sizes in cases.items():
        if sizes not in distinct.values():
            distinct[label] = sizes
    return distinct


def nearer(
    sizes: Mapping[str, int], example: Mapping[str, int], ranges: Mapping[str, Dim]
) -> dict[str, int]:
    """Sizes halfway between larger ones and those of the example.

    Args:
        sizes: The larger ones, by dimension.
        example: Those of the example.
        ranges: Of which a size is a multiple.
    """
    return {
        name: _halfway(size, example[name], ranges[name].multiple_of)
        for name, size in sizes.items()
    }


def _halfway(size: int, example: int, step: int) -> int:
    return example + (size - example) // (2 * step) * step if size > example else example


def from_largest(
    ranges: Mapping[str, Dim], example: Mapping[str, int], inputs: Sequence[Input]
) -> Iterator[dict[str, int]]:
    """Sizes that are larger than those of the example, the largest first.

    Args:
        ranges: Smallest and largest size of each dimension.
        example: Size of each dimension in the example.
        inputs: The inputs, whose bytes are bounded.
    """
    sizes = {
        name: _UNLIMITED * example[name] if dim.max is None else max(dim.max, example[name])
        for name, dim in ranges.items()
    }
    while sizes != example:
        if input_bytes(inputs, sizes) <= LARGEST_INPUTS:
            yield sizes
        sizes = nearer(sizes, example, ranges)


@dataclass(frozen=True)
class Leaf:
    """How the samples of one input are made."""

    dtype: str
    data: torch.Tensor | None = None
    """Data that the project gave; without it, samples are drawn."""
    min: float | str | None = None
    max: float | str | None = None
    """Bounds of the values: numbers, or sizes that ``at`` makes numbers of."""
    values: str | None = None
    """As declared, or one of ``tiny``, ``large``, ``special`` and ``extremes``, by which a program
    is verified with more than its example."""

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The bounds, which are numbers."""
        assert not isinstance(self.min, str)  # noqa: S101
        assert not isinstance(self.max, str)  # noqa: S101
        return self.min, self.max

    @classmethod
    def of(cls, data: torch.Tensor) -> Leaf:
        """The leaf whose samples are made of this tensor."""
        return cls(dtype_name(data.dtype), data.detach().cpu())

    def at(self, sizes: Mapping[str, int]) -> Leaf:
        """The same with numbers for bounds, at these sizes of the dimensions.

        Data that the project gave is kept inside of bounds that are sizes.
        """
        low, high = bound_at(self.min, sizes), bound_at(self.max, sizes)
        data = self.data
        if data is not None:
            inside = [
                bound if isinstance(declared, str) else None
                for declared, bound in ((self.min, low), (self.max, high))
            ]
            data = data.clamp(*inside) if any(each is not None for each in inside) else data
        return replace(self, data=data, min=low, max=high)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        """A tensor of this shape; the bounds are numbers."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        if self.data is None:
            return _drawn(self, shape, dtype, generator)
        # A copy, for calls that change their arguments.
        return _fitted(self.data, shape).clone()


@dataclass(frozen=True)
class Samples:
    """How the samples of all inputs are made, the same in every process.

    Unless declared otherwise, floating-point values are drawn from the normal distribution, and
    integers are 0 or 1, which are indices of every table and values of every mask. Data that the
    project gave is cut, or repeated, to other sizes: its values stay valid.
    """

    leaves: list[Leaf] = field(default_factory=list)

    def at(
        self, inputs: Sequence[Input], sizes: Mapping[str, int], device: torch.device
    ) -> list[torch.Tensor]:
        """A tensor for each of ``inputs``.

        Args:
            inputs: The inputs, with the dimensions in their shapes.
            sizes: The size of each dimension.
            device: Where the tensors are to be.
        """
        return self.drawn([concrete(spec.shape, sizes) for spec in inputs], device, sizes)

    def with_leaves(self, leaves: Mapping[int, Leaf]) -> Samples:
        """The same with other leaves at some places."""
        return Samples([leaves.get(i, leaf) for i, leaf in enumerate(self.leaves)])

    def drawn(
        self,
        shapes: Sequence[Sequence[int]],
        device: torch.device,
        sizes: Mapping[str, int] | None = None,
    ) -> list[torch.Tensor]:
        """A tensor of each of these shapes.

        Args:
            shapes: The shapes, without names of dimensions.
            device: Where the tensors are to be.
            sizes: The sizes of the dimensions that bounds of values name.
        """
        generator = torch.Generator().manual_seed(_SEED)
        return [
            leaf.at(sizes or {}).sample(shape, generator).to(device)
            for leaf, shape in zip(self.leaves, shapes, strict=True)
        ]

    def write(self, directory: Path) -> None:
        """Write with torch.save."""
        with replacing(directory / SAMPLES) as temporary:
            torch.save([vars(leaf) for leaf in self.leaves], temporary)

    @classmethod
    def read(cls, directory: Path) -> Samples:
        """Read what ``write`` wrote."""
        return cls([Leaf(**entry) for entry in torch.load(directory / SAMPLES, weights_only=True)])


def input_bytes(inputs: Sequence[Input], sizes: Mapping[str, int]) -> int:
    """Memory of the inputs at these sizes, in bytes."""
    return sum(
        math.prod(concrete(spec.shape, sizes)) * getattr(torch, spec.dtype).itemsize
        for spec in inputs
    )


def _drawn(
    leaf: Leaf, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    if leaf.values in _WIDE:
        return _WIDE[leaf.values](leaf, shape, dtype, generator)
    least, most = leaf.bounds
    low = 0.0 if least is None else least
    high = low + 1 if most is None else most
    real = dtype.is_floating_point or dtype.is_complex
    if leaf.values == "integers" or not real:
        if leaf.max is not None and not real and len(shape) == 1:
            return _integers(int(low), int(high), shape[0], generator).to(dtype)
        return torch.randint(int(low), int(high) + 1, shape, generator=generator).to(dtype)
    exact = dtype if dtype.itemsize >= 4 else torch.float32
    bounded = leaf.min is not None or leaf.max is not None
    if leaf.values == "uniform" or (bounded and leaf.values is None):
        drawn = torch.rand(shape, dtype=exact, generator=generator) * (high - low) + low
    else:
        drawn = torch.randn(shape, dtype=exact, generator=generator)
        drawn = _clamped(drawn, leaf)
    return drawn.to(dtype)


_FEW = 1 << 20


def _integers(low: int, high: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Integers from a range, all different where there are enough.

    They may be the places that values are written to: which of two is written last to one place, is
    left open by torch.
    """
    if count <= high - low < _FEW:
        return torch.randperm(high - low + 1, generator=generator)[:count] + low
    return torch.randint(low, high + 1, (count,), generator=generator)


def _clamped(drawn: torch.Tensor, leaf: Leaf) -> torch.Tensor:
    return drawn if leaf.bounds == (None, None) else drawn.clamp(*leaf.bounds)


def _tiny(
    leaf: Leaf, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Around 1e-7, of either sign."""
    return _clamped(torch.randn(shape, dtype=dtype, generator=generator) * 1e-7, leaf)


def _large(
    leaf: Leaf, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Around 1e4, of either sign: sums of their squares are still finite."""
    return _clamped(torch.randn(shape, dtype=dtype, generator=generator) * 1e4, leaf)


def _special(
    leaf: Leaf, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Of every magnitude that the dtype has, with signed zeros, infinities and NaN."""
    del leaf  # it has no bounds
    info = torch.finfo(dtype)
    named = [0.0, -0.0, info.max, -info.max, info.tiny, -info.tiny / 8, math.inf, -math.inf]
    table = torch.tensor([*named, math.nan], dtype=dtype)
    exponents = torch.rand(shape, dtype=dtype, generator=generator) * 2 - 1
    signs = torch.randint(0, 2, shape, generator=generator).to(dtype) * 2 - 1
    drawn = signs * 10 ** (exponents * (math.log10(info.max) - 1))
    choice = torch.randint(0, 3 * len(table), shape, generator=generator)
    named_here = table[choice.clamp(max=len(table) - 1)]
    return torch.where(choice < len(table), named_here, drawn)


def _extremes(
    leaf: Leaf, shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """All over a range, and both of its ends."""
    low, high = leaf.bounds
    assert low is not None  # noqa: S101
    assert high is not None  # noqa: S101
    if dtype.is_floating_point:
        drawn = torch.rand(shape, dtype=dtype, generator=generator) * (high - low) + low
    elif len(shape) == 1 and shape[0] <= int(high) - int(low) < _FEW:
        return _integers(int(low), int(high), shape[0], generator).to(dtype)
    else:
        drawn = torch.randint(int(low), int(high) + 1, shape, generator=generator).to(dtype)
    ends = torch.tensor([low, high], dtype=dtype)
    choice = torch.randint(0, 8, shape, generator=generator)
    return torch.where(choice < len(ends), ends[choice.clamp(max=1)], drawn)


_WIDE = {"tiny": _tiny, "large": _large, "special": _special, "extremes": _extremes}


def _fitted(data: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    for axis, size in enumerate(shape):
        if data.shape[axis] != size:
            data = data.index_select(axis, torch.arange(size) % max(data.shape[axis], 1))
    return data


def _named(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())
