"""The weights file, mapped: processes share its pages, and nothing is read before it is used."""

from __future__ import annotations

import functools
import mmap
from pathlib import Path

import torch

from .errors import ModelLoadError
from .integrity import check_file
from .manifest import Constant, File


class WeightsFile:
    """A mapped weights file."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                # A private mapping: torch has no read-only tensors, and should anything write to
                # one, it gets its own copy of that page and the file stays as it is.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise ModelLoadError(
                f"{path}: the weights cannot be mapped ({error}); install the package again"
            ) from error

    def tensor(self, constant: Constant) -> torch.Tensor:
        """The tensor of ``constant``, over the mapped bytes."""
        dtype = getattr(torch, constant.dtype)
        if constant.size == 0:
            return torch.empty_strided(constant.shape, constant.stride, dtype=dtype)
        count = constant.size // dtype.itemsize
        flat = torch.frombuffer(self._map, dtype=dtype, count=count, offset=constant.offset)
        return flat.as_strided(constant.shape, constant.stride)


@functools.cache
def open_weights(package: Path, weights: File) -> WeightsFile:
    """The weights file of a package, checked and mapped once for all its models."""
    check_file(package, weights)
    return WeightsFile(package / weights.file)
