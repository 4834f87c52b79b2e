"""Operators on complex tensors, by operators on their real and imaginary parts.

Each has the parameters of the operator of ATen whose place it takes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

aten: Any = torch.ops.aten

Parts: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def parts_of(value: Any, dtype: torch.dtype | None = None) -> Parts:
    """The real and the imaginary part of a tensor or a number.

    Args:
        value: Complex or real.
        dtype: What the parts of a real value, or of a number, get.
    """
    if isinstance(value, torch.Tensor) and value.is_complex():
        pairs = torch.view_as_real(value)
        return pairs.select(-1, 0), pairs.select(-1, 1)
    if isinstance(value, torch.Tensor):
        real = value.to(dtype or value.dtype)
        return real, torch.zeros_like(real)
    real, imaginary = (torch.scalar_tensor(part, dtype=dtype) for part in (value.real, value.imag))
    return real, imaginary


def both_parts(a: Any, b: Any) -> tuple[Parts, Parts]:
    """The parts of two values, of which at least one is complex, in their common precision."""
    dtype = torch.result_type(a, b).to_real()
    return parts_of(a, dtype), parts_of(b, dtype)


def of_parts(real: torch.Tensor, imaginary: torch.Tensor) -> torch.Tensor:
    """The complex tensor of two parts, which may have to be expanded."""
    expand: Any = torch.broadcast_tensors  # which has no types
    real, imaginary = expand(real, imaginary)
    return torch.view_as_complex(torch.stack((real, imaginary), -1).contiguous())


def negative(z: torch.Tensor) -> torch.Tensor:
    """``neg``."""
    return torch.view_as_complex(torch.view_as_real(z).neg().contiguous())


def conjugate(z: torch.Tensor) -> torch.Tensor:
    """``conj``, with values of its own."""
    real, imaginary = parts_of(z)
    return of_parts(real, -imaginary)


def exponential(z: torch.Tensor) -> torch.Tensor:
    """``exp``."""
    real, imaginary = parts_of(z)
    size = real.exp()
    # Of a real number, as infinity times zero is none.
    turned = torch.where(imaginary == 0, imaginary, size * imaginary.sin())
    return of_parts(size * imaginary.cos(), turned)


def logarithm(z: torch.Tensor) -> torch.Tensor:
    """``log``."""
    return of_parts(z.abs().log(), z.angle())


def square_root(z: torch.Tensor) -> torch.Tensor:
    """``sqrt``: the root whose real part is not negative."""
    real, imaginary = parts_of(z)
    # The part with the larger magnitude first: the other one would lose its digits.
    larger = ((z.abs() + real.abs()) / 2).sqrt()
    smaller = torch.where(larger == 0, larger, imaginary.abs() / (2 * larger))
    right = real >= 0
    root, rest = torch.where(right, larger, smaller), torch.where(right, smaller, larger)
    return of_parts(root, rest.copysign(imaginary))


def sine(z: torch.Tensor) -> torch.Tensor:
    """``sin``."""
    real, imaginary = parts_of(z)
    return of_parts(real.sin() * imaginary.cosh(), real.cos() * imaginary.sinh())


def cosine(z: torch.Tensor) -> torch.Tensor:
    """``cos``."""
    real, imaginary = parts_of(z)
    return of_parts(real.cos() * imaginary.cosh(), -(real.sin() * imaginary.sinh()))


def quotient(a: Any, b: Any) -> torch.Tensor:
    """``div``: what is squared is scaled first, so that it does not overflow."""
    (real, imaginary), (c, d) = both_parts(a, b)
    if not (b.is_complex() if isinstance(b, torch.Tensor) else isinstance(b, complex)):
        return of_parts(real / c, imaginary / c)
    swapped = c.abs() < d.abs()
    larger, smaller = torch.where(swapped, d, c), torch.where(swapped, c, d)
    # By zero, each part is divided by a zero of no sign, as in ATen.
    zero = larger == 0
    ratio = torch.where(zero, 0.0, smaller / larger)
    scale = torch.where(zero, larger.abs(), larger + smaller * ratio)
    first = torch.where(swapped, real * ratio + imaginary, real + imaginary * ratio)
    second = torch.where(swapped, imaginary * ratio - real, imaginary - real * ratio)
    return of_parts(first / scale, second / scale)


def inverse(z: torch.Tensor) -> torch.Tensor:
    """``reciprocal``."""
    return quotient(1.0, z)


def direction(z: torch.Tensor) -> torch.Tensor:
    """``sgn``: 0, or the number divided by its magnitude."""
    real, imaginary = parts_of(z)
    size = z.abs()
    none = size == 0
    return of_parts(*(torch.where(none, 0.0, part / size) for part in (real, imaginary)))


def chosen(condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``where``.

    Args:
        condition: Where the first one is taken.
        a: The first one.
        b: The other one; one of the two may be real.
    """
    pairs = zip(*both_parts(a, b), strict=True)
    return of_parts(*(torch.where(condition, first, second) for first, second in pairs))


