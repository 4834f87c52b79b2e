"""Checks of dynamic dimensions: ranges, multiples and example sizes."""

from __future__ import annotations

from aotbuild.config.messages import located
from aotbuild.config.schema import DeclaredDim
from aotbuild.errors import ConfigError


def check_dim(name: str, dim: DeclaredDim, path: str) -> None:
    """Check that the sizes of a dimension fit each other.

    Args:
        name: Its name.
        dim: Its declaration.
        path: Dotted path of its table.

    Raises:
        ConfigError: The range is empty or holds one size, or a multiple or the example lies
            outside of it.
    """
    if dim.multiple_of > 1:
        _check_multiples(dim, path)
    if dim.max is not None and dim.min > dim.max:
        raise ConfigError(
            f"min is greater than max: {dim.min} > {dim.max}",
            where=located(f"{path}.min"),
            fix="swap them, or correct one",
        )
    if dim.min == dim.max:
        raise ConfigError(
            f"min equals max: {dim.min}",
            where=located(f"{path}.min"),
            fix=f'this dimension is static: write {dim.min} in the shapes instead of "{name}"',
        )
    if dim.example is not None and dim.example not in dim:
        raise ConfigError(
            f"example is outside the range: {dim.example}",
            where=located(f"{path}.example"),
            fix=f"choose a size of at least {dim.min}"
            + ("" if dim.max is None else f" and at most {dim.max}"),
        )


def _check_multiples(dim: DeclaredDim, path: str) -> None:
    if dim.auto:
        raise ConfigError(
            "a range that torch.export finds has no multiple-of",
            where=located(f"{path}.multiple-of"),
            fix="declare min and max instead of auto",
        )
    for key in ("min", "max", "example"):
        value = getattr(dim, key)
        if value is None or value % dim.multiple_of == 0:
            continue
        below = value // dim.multiple_of * dim.multiple_of
        raise ConfigError(
            f"{key} is no multiple of {dim.multiple_of}: {value}",
            where=located(f"{path}.{key}"),
            why=f"every size is a multiple of {dim.multiple_of}",
            fix=f"write {key} = {below + dim.multiple_of}" + f", or {below}" * (below > 0),
        )
    least = 2 * dim.multiple_of
    for key, value in (("max", dim.max), ("example", dim.example)):
        if value is not None and value < least:
            raise ConfigError(
                f"{key} is less than two times {dim.multiple_of}: {value}",
                where=located(f"{path}.{key}"),
                why=f"torch.export fixes a multiple of {dim.multiple_of} that it sees only once",
                fix=f"write {key} = {least}, or a greater multiple",
            )
