"""The fallback where no compiled variant fits: the traced program, run by eager torch."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

from .engines import CallGate, Loaded
from .errors import ModelLoadError
from .integrity import check_file
from .lazy import torch
from .machine import torch_version
from .manifest import Fallback, Manifest
from .operators import load_op_libraries
from .state_dict import State

VARIABLE = "AOTBUILD_FALLBACK"


def fall_back(
    package: Path, manifest: Manifest, device: str, reason: ModelLoadError, state: State
) -> Loaded:
    """Load the eager program if there is one and it may be used.

    Args:
        package: Directory of the package.
        manifest: The model.
        device: Where to run it.
        reason: Why no compiled variant fits.
        state: The weights.

    Raises:
        ModelLoadError: ``reason``, where there is no eager program or it is not wanted.
    """
    if manifest.fallback is None:
        raise reason
    policy = os.environ.get(VARIABLE) or "warn"
    if policy == "error":
        raise reason
    if policy == "warn":
        warnings.warn(f"{manifest.name} runs uncompiled: {reason}", RuntimeWarning, stacklevel=2)
    return load_eager(package, manifest, manifest.fallback, device, state)


def load_eager(
    package: Path, manifest: Manifest, fallback: Fallback, device: str, state: State
) -> Loaded:
    """Load the eager program.

    Args:
        package: Directory of the package.
        manifest: The model.
        fallback: The program, as the manifest describes it.
        device: Where to run it.
        state: The weights.

    Raises:
        ModelLoadError: A file of the package is damaged, or this torch cannot run the program.
    """
    load_op_libraries(package, manifest)
    check_file(package, fallback.file)
    name = f"{__name__}.{manifest.name.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, package / fallback.file.file)
    assert spec is not None  # noqa: S101  # its name ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelLoadError(
            f"{manifest.name}: this torch {torch_version()} cannot run the uncompiled program "
            f"({error})"
        ) from error
    program = _Program(module.program, [constant.name for constant in fallback.constants])
    state.serve(program, fallback.constants, device)
    return Loaded(program.run)


class _Program(CallGate):
    """An eager program."""

    def __init__(self, program: Any, names: list[str]) -> None:
        super().__init__()
        self._program, self._names = program, names
        self._constants: dict[str, torch.Tensor] = {}
        self.run = self._gated(self._run)

    def set_constants(self, constants: dict[str, torch.Tensor]) -> None:
        self._constants |= constants

    def _run(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        weights = [self._constants[name] for name in self._names]
        with torch.no_grad():
            return [torch.as_tensor(output) for output in self._program(*weights, *tensors)]
