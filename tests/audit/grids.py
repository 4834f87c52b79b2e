"""Inputs of the audit: dense where functions bend, and every special value."""

from __future__ import annotations

import functools
import itertools

import torch

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
DTYPES = (*FLOATS, *INTEGERS, torch.bool)


@functools.cache
def unary(dtype: torch.dtype) -> torch.Tensor:
    """A vector of all kinds of values of a type; its length is no multiple of any vector's."""
    if dtype is torch.bool:
        return torch.tensor([False, True, True, False, True] * 13)
    if not dtype.is_floating_point:
        return _integers(dtype)
    return _floats(dtype, 20011 if dtype is not torch.float64 else 1511)


@functools.cache
def finite_rows(dtype: torch.dtype, columns: int) -> torch.Tensor:
    """A matrix of the finite values of a type of floats."""
    values = unary(dtype)
    values = values[values.isfinite()]
    return values[: len(values) // columns * columns].reshape(-1, columns)


@functools.cache
def pairs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Each value of a short vector with each other."""
    if dtype is torch.bool:
        few = torch.tensor([False, True, True])
    elif dtype.is_floating_point:
        few = torch.cat(
            [_specials(dtype), _floats(dtype, 101 if dtype is not torch.float64 else 31)]
        )
    else:
        info = torch.iinfo(dtype)
        some = [info.min, info.min + 1, info.max, info.max - 1, *range(-9, 10), 40, 100, -100]
        few = torch.tensor([each for each in some if info.min <= each <= info.max], dtype=dtype)
    many = torch.tensor(list(itertools.product(range(len(few)), repeat=2)))
    first, second = few[many[:, 0]], few[many[:, 1]]
    if dtype in {torch.int32, torch.int64}:
        # The quotient of the two is no number of the type: C++ leaves open what becomes of it.
        defined = (first != torch.iinfo(dtype).min) | (second != -1)
        first, second = first[defined], second[defined]
    return first.contiguous(), second.contiguous()


@functools.cache
def rows(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Matrices whose rows and columns have odd lengths, by what is in them."""
    generator = torch.Generator().manual_seed(0)

    def matrix(low: int, high: int, shape: tuple[int, int]) -> torch.Tensor:
        if not dtype.is_floating_point:
            return torch.randint(low, high, shape, generator=generator).to(dtype)
        values = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (low + (high - low) * values).to(dtype)

    ranges = _ranges(dtype)
    all_ranges = [matrix(low, high, (5, 40)) for _, low, high in ranges]
    label, low, high = ranges[0]
    return {"rows of all ranges": torch.cat(all_ranges), label: matrix(low, high, (5, 33))}


def _ranges(dtype: torch.dtype) -> list[tuple[str, int, int]]:
    if dtype is torch.bool:
        return [("all false", 0, 1), ("all true", 1, 2), ("both", 0, 2)]
    if dtype.is_floating_point:
        return [("negative", -100, -4), ("positive", 40, 100), ("both", -100, 100)]
    info = torch.iinfo(dtype)
    whole = ("whole range", info.min, min(info.max, 2**62))
    ranges = [
        ("positive", 40, 120),
        whole,
        ("largest", min(info.max, 2**62) - 3, min(info.max, 2**62)),
    ]
    if info.min:
        ranges = [("negative", -100, -4), *ranges, ("lowest", info.min, info.min + 3)]
    return ranges


def _integers(dtype: torch.dtype) -> torch.Tensor:
    info = torch.iinfo(dtype)
    if info.bits <= 16:
        return torch.arange(info.min, info.max + 1).to(dtype)
    powers = [sign * 2**i + d for i in range(info.bits - 1) for sign in (1, -1) for d in (-1, 0, 1)]
    return torch.tensor([*range(-300, 300), *powers, info.min, info.max], dtype=dtype)


def _specials(dtype: torch.dtype) -> torch.Tensor:
    info = torch.finfo(dtype)
    denormal = info.smallest_normal * info.eps
    sizes = [0.0, denormal, info.smallest_normal, info.eps, 1e-7, 0.5, 1 - info.eps / 2, 1.0]
    sizes += [1 + info.eps, 2.0, 3.0, 10.5, 88.5, 89.0, info.max, float("inf")]
    values = torch.tensor([s * each for each in sizes for s in (1.0, -1.0)], dtype=torch.float64)
    return torch.cat([values, torch.tensor([float("nan")])]).to(dtype)


def _floats(dtype: torch.dtype, count: int) -> torch.Tensor:
    info = torch.finfo(dtype)
    denormal = torch.tensor(info.smallest_normal * info.eps, dtype=torch.float64)
    largest = torch.tensor(info.max, dtype=torch.float64)
    sizes = torch.logspace(
        denormal.log2().item(),
        largest.log2().item() - 1e-9,
        count // 5,
        base=2,
        dtype=torch.float64,
    )
    small = torch.logspace(-30, 10, count // 10, base=2, dtype=torch.float64)
    near = 1 + torch.linspace(-1e-3, 1e-3, count // 20, dtype=torch.float64)
    line = torch.linspace(
        -12, 12, count - 2 * (count // 5 + count // 10 + count // 20), dtype=torch.float64
    )
    parts = [_specials(dtype).double(), sizes, -sizes, small, -small, near, -near, line]
    return torch.cat(parts).to(dtype)