def total(z: torch.Tensor, dim: Any = None, *args: Any, dtype: Any = None) -> torch.Tensor:
    """``sum``, over some dimensions or over all.

    Args:
        z: What is added.
        dim: The dimensions; None for all.
        *args: Whether they stay, of size 1.
        dtype: The type of the result.
    """
    z = z if dtype is None else z.to(dtype)
    return of_parts(*(part.sum(dim, *args) for part in parts_of(z)))


def average(z: torch.Tensor, dim: Any = None, *args: Any, dtype: Any = None) -> torch.Tensor:
    """``mean``, over some dimensions or over all.

    Args:
        z: What the mean is of.
        dim: The dimensions; None for all.
        *args: Whether they stay, of size 1.
        dtype: The type of the result.
    """
    z = z if dtype is None else z.to(dtype)
    return of_parts(*(part.mean(dim, *args) for part in parts_of(z)))


def equal(a: torch.Tensor, b: Any) -> torch.Tensor:
    """``eq``."""
    pairs = zip(*both_parts(a, b), strict=True)
    real, imaginary = (first == second for first, second in pairs)
    return real.logical_and(imaginary)


def different(a: torch.Tensor, b: Any) -> torch.Tensor:
    """``ne``."""
    return equal(a, b).logical_not()


def filled(size: Any, value: complex, **kwargs: Any) -> torch.Tensor:
    """``full``.

    Args:
        size: The sizes.
        value: What each element is.
        **kwargs: The type and the like, as of ``torch.full``.
    """
    kwargs["dtype"] = (kwargs.get("dtype") or torch.complex64).to_real()
    return of_parts(*(torch.full(size, part, **kwargs) for part in (value.real, value.imag)))


def padded(z: torch.Tensor, pad: list[int], value: complex = 0) -> torch.Tensor:
    """``constant_pad_nd``.

    Args:
        z: What is padded.
        pad: How many elements before and after, the last dimension first.
        value: What they are.
    """
    real, imaginary = parts_of(z)
    return of_parts(
        aten.constant_pad_nd(real, pad, value.real),
        aten.constant_pad_nd(imaginary, pad, value.imag),
    )


def reversed_along(z: torch.Tensor, dims: list[int]) -> torch.Tensor:
    """``flip``."""
    pairs = torch.view_as_real(z)
    flipped = pairs.flip([dim if dim >= 0 else dim - 1 for dim in dims])
    return torch.view_as_complex(flipped.contiguous())


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``mm`` and ``bmm``."""
    (real, imaginary), (c, d) = parts_of(a), parts_of(b)
    return of_parts(real @ c - imaginary @ d, real @ d + imaginary @ c)


def with_dimension(z: torch.Tensor, dim: int) -> torch.Tensor:
    """``unsqueeze``."""
    pairs = torch.view_as_real(z)
    return torch.view_as_complex(pairs.unsqueeze(dim if dim >= 0 else dim - 1))


def expanded(z: torch.Tensor, size: list[int], *, implicit: bool = False) -> torch.Tensor:
    """``expand``.

    Args:
        z: What is expanded.
        size: The sizes; -1 for one that stays.
        implicit: Has no effect.
    """
    del implicit
    return torch.view_as_complex(torch.view_as_real(z).expand(*size, 2))
